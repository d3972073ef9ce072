package nginx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
)

// ErrAddressTaken is wrapped by Start's error when another program has the
// listen address.
var ErrAddressTaken = errors.New("address already in use")

// ErrRejected is wrapped by errors about a configuration that nginx won't
// take. The one that was there before is still there.
var ErrRejected = errors.New("nginx rejects the configuration")

// ErrNotSeen is wrapped by the error of a reload after which nginx was not seen
// to serve the configuration. It serves the one from before again.
var ErrNotSeen = errors.New("nginx was not seen to take the configuration, and goes by the one from before again")

// How long a start or a reload may take to be seen, and nginx to check a
// configuration.
const (
	settle   = 10 * time.Second
	tryLimit = 5 * time.Second
)

// Status is what can be said about an nginx from outside.
type Status struct {
	Running  bool      `json:"running"`
	PID      int       `json:"pid,omitempty"`
	Started  time.Time `json:"started,omitzero"` // to about a second
	Listen   string    `json:"listen"`
	Cutover  Cutover   `json:"cutover"`
	Live     int       `json:"live"`     // the port that the link says; 0 none
	Fallback int       `json:"fallback"` // likewise
	Capacity           // zero when it does not run
}

// Start writes the configuration and starts an nginx that outlives this
// process. One of ours that runs already stays; it is reloaded if its
// configuration is another one.
func (s *Server) Start(ctx context.Context) (err error) {
	binary, err := s.binary()
	if err != nil {
		return err
	}
	process, found, err := s.master()
	if err != nil {
		return err
	}
	if process != nil && s.moved(found) { // it would look for its configuration where the folder was
		process.Release()
		if err := s.Stop(ctx); err != nil {
			return err
		}
		process = nil
	}
	if process == nil {
		if err := s.endOrphans(ctx); err != nil {
			return err
		}
		if err := s.removeOpen(); err != nil { // of an nginx that was killed
			return err
		}
		defer func() {
			if err != nil { // it has not started, or was stopped
				err = errors.Join(err, s.removeOpen())
			}
		}()
	} else {
		defer process.Release()
	}
	if err := s.prepare(); err != nil {
		return err
	}
	own, err := s.takeCustom()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.sweepCustom(), s.give()) }()
	text, generation, err := s.renderLinks(ctx, own)
	if err != nil {
		return err
	}
	if process != nil {
		if route, err := s.Served(ctx); err == nil && route.Generation == generation {
			return s.remember()
		}
		return s.reloadWith(ctx, own)
	}
	if err := s.checkFree(ctx); err != nil {
		return err
	}
	if err := s.install(ctx, binary, text); err != nil {
		return err
	}
	if out, err := s.run(ctx, binary, s.path("nginx.conf")); err != nil {
		if strings.Contains(out, "Address already in use") {
			return taken(s.cfg.Listen)
		}
		return fmt.Errorf("nginx: start: %w: %s", err, out)
	}
	if err := s.waitGeneration(ctx, generation, 1); err != nil {
		return errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	return s.remember()
}

// Test has nginx check the configuration that Start or Reload would install,
// and installs nothing. A folder that is missing is not made for it.
func (s *Server) Test(ctx context.Context) error {
	if err := Writable(s.cfg.Dir); errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return s.testElsewhere(ctx)
	}
	binary, err := s.binary()
	if err != nil {
		return err
	}
	if err := s.makeDirs(); err != nil {
		return err
	}
	text, err := s.Render(ctx)
	if err != nil {
		return err
	}
	draft, err := s.try(ctx, binary, text)
	if err != nil {
		return err
	}
	return draft.Cleanup()
}

// testElsewhere tests in a folder of its own, for a folder that is missing or
// that this user may only look at.
func (s *Server) testElsewhere(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "migrate-nginx-*")
	if err != nil {
		return fmt.Errorf("nginx: %w", err)
	}
	defer os.RemoveAll(dir)
	text, err := os.ReadFile(s.path(customFile))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, customFile), text, 0o600)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("nginx: %w", err)
	}
	elsewhere := Server{cfg: s.cfg}
	elsewhere.cfg.Dir = dir
	return elsewhere.Test(ctx)
}

// Status looks at the process and the links.
func (s *Server) Status(ctx context.Context) (Status, error) {
	status := Status{Listen: s.cfg.Listen, Cutover: s.cfg.Cutover}
	process, found, err := s.master()
	if err != nil {
		return status, err
	}
	if process != nil {
		defer process.Release()
		status.Running, status.PID, status.Started = true, process.Pid, found.since
		if status.Capacity, err = capacity(process.Pid); err != nil {
			return status, err
		}
	}
	if status.Live, err = s.Live(); err != nil {
		return status, err
	}
	status.Fallback, err = s.Fallback()
	return status, err
}

func (s *Server) path(name string) string { return filepath.Join(s.cfg.Dir, name) }

func (s *Server) makeDirs() error {
	for _, name := range []string{"routes", "logs", "temp", "closing"} {
		if err := os.MkdirAll(s.path(name), 0o700); err != nil {
			return fmt.Errorf("nginx: %w", err)
		}
	}
	return s.makeLinks()
}

// prepare makes what nginx is to find, and what its workers can walk to.
func (s *Server) prepare() error {
	if err := s.makeDirs(); err != nil {
		return err
	}
	if err := s.makeOpen(); err != nil {
		return err
	}
	return s.give()
}

// install replaces nginx.conf by a text that nginx accepts.
func (s *Server) install(ctx context.Context, binary string, text []byte) error {
	draft, err := s.try(ctx, binary, text)
	if err != nil {
		return err
	}
	defer draft.Cleanup()
	return s.replaceBy(draft)
}

func (s *Server) replaceBy(draft *renameio.PendingFile) error {
	if err := draft.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("nginx: install configuration: %w", err)
	}
	return syncDir(s.cfg.Dir)
}

// try writes the text beside nginx.conf and has nginx check it there.
func (s *Server) try(ctx context.Context, binary string, text []byte) (*renameio.PendingFile, error) {
	draft, err := renameio.NewPendingFile(s.path("nginx.conf"), renameio.WithTempDir(s.cfg.Dir), renameio.WithPermissions(0o600))
	if err != nil {
		return nil, fmt.Errorf("nginx: write configuration: %w", err)
	}
	if _, err := draft.Write(text); err != nil {
		return nil, errors.Join(fmt.Errorf("nginx: write configuration: %w", err), draft.Cleanup())
	}
	limited, cancel := context.WithTimeout(ctx, tryLimit)
	defer cancel()
	if out, err := s.run(limited, binary, draft.Name(), "-t", "-q"); err != nil {
		return nil, errors.Join(fmt.Errorf("%w (%w), and what was there before is still there: %s", ErrRejected, err, s.inOwnWords(out)), draft.Cleanup())
	}
	return draft, nil
}

// run runs nginx in the folder and returns what it printed. It returns when
// nginx has become a daemon, or has ended.
func (s *Server) run(ctx context.Context, binary, conf string, args ...string) (string, error) {
	args = append(append(s.prefixArgs(), "-e", s.path("logs/error.log"), "-c", conf), args...)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = s.cfg.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a Ctrl-C is not for it
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

// checkFree fails when nginx could not listen. (It would try for seconds, and
// `nginx -t` takes no notice.)
func (s *Server) checkFree(ctx context.Context) error {
	var config net.ListenConfig
	for _, address := range s.addresses() {
		network := "tcp4" // nginx keeps the families apart
		if strings.HasPrefix(address, "[") {
			network = "tcp6"
		}
		listener, err := config.Listen(ctx, network, address)
		if errors.Is(err, syscall.EADDRINUSE) {
			return taken(address)
		}
		if err != nil {
			return fmt.Errorf("nginx: can't listen on %s (--nginx-listen chooses another address): %w", address, err)
		}
		if err := listener.Close(); err != nil {
			return fmt.Errorf("nginx: try to listen on %s: %w", address, err)
		}
	}
	return nil
}

func taken(address string) error {
	return fmt.Errorf("nginx: %s: %w by another program; --nginx-listen chooses another address", address, ErrAddressTaken)
}

// waitGeneration waits until nginx answers with a configuration, row times in
// a row, 20 ms apart.
func (s *Server) waitGeneration(ctx context.Context, generation string, row int) error {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	var last error
	for seen := 0; ; {
		route, err := s.Served(ctx)
		if err != nil && last != nil && ctx.Err() != nil {
			err = last // this one was cut off, and says less
		}
		last = err
		if err == nil && route.Generation == generation {
			if seen++; seen == row {
				return nil
			}
		} else {
			seen = 0
		}
		if !pause(ctx, 20*time.Millisecond) {
			if err == nil {
				err = fmt.Errorf("it still serves %s", route.Generation)
			}
			return fmt.Errorf("nginx: configuration %s is not served (see %s): %w", generation, s.path("logs/error.log"), err)
		}
	}
}
