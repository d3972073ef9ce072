package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"migrate.invalid/migrate/orchestrator/process"
)

// The logs of what runs are written by programs that know nothing of us, for as
// long as they like. One process a state folder, the keeper, looks at their
// sizes as long as anything runs there. If it is killed, nothing but that ends;
// the next command that starts something starts another.

// LogOptions say when a log is rotated.
type LogOptions struct {
	Most  int64         // bytes of one file
	Every time.Duration // how often the sizes are looked at
}

// quietRounds is how often nothing must run before the keeper ends.
const quietRounds = 2

func (o *Orchestrator) keeperPath() string { return filepath.Join(o.cfg.Dir, "logs.lock") }

// KeepLogs rotates the logs of the state folder by size until nothing runs
// there any more, the folder is gone or ctx ends. Where another keeper is at
// work it returns at once.
func (o *Orchestrator) KeepLogs(ctx context.Context, opts LogOptions, proxyRuns func(context.Context) bool) error {
	lock := flock.New(o.keeperPath(), flock.SetPermissions(0o600))
	held, err := lock.TryLock()
	if err != nil || !held {
		return err
	}
	defer lock.Close()
	self, err := process.Identify(os.Getpid())
	if err != nil {
		return err
	}
	if err := writeInto(o.keeperPath(), self); err != nil {
		return err
	}
	told := map[string]bool{} // each once: its own log is nobody's to rotate
	for quiet := 0; quiet < quietRounds; {
		if !exists(o.keeperPath()) {
			return nil
		}
		state, _, err := o.load()
		if err != nil {
			return err
		}
		for _, path := range o.logs(state) {
			if err := process.Shrink(path, opts.Most, logKeep); err != nil && !told[err.Error()] {
				told[err.Error()] = true
				slog.Warn("a log is not rotated", "err", err) // the others, and the next time
			}
		}
		if quiet++; state.anyRuns() || proxyRuns(ctx) {
			quiet = 0
		}
		if !sleep(ctx, opts.Every) {
			return nil
		}
	}
	return nil
}

// writeInto writes into a file that is there, which keeps its lock.
func writeInto(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o600)
}

// logs are all that there are.
func (o *Orchestrator) logs(state *State) []string {
	var all []string
	for _, pattern := range []string{"instances/*/log", "data/*/log", "nginx/logs/*.log"} {
		paths, _ := filepath.Glob(filepath.Join(o.cfg.Dir, pattern)) // the patterns are right
		all = append(all, paths...)
	}
	for _, d := range state.Daemons {
		if filepath.Dir(filepath.Dir(d.Log)) != filepath.Join(o.cfg.Dir, "data") {
			all = append(all, d.Log)
		}
	}
	return all
}

func (s *State) anyRuns() bool {
	for _, d := range s.Daemons {
		if d.Process.Runs() {
			return true
		}
	}
	return len(s.running()) > 0
}

// keeperWait is how long a keeper may take to be at work.
const keeperWait = 5 * time.Second

// StartKeeper starts the keeper of the folder's logs, detached, unless it runs.
// It returns once the keeper has written down that it is at work, or has ended.
func (o *Orchestrator) StartKeeper(ctx context.Context, command []string) error {
	lock := flock.New(o.keeperPath(), flock.SetPermissions(0o600))
	free, err := lock.TryLock()
	if err = errors.Join(err, lock.Close()); err != nil || !free {
		return err
	}
	if err := o.HandOver(); err != nil {
		return err
	}
	id, err := process.Start(o.as(process.Command{Args: command, Env: os.Environ(), Dir: o.cfg.Dir, Log: filepath.Join(o.cfg.Dir, "logs.log")}))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, keeperWait)
	defer cancel()
	for at := o.keeper(); at != id && id.Alive() && sleep(ctx, readyPoll); at = o.keeper() {
	}
	return o.HandOver()
}

// keeper is the process that keeps the logs, or kept them last.
func (o *Orchestrator) keeper() (id process.Identity) {
	if b, err := os.ReadFile(o.keeperPath()); err != nil || json.Unmarshal(b, &id) != nil {
		return process.Identity{}
	}
	return id
}

// StopKeeper ends the keeper, when nothing is left whose logs it keeps.
func (o *Orchestrator) StopKeeper(ctx context.Context) error {
	id := o.keeper()
	if !id.Alive() {
		return nil
	}
	return process.Stop(ctx, id, o.cfg.Timeouts.Grace, func(string) {})
}
