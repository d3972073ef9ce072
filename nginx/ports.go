package nginx

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
)

// Knows reports whether the instance on this port can be live: the port is in
// the configured range, or [Server.Widen] has added it.
func (s *Server) Knows(port int) (bool, error) {
	if s.inRange(port) {
		return true, nil
	}
	more, err := s.morePorts()
	return slices.Contains(more, port), err
}

func (s *Server) inRange(port int) bool {
	return port >= s.cfg.FirstPort && port < s.cfg.FirstPort+s.cfg.Ports
}

// Widen makes a port outside the range known for good. By link it takes a
// reload of a running nginx; see [Server.TakeCut] for what that costs.
func (s *Server) Widen(ctx context.Context, port int) error {
	known, err := s.Knows(port)
	if err != nil || known {
		return err
	}
	_, own, _ := net.SplitHostPort(s.cfg.Listen)
	if port < 1 || port >= 1<<16 || strconv.Itoa(port) == own {
		return fmt.Errorf("nginx: port %d can't be an instance's", port)
	}
	before, err := s.morePorts()
	if err != nil {
		return err
	}
	if err := s.writePorts(append(slices.Clone(before), port)); err != nil {
		return err
	}
	if s.cfg.Cutover == ByReload {
		return nil // it gets its group when traffic moves to it
	}
	if err := s.reloadInForce(ctx); err != nil && !errors.Is(err, ErrNotRunning) {
		return errors.Join(fmt.Errorf("nginx: add port %d: %w", port, err), s.writePorts(before))
	}
	return nil
}

// morePorts are those outside the range, one a line in the file `ports`.
func (s *Server) morePorts() ([]int, error) {
	text, err := os.ReadFile(s.path("ports"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("nginx: %w", err)
	}
	var ports []int
	for line := range strings.FieldsSeq(string(text)) {
		port, err := strconv.Atoi(line)
		if err != nil || port < 1 || port >= 1<<16 {
			return nil, fmt.Errorf("nginx: %s: %q is no port", s.path("ports"), line)
		}
		ports = append(ports, port)
	}
	return ports, nil
}

func (s *Server) writePorts(ports []int) error {
	var text strings.Builder
	for _, port := range ports {
		fmt.Fprintln(&text, port)
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("nginx: %w", err)
	}
	err := renameio.WriteFile(s.path("ports"), []byte(text.String()), 0o600, renameio.WithTempDir(s.cfg.Dir))
	if err != nil {
		return fmt.Errorf("nginx: %w", err)
	}
	return nil
}
