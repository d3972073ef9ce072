package web

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
)

// maxSocketPath is the longest path that Linux binds a socket to, in bytes.
const maxSocketPath = 107

// listenUnix listens on a socket that only its owner may use. One that an
// earlier process left behind is replaced.
//
// The socket is bound beside path and renamed over it, so that nobody meets it
// before its mode is set.
func listenUnix(path string) (net.Listener, error) {
	l, err := bindUnix(path)
	if err != nil {
		return nil, fmt.Errorf("admin socket %s: %w", path, err)
	}
	return l, nil
}

func bindUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%w, and it is no socket", fs.ErrExist)
	}
	temporary := path + "~"
	if err := os.Remove(temporary); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	l, err := listenDeep(temporary)
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it will have another name
	bound := &socket{UnixListener: l, path: path}
	err = os.Chmod(temporary, 0o600)
	if err == nil {
		bound.info, err = os.Lstat(temporary)
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		l.Close()
		os.Remove(temporary)
		return nil, err
	}
	return bound, nil
}

// listenDeep listens on path. One that is too long for a socket is reached
// through its folder, opened: the kernel then sees a short one.
func listenDeep(path string) (*net.UnixListener, error) {
	if len(path) > maxSocketPath && runtime.GOOS == "linux" {
		dir, err := os.Open(filepath.Dir(path))
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		path = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	}
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

// socket removes its file when it closes, unless a successor has replaced it.
type socket struct {
	*net.UnixListener
	path string
	info os.FileInfo
	once sync.Once
}

func (s *socket) Close() error {
	s.once.Do(func() {
		if info, err := os.Lstat(s.path); err == nil && os.SameFile(info, s.info) {
			os.Remove(s.path) // at worst it is found stale and replaced
		}
	})
	return s.UnixListener.Close()
}
