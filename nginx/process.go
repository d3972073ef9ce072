package nginx

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
)

// facts are what the system says about a process.
type facts struct {
	command string    // its command line; nginx writes a title of its own over it
	started string    // when, in the system's own words: compared, not read
	since   time.Time // the same for people, to about a second
}

// pid reads nginx's PID file: 0 when there is none, or nothing in it
// (`nginx -t` leaves such).
func (s *Server) pid() (int, error) {
	text, err := os.ReadFile(s.path("nginx.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("nginx: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0, nil
	}
	return pid, nil
}

// master finds the running master process of this folder's nginx. It returns
// nil when there is none, or its number belongs to somebody else by now.
func (s *Server) master() (*os.Process, facts, error) {
	pid, err := s.pid()
	if err != nil || pid == 0 {
		return nil, facts{}, err
	}
	// Where the system has handles on processes, this is one: a signal through
	// it reaches the process that is looked at here, or none.
	process, err := os.FindProcess(pid)
	if err != nil {
		return nil, facts{}, nil
	}
	found, err := inspect(pid)
	if err != nil {
		process.Release()
		return nil, facts{}, fmt.Errorf("nginx: process %d: %w", pid, err)
	}
	if !s.isOurs(pid, found) {
		process.Release()
		return nil, facts{}, nil
	}
	return process, found, nil
}

// prefixArgs name the folder. They come first, and more follow: a long title
// may be cut at its end.
func (s *Server) prefixArgs() []string { return []string{"-p", s.cfg.Dir} }

// replaced reports whether we know of a process with this number, and it
// started at another time.
func (s *Server) replaced(pid int, started string) bool {
	number, when := s.remembered() // none if killed before it was written: the title has to do
	return number == pid && when != started
}

// remembered is the master process that was written down last; 0 without one.
func (s *Server) remembered() (pid int, started string) {
	text, err := os.ReadFile(s.path("started"))
	if err != nil {
		return 0, ""
	}
	number, when, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	if pid, err = strconv.Atoi(number); err != nil {
		return 0, ""
	}
	return pid, when
}

// remember writes down when the running master started.
func (s *Server) remember() error {
	process, found, err := s.master()
	if err != nil {
		return err
	}
	if process == nil {
		return errors.New("nginx: it ended at once: see " + s.path("logs/error.log"))
	}
	defer process.Release()
	line := fmt.Sprintf("%d %s\n", process.Pid, found.started)
	if err := renameio.WriteFile(s.path("started"), []byte(line), 0o600, renameio.WithTempDir(s.cfg.Dir)); err != nil {
		return fmt.Errorf("nginx: %w", err)
	}
	return nil
}

// How long the master may take to end after each signal.
const (
	quitGrace = 5 * time.Second // SIGQUIT: requests in flight are answered
	termGrace = 3 * time.Second // SIGTERM: nginx itself kills its workers after one
	killGrace = 3 * time.Second
)

// Stop ends the nginx of this folder: gracefully for 5 s, then at once, with
// all its workers; a cancelled ctx cuts the grace short. No nginx running is no
// error, and no other process is ever signalled.
func (s *Server) Stop(ctx context.Context) error {
	if err := s.stop(ctx); err != nil {
		return err
	}
	return s.removeOpen()
}

func (s *Server) stop(ctx context.Context) error {
	process, _, err := s.master()
	if err != nil {
		return err
	}
	if process == nil {
		return s.endOrphans(ctx)
	}
	defer process.Release()
	// Daemons lead a process group of their own, the workers in it.
	group, err := syscall.Getpgid(process.Pid)
	if err != nil {
		return nil // ended meanwhile
	}
	for _, attempt := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGQUIT, quitGrace}, {syscall.SIGTERM, termGrace}} {
		if err := process.Signal(attempt.signal); errors.Is(err, os.ErrProcessDone) {
			return nil
		} else if err != nil {
			return fmt.Errorf("nginx: stop: %w", err)
		}
		if s.waitGone(ctx, attempt.wait) {
			return nil
		}
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("nginx: kill: %w", err)
	}
	if group == process.Pid {
		// Its workers keep the number of the group from being given away.
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
	if !s.waitGone(context.WithoutCancel(ctx), killGrace) {
		return fmt.Errorf("nginx: process %d does not end", process.Pid)
	}
	return nil
}

// endOrphans ends workers that have outlived a master that was killed: they go
// on serving, and nothing else ends them. It returns when they accept no more
// requests; those in flight they still answer.
func (s *Server) endOrphans(ctx context.Context) error {
	group, err := s.pid()
	if err != nil || group == 0 {
		return err
	}
	if leader, err := inspect(group); err != nil || leader.command != "" {
		return err // somebody's: perhaps the number of another group by now
	}
	// Who answers for this folder is in the group of its last master, and while
	// that group lives, nobody else gets its number.
	if _, err := s.Served(ctx); err != nil {
		return nil
	}
	for _, attempt := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGQUIT, quitGrace}, {syscall.SIGKILL, killGrace}} {
		if err := syscall.Kill(-group, attempt.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("nginx: end the workers of a killed master: %w", err)
		}
		gone := func() bool {
			_, err := s.Served(ctx)
			return err != nil
		}
		if waitFor(ctx, attempt.wait, gone) {
			return nil
		}
	}
	return fmt.Errorf("nginx: the workers of a killed master, process group %d, do not end", group)
}

// waitGone waits until the master is gone, as long as it may.
func (s *Server) waitGone(ctx context.Context, wait time.Duration) bool {
	return waitFor(ctx, wait, func() bool {
		process, _, err := s.master()
		if process != nil {
			process.Release()
		}
		return err == nil && process == nil
	})
}

// waitFor waits until it is so, for a time at most. A cancelled ctx cuts the
// wait short.
func waitFor(ctx context.Context, wait time.Duration, so func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for !so() {
		if !pause(ctx, 10*time.Millisecond) {
			return false
		}
	}
	return true
}

// pause reports whether the time passed before ctx was done.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
