package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"migrate.invalid/migrate/app/redact"
	"migrate.invalid/migrate/orchestrator/process"
)

const (
	daemonWait = time.Minute // until a daemon is ready, unless told
	kindDaemon = "daemon"
	envDaemon  = "MIGRATE_DAEMON" // how a later command finds one that nobody wrote down
)

// Daemon is a long-running helper of the service that is no instance of it,
// such as the embedded database. It outlives the command that started it.
type Daemon struct {
	Name    string           `json:"name"`
	Args    []string         `json:"args"` // without passwords
	Process process.Identity `json:"process"`
	Started time.Time        `json:"started"`
	Dir     string           `json:"dir"`
	Log     string           `json:"log"`
}

// DaemonOptions says what to start.
type DaemonOptions struct {
	Name    string   // a file name, such as mongo
	Command []string // program and arguments
	Env     []string // NAME=value, beside this process's own
	Dir     string   // for its log and what tells of it; empty: data/NAME in the state folder
	Timeout time.Duration
	Ready   func(context.Context) error // nil error: it is ready; nil: at once
}

// StartDaemon starts a daemon detached and waits until it is ready. One that
// runs already is left as it is, and returned.
func (o *Orchestrator) StartDaemon(ctx context.Context, opts DaemonOptions) (Daemon, error) {
	var d Daemon
	if opts.Name == "" || opts.Name != filepath.Base(opts.Name) || len(opts.Command) == 0 {
		return d, usage("", nothingChanged, "a daemon needs a name and a command, not %q and %q", opts.Name, opts.Command)
	}
	if opts.Dir == "" {
		opts.Dir = o.daemonDir(opts.Name)
	}
	if opts.Timeout <= 0 {
		opts.Timeout = daemonWait
	}
	err := o.exclusive(ctx, opts.Name+" start", false, func(ctx context.Context, op *operation) error {
		op.entry.Kind, op.entry.Name = kindDaemon, opts.Name
		if known, ok := op.state.Daemons[opts.Name]; ok && known.Process.Runs() {
			d = known
			op.ended = true // nothing to journal
			return nil
		}
		var err error
		if d, err = op.startDaemon(opts); err == nil {
			err = awaitDaemon(ctx, d, opts)
		}
		if err != nil {
			return op.abandonDaemon(ctx, d, err)
		}
		return op.end(op.success, fmt.Sprintf("process %d", d.Process.PID), nil)
	})
	return d, err
}

func (op *operation) startDaemon(opts DaemonOptions) (Daemon, error) {
	d := Daemon{Name: opts.Name, Dir: opts.Dir, Log: filepath.Join(opts.Dir, logFile), Started: time.Now()}
	d.Args = redact.Words(opts.Command)
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return d, fmt.Errorf("make the folder of %s: %w", opts.Name, err)
	}
	if err := process.Rotate(d.Log, logKeep); err != nil {
		return d, err
	}
	if err := op.phase(phaseStarting, strings.Join(d.Args, " ")); err != nil {
		return d, err
	}
	env := append(append(os.Environ(), opts.Env...), envDaemon+"="+op.o.daemonMark(opts.Name))
	if err := op.o.HandOver(); err != nil {
		return d, fmt.Errorf("hand over to the folder's owner: %w", err)
	}
	id, err := process.Start(op.o.as(process.Command{Args: opts.Command, Env: env, Log: d.Log}))
	if err != nil {
		return d, err
	}
	d.Process = id
	op.state.Daemons[d.Name] = d
	return d, errors.Join(writeJSON(filepath.Join(d.Dir, daemonFile), d), op.save())
}

func (o *Orchestrator) daemonDir(name string) string { return filepath.Join(o.cfg.Dir, "data", name) }

// daemonMark names a daemon of this folder, by whatever path the folder is reached.
func (o *Orchestrator) daemonMark(name string) string { return o.folderID() + "/" + name }

// instanceMark names the instance on a port likewise.
func (o *Orchestrator) instanceMark(port int) string { return fmt.Sprintf("%s/%d", o.folderID(), port) }

// folderID names the state folder: one folder may have several paths.
func (o *Orchestrator) folderID() string {
	info, err := os.Stat(o.cfg.Dir)
	if err != nil {
		return o.cfg.Dir
	}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("%d:%d", sys.Dev, sys.Ino)
	}
	return o.cfg.Dir
}

func awaitDaemon(ctx context.Context, d Daemon, opts DaemonOptions) error {
	ctx, cancel := context.WithTimeoutCause(ctx, opts.Timeout, fmt.Errorf("not ready after %v", opts.Timeout))
	defer cancel()
	for {
		if how, exited := process.Exited(d.Process); exited {
			return fmt.Errorf("%w: %s ended (%s); the last of %s:\n%s", ErrNotReady, d.Name, how, d.Log, redact.Text(process.Tail(d.Log, logLines)))
		}
		if opts.Ready == nil {
			return nil
		}
		err := opts.Ready(ctx)
		if err == nil {
			return nil
		}
		if !sleep(ctx, readyPoll) {
			return fmt.Errorf("%w: %s: %w: %w", ErrNotReady, d.Name, context.Cause(ctx), err)
		}
	}
}

func (op *operation) abandonDaemon(ctx context.Context, d Daemon, cause error) error {
	if d.Process.PID == 0 {
		return cause
	}
	if err := op.endDaemon(context.WithoutCancel(ctx), d); err != nil {
		return problem(errors.Join(cause, err), d.Name+" may still run", "migrate status")
	}
	return problem(cause, d.Name+" was ended", "see "+d.Log)
}

func (op *operation) endDaemon(ctx context.Context, d Daemon) error {
	if err := process.Stop(ctx, d.Process, op.o.cfg.Timeouts.Grace, func(what string) { op.report("%s", what) }); err != nil {
		return err
	}
	delete(op.state.Daemons, d.Name)
	if err := os.Remove(filepath.Join(d.Dir, daemonFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return op.save()
}

// StopDaemon ends a daemon; one that doesn't run is no error.
func (o *Orchestrator) StopDaemon(ctx context.Context, name string, checks ...Check) error {
	return o.exclusive(ctx, name+" stop", false, func(ctx context.Context, op *operation) error {
		op.entry.Kind, op.entry.Name = kindDaemon, name
		d, known := op.state.Daemons[name]
		if !known {
			op.ended = true // nothing to journal
			return nil
		}
		if err := ask(ctx, checks); err != nil {
			return err
		}
		if err := op.phase(phaseStopping, fmt.Sprintf("process %d", d.Process.PID)); err != nil {
			return err
		}
		if err := op.endDaemon(ctx, d); err != nil {
			return err
		}
		return op.end(op.success, "", nil)
	})
}

// DaemonStatus says whether a daemon runs. One that was never started has an
// empty name.
func (o *Orchestrator) DaemonStatus(name string) (d Daemon, running bool, err error) {
	s, _, err := o.load()
	if err != nil {
		return d, false, err
	}
	d = s.Daemons[name]
	return d, d.Process.Runs(), nil
}

// settleDaemon ends a daemon of which the command that started it could not
// say that it is ready, and finishes the end of one that was being stopped.
func (op *operation) settleDaemon(ctx context.Context) error {
	d, known := op.state.Daemons[op.entry.Name]
	if known && d.Process.Runs() {
		op.warn("%s (process %d) is ended", d.Name, d.Process.PID)
		if err := op.endDaemon(ctx, d); err != nil {
			return err
		}
		return op.end(phaseUndone, d.Name+" was ended", nil)
	}
	for _, id := range process.Find(envDaemon + "=" + op.o.daemonMark(op.entry.Name)) {
		op.warn("process %d, which it had started, is ended", id.PID)
		if err := process.Stop(ctx, id, op.o.cfg.Timeouts.Grace, func(what string) { op.report("%s", what) }); err != nil {
			return err
		}
	}
	return op.undone("nothing of it runs")
}
