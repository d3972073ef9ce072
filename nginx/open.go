package nginx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
)

// openLink, in our folder, leads to a second folder with what the workers walk
// to: the links, the routes, the flags of the closing window, temporary files.
// There is one only where the workers, who are not root, can't walk to our
// folder. Ours says what is meant, and lasts; the other one is made anew
// whenever nginx starts, and removed when it is stopped.
const openLink = "open"

// open is the folder that the workers walk to: ours, or the second one.
func (s *Server) open() string {
	if second, err := os.Readlink(s.path(openLink)); err == nil && s.isSecond(second) {
		return second
	}
	return s.cfg.Dir
}

// bases are the folders that a second one is made in: the first that can be
// written to.
func bases() []string { return []string{"/var/lib", "/run", os.TempDir()} }

func (s *Server) secondIn(base string) string { return filepath.Join(base, "migrate-"+s.folderID()) }

// isSecond reports whether a folder is the second one of this folder. The link
// in a copy of a state folder leads to the second folder of the original, whose
// nginx goes by it.
func (s *Server) isSecond(path string) bool {
	return slices.ContainsFunc(bases(), func(base string) bool { return path == s.secondIn(base) })
}

// wanted is the folder that an nginx that starts now would walk to.
func (s *Server) wanted() string {
	a := s.workerAccount()
	if a == nil || a.uid == s.owner() && a.canWalk(s.cfg.Dir) {
		return s.cfg.Dir
	}
	const writable = 2
	for _, base := range bases() {
		if syscall.Access(base, writable) == nil {
			return s.secondIn(base)
		}
	}
	return s.secondIn(os.TempDir())
}

// roots are the folders that have the links: ours, and the second one if there
// is one.
func (s *Server) roots() []string {
	if second := s.open(); second != s.cfg.Dir {
		return []string{s.cfg.Dir, second}
	}
	return []string{s.cfg.Dir}
}

// served is the path of something that the workers look at.
func (s *Server) served(name string) string { return filepath.Join(s.open(), name) }

// LinkPath is the link that nginx follows to the live instance.
func (s *Server) LinkPath() string { return s.served(live) }

// makeOpen makes the second folder, if one is needed, with what our own says.
func (s *Server) makeOpen() error {
	second := s.open()
	if second == s.cfg.Dir {
		second = s.wanted()
	}
	if second == s.cfg.Dir {
		return nil
	}
	if err := s.makeSecond(second); err != nil {
		return fmt.Errorf("nginx: make a folder that its workers can walk to: %w", err)
	}
	for _, link := range []string{live, fallback} {
		if _, err := os.Lstat(filepath.Join(second, link)); err == nil {
			continue // of the nginx that runs
		}
		port, err := s.follow(link)
		if err == nil {
			err = repointIn(second, link, port)
		}
		if err != nil {
			return fmt.Errorf("nginx: make %s: %w", link, err)
		}
	}
	return nil
}

func (s *Server) makeSecond(second string) error {
	if err := os.Mkdir(second, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(second)
	if err != nil {
		return err
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || info.Mode().Perm()&0o022 != 0 || int(sys.Uid) != os.Geteuid() && int(sys.Uid) != s.owner() {
		return fmt.Errorf("%s is there, and is not a folder of ours alone: move it away", second)
	}
	for _, name := range []string{"", "routes", "temp", "closing"} {
		if err := makeWalkable(filepath.Join(second, name)); err != nil {
			return err
		}
	}
	marks, err := filepath.Glob(filepath.Join(globEscape(s.path("routes")), "*", todoMark))
	if err != nil {
		return err
	}
	for _, mark := range marks {
		if err := markIn(second, filepath.Base(filepath.Dir(mark)), true); err != nil {
			return err
		}
	}
	if now, err := os.Readlink(s.path(openLink)); err != nil || now != second {
		return renameio.Symlink(second, s.path(openLink))
	}
	return nil
}

// globEscape writes a path so that a pattern matches nothing but it.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// makeWalkable makes a folder that everybody may walk through, whatever the umask.
func makeWalkable(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	return os.Chmod(dir, 0o711)
}

// removeOpen removes the second folder, once no nginx walks to it.
func (s *Server) removeOpen() error {
	second, err := os.Readlink(s.path(openLink))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && s.isSecond(second) { // else only the link is ours
		if err = os.RemoveAll(second); errors.Is(err, fs.ErrPermission) {
			err = nil // root's nginx left it
		}
	}
	if err == nil {
		err = os.Remove(s.path(openLink))
	}
	if err != nil {
		return fmt.Errorf("nginx: remove the folder that its workers walked to: %w", err)
	}
	return nil
}

// give gives what root has made in the folder of somebody else to that owner.
func (s *Server) give() error {
	owner := s.owner()
	if os.Geteuid() != 0 || owner == 0 {
		return nil
	}
	info, err := os.Stat(filepath.Dir(s.cfg.Dir))
	if err != nil {
		return fmt.Errorf("nginx: %w", err)
	}
	group := int(info.Sys().(*syscall.Stat_t).Gid)
	for _, root := range s.roots() {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return nil // gone meanwhile
			}
			info, err := entry.Info()
			if err != nil {
				return nil
			}
			if sys, ok := info.Sys().(*syscall.Stat_t); ok && sys.Uid == 0 {
				return os.Lchown(path, owner, group)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("nginx: %w", err)
		}
	}
	return nil
}
