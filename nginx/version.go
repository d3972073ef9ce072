package nginx

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
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

// release is the number of a version: 1.27.4. The zero value stands for one
// that is not known.
type release [3]int

// release asks the program. One that is not installed or is not nginx has the
// zero release, and so none of the newer directives.
func (s *Server) release(ctx context.Context) release {
	version, err := s.Version(ctx)
	if err != nil {
		return release{}
	}
	return parseRelease(version)
}

// parseRelease reads a version. OpenResty's begin with the one of the nginx in
// them.
func parseRelease(version string) release {
	name, number, _ := strings.Cut(version, "/")
	var r release
	if name != "nginx" && name != "openresty" {
		return r
	}
	if _, err := fmt.Sscanf(number, "%d.%d.%d", &r[0], &r[1], &r[2]); err != nil {
		return release{}
	}
	return r
}

// keepsIdle reports whether it has keepalive_min_timeout, with which a reload
// closes no connection at once. (nginx 1.27.4, CHANGES)
func (r release) keepsIdle() bool { return slices.Compare(r[:], []int{1, 27, 4}) >= 0 }

// KeepsIdle reports whether a reload of the installed nginx cuts no connection
// of a client that idles: see [Server.TakeCut].
func (s *Server) KeepsIdle(ctx context.Context) bool { return s.release(ctx).keepsIdle() }
