package nginx

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/google/renameio/v2"
)

// The two links, and the folder that they lead to when there is no instance.
// (nginx would do without a link as well, but complain in its log at every
// request.)
const (
	live     = "live"
	fallback = "fallback"
	none     = "none"
)

// Live returns the port that the link says is live, 0 when there is none or
// it leads somewhere that means nothing to nginx. What nginx really serves,
// [Server.Served] says.
func (s *Server) Live() (port int, err error) { return s.follow(live) }

// Fallback returns the port of the instance that stands by, 0 when there is
// none.
func (s *Server) Fallback() (port int, err error) { return s.follow(fallback) }

// Move makes the instance on this port live: from here on nginx sends it every
// request whose instance is not chosen yet. It is durable, undone by another
// Move, and needs no nginx to be running. By link it is atomic, too; by reload,
// see [Server.TakeCut] and [Server.Outgoing].
func (s *Server) Move(ctx context.Context, port int) error { return s.point(ctx, live, port) }

// Clear leaves no instance live: every request is answered 503, whatever the
// fallback.
func (s *Server) Clear(ctx context.Context) error { return s.point(ctx, live, 0) }

// SetFallback names the instance that gets the requests that the live one can't
// take, 0 none.
func (s *Server) SetFallback(ctx context.Context, port int) error {
	return s.point(ctx, fallback, port)
}

// point makes a link lead to a port, 0 to none.
func (s *Server) point(ctx context.Context, link string, port int) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("nginx: move %s: %w", link, err)
	}
	if port != 0 {
		known, err := s.Knows(port)
		if err != nil {
			return err
		}
		if !known {
			return fmt.Errorf("nginx: port %d is not one that it knows: %d to %d",
				port, s.cfg.FirstPort, s.cfg.FirstPort+s.cfg.Ports-1)
		}
	}
	lead := s.unwrite // by link, it is the link that moves traffic
	if s.cfg.Cutover == ByReload {
		lead = func(ctx context.Context) error { return s.rewrite(ctx, link, port) }
	}
	if err := lead(ctx); err != nil {
		return fmt.Errorf("nginx: move %s: %w", link, err)
	}
	if err := s.repoint(link, port); err != nil {
		return fmt.Errorf("nginx: move %s: %w", link, err)
	}
	return nil
}

// repoint makes a link lead to a port: ours, which lasts, then the one that
// nginx follows, if that is another one.
func (s *Server) repoint(link string, port int) error {
	for _, root := range s.roots() {
		if err := repointIn(root, link, port); err != nil {
			return err
		}
	}
	return s.give()
}

func repointIn(root, link string, port int) error {
	target := filepath.Join("routes", none)
	if port != 0 {
		target = filepath.Join("routes", strconv.Itoa(port))
	}
	if err := makeWalkable(filepath.Join(root, target)); err != nil {
		return err
	}
	if err := renameio.Symlink(target, filepath.Join(root, link)); err != nil {
		return err
	}
	return syncDir(root)
}

// makeLinks makes those that aren't there lead to none.
func (s *Server) makeLinks() error {
	for _, link := range []string{live, fallback} {
		_, err := os.Lstat(s.path(link))
		if errors.Is(err, fs.ErrNotExist) {
			err = s.repoint(link, 0)
		}
		if err != nil {
			return fmt.Errorf("nginx: make %s: %w", link, err)
		}
	}
	return nil
}

// follow reads a link as nginx does: the folder that it leads to must exist.
func (s *Server) follow(link string) (int, error) {
	path, err := filepath.EvalSymlinks(s.path(link))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("nginx: read %s: %w", link, err)
	}
	if filepath.Base(filepath.Dir(path)) != "routes" {
		return 0, nil
	}
	port, err := strconv.Atoi(filepath.Base(path))
	if err != nil {
		return 0, nil
	}
	if known, err := s.Knows(port); err != nil || !known {
		return 0, err
	}
	return port, nil
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
