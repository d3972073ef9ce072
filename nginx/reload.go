package nginx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
)

// Reload installs the configuration, with the operator's own file as it is now,
// and has the running nginx take it, returning when it is seen to. If nginx
// rejects it, nothing is changed; if it isn't seen, the old file is put back.
// What it costs clients, [Server.TakeCut] says.
func (s *Server) Reload(ctx context.Context) error {
	own, err := s.takeCustom()
	if err == nil {
		err = s.reloadWith(ctx, own)
	}
	return errors.Join(err, s.sweepCustom(), s.give())
}

func (s *Server) reloadWith(ctx context.Context, own custom) error {
	if err := s.prepare(); err != nil {
		return err
	}
	text, generation, err := s.renderLinks(ctx, own)
	if err != nil {
		return err
	}
	return s.reload(ctx, text, generation)
}

func (s *Server) reload(ctx context.Context, text []byte, generation string) error {
	binary, err := s.binary()
	if err != nil {
		return err
	}
	process, found, err := s.master()
	if err != nil {
		return err
	}
	if process == nil {
		return fmt.Errorf("nginx: reload: %w", ErrNotRunning)
	}
	defer process.Release()
	if s.moved(found) {
		return fmt.Errorf("nginx: reload: the folder has been moved to %s since nginx was started: stop and start nginx", s.cfg.Dir)
	}
	if _, err := s.Served(ctx); err != nil && !errors.Is(err, ErrNotRunning) {
		return fmt.Errorf("nginx: reload: %w", err) // it could not listen there
	}
	old, err := os.ReadFile(s.path("nginx.conf"))
	if err != nil {
		return fmt.Errorf("nginx: reload: %w", err)
	}
	draft, err := s.try(ctx, binary, text)
	if err != nil {
		return err
	}
	defer draft.Cleanup()
	left, err := s.letGo(ctx, old)
	if err != nil {
		return errors.Join(err, s.endWindow())
	}
	before, err := workers(process.Pid)
	before = slices.DeleteFunc(before, func(w worker) bool { return w.outgoing })
	if err == nil {
		err = s.replaceBy(draft)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("nginx: reload: %w", err), s.endWindow())
	}
	if err := process.Signal(syscall.SIGHUP); err != nil {
		return errors.Join(fmt.Errorf("nginx: reload: %w", err), s.writeBack(old))
	}
	s.cut.Add(int64(left))
	if err := s.waitTaken(ctx, process.Pid, generation, before); err != nil {
		if back := s.putBack(ctx, process, old, before); back != nil {
			return errors.Join(err, back)
		}
		return fmt.Errorf("%w: %w", ErrNotSeen, err)
	}
	if _, same := head(old); same == generation {
		return s.endWindow() // the new workers are in it, too
	}
	return nil // the old workers stay in it until they end
}

// ReloadLimit is what a reload takes at most, until it is seen or given up: the
// closing window, nginx's own check of the configuration, and the wait for the
// new workers. Whoever waits for a reload must wait for so long.
const ReloadLimit = longest + tryLimit + settle

// waitTaken waits until the old workers accept nothing more and nginx answers
// with the generation: for settle at most, both together.
func (s *Server) waitTaken(ctx context.Context, master int, generation string, old []worker) error {
	ctx, cancel := context.WithTimeout(ctx, s.taking)
	defer cancel()
	var err error
	retired := func() bool {
		var now []worker
		now, err = workers(master)
		return err != nil || !slices.ContainsFunc(now, func(w worker) bool {
			return !w.outgoing && slices.Contains(old, w)
		})
	}
	waitFor(ctx, s.taking, retired)
	if err != nil {
		return fmt.Errorf("nginx: look at its workers: %w", err)
	}
	return s.waitGeneration(ctx, generation, 1)
}

// putBack has nginx go by the old file again, after it was not seen to take
// another. It may be about to: so it is told once more, and comes to this file
// last, whatever it does now. The workers from before must have gone: as long as
// they serve, nginx has not begun, and what they serve says nothing. And there
// must be as many as before: with more, two configurations are served.
func (s *Server) putBack(ctx context.Context, master *os.Process, old []byte, before []worker) error {
	if err := s.writeBack(old); err != nil {
		return err
	}
	if err := master.Signal(syscall.SIGHUP); err != nil {
		return fmt.Errorf("nginx: put the old configuration back: %w", err)
	}
	_, generation := head(old)
	ctx = context.WithoutCancel(ctx)
	var err error
	serving := func() []worker {
		var now []worker
		now, err = workers(master.Pid)
		return slices.DeleteFunc(now, func(w worker) bool { return w.outgoing })
	}
	last := func() bool { // of the reloads that it was told of
		now := serving()
		if err != nil || len(now) != len(before) || slices.ContainsFunc(now, func(w worker) bool { return slices.Contains(before, w) }) {
			return false
		}
		var route Route
		if route, err = s.Served(ctx); err != nil || route.Generation != generation {
			return false
		}
		return slices.Equal(now, serving()) // it was one of these that answered
	}
	if !waitFor(ctx, settle, last) {
		return errors.Join(fmt.Errorf("nginx: the old configuration is put back, but nginx was not seen to take it again: see %s", s.path("logs/error.log")), err)
	}
	return nil
}

// writeBack writes the file that the running nginx goes by.
func (s *Server) writeBack(text []byte) error {
	err := renameio.WriteFile(s.path("nginx.conf"), text, 0o600, renameio.WithTempDir(s.cfg.Dir))
	if err != nil {
		return errors.Join(fmt.Errorf("nginx: put the old configuration back: %w", err), s.endWindow())
	}
	return s.endWindow()
}

// rewrite has a running nginx send requests to where the link is about to
// lead. One that does not run goes by the links when it starts.
func (s *Server) rewrite(ctx context.Context, link string, port int) error {
	if err := s.prepare(); err != nil {
		return err
	}
	to, err := s.targets()
	if err != nil {
		return err
	}
	if link == live {
		to.live = port
	} else {
		to.fallback = port
	}
	own, err := s.customInForce()
	if err != nil {
		return err
	}
	text, generation, err := s.render(ctx, to, own)
	if err != nil {
		return err
	}
	route, err := s.Served(ctx)
	if errors.Is(err, ErrNotRunning) {
		return nil
	}
	if err != nil || route.Generation == generation {
		return err
	}
	return s.reload(ctx, text, generation)
}

// unwrite has a running nginx that was configured by reload go by the links.
func (s *Server) unwrite(ctx context.Context) error {
	text, err := os.ReadFile(s.path("nginx.conf"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if by, _ := head(text); err != nil || by != ByReload {
		return err
	}
	if err := s.reloadInForce(ctx); err != nil && !errors.Is(err, ErrNotRunning) {
		return err
	}
	return nil
}

// Recover sets right what a command that was killed in a move by reload has
// left: the links, and the file, are what the running nginx serves.
func (s *Server) Recover(ctx context.Context) error {
	route, err := s.Served(ctx)
	if err != nil {
		return nil // who starts it goes by the links
	}
	for link, port := range map[string]int{live: route.Live, fallback: route.Fallback} {
		said, err := s.follow(link)
		if err == nil && said != port {
			err = s.repoint(link, port)
		}
		if err != nil {
			return fmt.Errorf("nginx: recover: %w", err)
		}
	}
	text, err := os.ReadFile(s.path("nginx.conf"))
	if err != nil {
		return fmt.Errorf("nginx: recover: %w", err)
	}
	if _, generation := head(text); generation != route.Generation {
		return s.reloadInForce(ctx)
	}
	return s.endWindow()
}

// Outgoing returns how many workers of configurations before this one still
// finish what they have begun: requests of theirs go where that one says.
func (s *Server) Outgoing() (int, error) {
	process, _, err := s.master()
	if err != nil || process == nil {
		return 0, err
	}
	defer process.Release()
	all, err := workers(process.Pid)
	if err != nil {
		return 0, fmt.Errorf("nginx: look at its workers: %w", err)
	}
	n := 0
	for _, w := range all {
		if w.outgoing {
			n++
		}
	}
	return n, nil
}

// head reads how traffic moves in a configuration of ours, and its generation.
func head(text []byte) (by Cutover, generation string) {
	for line := range bytes.Lines(text) {
		if rest, found := strings.CutPrefix(string(line), "# generation "); found {
			generation, way, _ := strings.Cut(strings.TrimSpace(rest), " by ")
			return Cutover(way), generation
		}
	}
	return "", ""
}

// worker is a process that serves requests.
type worker struct {
	pid      int
	started  string
	outgoing bool // it accepts no more connections, and ends with those it has
}

// workers are those of a master. One that was forked a moment ago has the title of
// its master still, and may serve before it has its own: it counts, too.
func workers(master int) ([]worker, error) {
	pids, err := children(master)
	if err != nil {
		return nil, err
	}
	var all []worker
	for _, pid := range pids {
		found, err := inspect(pid)
		if err != nil {
			return nil, err
		}
		title, is := strings.CutPrefix(found.command, "nginx: worker process")
		if is || strings.HasPrefix(found.command, masterTitle) {
			all = append(all, worker{pid, found.started, strings.Contains(title, "shutting down")})
		}
	}
	return all, nil
}
