package nginx

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Version asks the installed nginx for its name and version, such as
// nginx/1.22.1. It returns ErrNotInstalled where there is none.
func (s *Server) Version(ctx context.Context) (string, error) {
	binary, err := s.binary()
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, binary, "-v").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("nginx: %s -v: %w: %s", binary, err, out)
	}
	_, version, found := strings.Cut(strings.TrimSpace(string(out)), "nginx version: ")
	if !found {
		return "", fmt.Errorf("nginx: %s -v says %q", binary, out)
	}
	return version, nil
}
