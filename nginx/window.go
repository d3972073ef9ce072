package nginx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The closing window is how long clients have, at most, to let go of their
// connections before a reload. Of what passes between two looks at them no more
// than longLook counts: while the machine stands still nobody can let go. But
// it ends at longest, in time for the move that waits for it.
const (
	window    = 2 * time.Second
	longest   = 4 * window
	lookEvery = 25 * time.Millisecond
	longLook  = 4 * lookEvery
)

// TakeCut returns how many connections of clients were cut by reloads since it
// was last asked: those that were open before the answers began to say
// `Connection: close`, and still were when the time was over. A request that a
// client sent on one of them at that moment is lost; no other is, so it is an
// upper bound: a connection that was busy all the while is finished unharmed.
func (s *Server) TakeCut() int { return int(s.cut.Swap(0)) }

// letGo opens the closing window: the running configuration's answers say
// `Connection: close`, so that no client will send another request on a
// connection that the reload closes. It returns when no connection from before
// is left, or the time is over, and how many are left. The window stays open.
//
// (stub_status can't say that: it counts connections that wait, those among
// them that have just been opened, and not those with a request that was
// begun before the window, whose answer says keep-alive.)
func (s *Server) letGo(ctx context.Context, running []byte) (left int, err error) {
	if err := s.endWindow(); err != nil {
		return 0, err
	}
	if bytes.Contains(running, []byte("keepalive_min_timeout ")) {
		return 0, nil // it closes none at once
	}
	_, generation := head(running)
	if generation == "" {
		return 0, fmt.Errorf("nginx: %s is not ours: it has no generation", s.path("nginx.conf"))
	}
	for _, root := range s.roots() { // an nginx of before may look at ours
		if err := os.WriteFile(filepath.Join(root, "closing", generation), nil, 0o600); err != nil {
			return 0, fmt.Errorf("nginx: closing window: %w", err)
		}
	}
	if left, err = drop(ctx, func() (map[string]bool, error) { return connections(s.cfg.Listen) }); err != nil {
		return 0, fmt.Errorf("nginx: closing window: %w", err)
	}
	return left, nil
}

// drop returns when none of the connections that look shows first is left, or
// the window is over, and how many are left.
func drop(ctx context.Context, look func() (map[string]bool, error)) (left int, err error) {
	before, err := look()
	if err != nil {
		return 0, err
	}
	opened := time.Now()
	for spent := time.Duration(0); spent < window && time.Since(opened) < longest && len(before) > 0; {
		began := time.Now()
		if !pause(ctx, lookEvery) {
			return 0, context.Cause(ctx)
		}
		now, err := look()
		if err != nil {
			return 0, err
		}
		maps.DeleteFunc(before, func(conn string, _ bool) bool { return !now[conn] })
		spent += min(time.Since(began), longLook)
	}
	return len(before), nil
}

// endWindow lets the answers of all configurations keep connections again.
func (s *Server) endWindow() (err error) {
	for _, root := range s.roots() {
		flags, lerr := os.ReadDir(filepath.Join(root, "closing"))
		if lerr != nil && !errors.Is(lerr, fs.ErrNotExist) {
			err = errors.Join(err, lerr)
		}
		for _, flag := range flags {
			err = errors.Join(err, os.Remove(filepath.Join(root, "closing", flag.Name())))
		}
	}
	if err != nil {
		return fmt.Errorf("nginx: end the closing window: %w", err)
	}
	return nil
}

// outer splits a listen address: a nil IP is every one.
func outer(listen string) (ip net.IP, port string) {
	host, port, _ := net.SplitHostPort(listen)
	if host == localhost {
		return nil, port
	}
	if ip = net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		ip = nil
	}
	return ip, port
}
