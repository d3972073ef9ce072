package nginx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// RealPath returns the absolute path of a folder without the symbolic links in
// it, also of a folder that is not there yet. A link such as "current" may
// lead elsewhere tomorrow; what is written down or told to nginx must not.
func RealPath(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	there, missing := dir, ""
	for {
		path, err := filepath.EvalSymlinks(there)
		if err == nil {
			return filepath.Join(path, missing), nil
		}
		above := filepath.Dir(there)
		if !errors.Is(err, fs.ErrNotExist) || above == there {
			return dir, nil // whoever uses the path meets the error, and says what for
		}
		there, missing = above, filepath.Join(filepath.Base(there), missing)
	}
}

// folderID tells the nginx of this folder from the nginx of another folder:
// two may be told to listen on the same address. It is made of the device and
// the number of the folder, since one folder may have several paths: by a link,
// or by a second mount. It is empty as long as the folder is missing.
func (s *Server) folderID() string {
	info, err := os.Stat(s.cfg.Dir)
	if err != nil {
		return ""
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return short(fmt.Appendf(nil, "%d:%d", sys.Dev, sys.Ino))
}

// Writable returns an error, such as fs.ErrPermission, when this user can make no
// files in a folder. It makes none to find out.
func Writable(dir string) error {
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &fs.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

// isOurs reports whether the process is the master process of this folder's
// nginx: by the folder in its title or, where that path leads nowhere from
// here, by the time at which we have written down that it started.
func (s *Server) isOurs(pid int, found facts) bool {
	rest, titled := strings.CutPrefix(found.command, masterTitle)
	if !titled {
		return false
	}
	if same, readable := s.titled(rest); readable {
		return same && !s.replaced(pid, found.started)
	}
	number, when := s.remembered()
	return number == pid && when == found.started
}

// moved reports whether the folder has another place than when this nginx of
// ours was started.
func (s *Server) moved(found facts) bool {
	same, _ := s.titled(strings.TrimPrefix(found.command, masterTitle))
	return !same
}

const masterTitle = "nginx: master process "

// titled looks for our folder in the arguments of a title. They come first,
// and more follow: a long title may be cut at its end. A path may have spaces
// in it, so each end that it could have is tried.
func (s *Server) titled(arguments string) (same, readable bool) {
	_, rest, found := strings.Cut(arguments, " -p ")
	if !found {
		return false, true
	}
	if strings.HasPrefix(rest, s.cfg.Dir+" -") {
		return true, true
	}
	ours, err := os.Stat(s.cfg.Dir)
	if err != nil {
		return false, true
	}
	for at := range rest {
		if !strings.HasPrefix(rest[at:], " -") {
			continue
		}
		theirs, err := os.Stat(rest[:at])
		if err == nil {
			readable = true
			if os.SameFile(ours, theirs) {
				return true, true
			}
		}
	}
	return false, readable
}
