package orchestrator

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"migrate.invalid/migrate/orchestrator/process"
)

// A command that root runs in a folder of somebody else's must not shut that
// one out: what it writes there belongs to the folder's owner, and what it
// starts runs as the folder's owner, who can end it, too.

// owner is the folder's owner, if we are root and it isn't; else nil.
func (o *Orchestrator) owner() *syscall.Stat_t {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(o.cfg.Dir)
	if err != nil {
		return nil
	}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok && sys.Uid != 0 {
		return sys
	}
	return nil
}

// HandOver gives what root has written in the state folder to the folder's
// owner. It does nothing for anybody else, or in a folder of root's own.
func (o *Orchestrator) HandOver() error {
	owner := o.owner()
	if owner == nil {
		return nil
	}
	// The owner can change the folder meanwhile: nothing outside of it may be given
	// away, by a link that takes a folder's place or by another name of a file.
	root, err := os.OpenRoot(o.cfg.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return unlessGone(err)
		}
		info, err := root.Lstat(path)
		if err != nil {
			return unlessGone(err)
		}
		sys, ok := info.Sys().(*syscall.Stat_t)
		if !ok || sys.Uid != 0 || info.Mode().IsRegular() && sys.Nlink > 1 {
			return nil
		}
		return unlessGone(root.Lchown(path, int(owner.Uid), int(owner.Gid)))
	})
}

// unlessGone is the error, but for a file that has gone meanwhile.
func unlessGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// as has a command run as the folder's owner, if that is not us.
func (o *Orchestrator) as(c process.Command) process.Command {
	owner := o.owner()
	if owner == nil {
		return c
	}
	c.As = &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}
	u, err := user.LookupId(strconv.Itoa(int(owner.Uid)))
	if err != nil {
		return c // it has a number and no name: no home, and no other groups
	}
	groups, err := u.GroupIds()
	if err != nil {
		groups = nil
	}
	for _, g := range groups {
		if id, err := strconv.ParseUint(g, 10, 32); err == nil {
			c.As.Groups = append(c.As.Groups, uint32(id))
		}
	}
	env := []string{"HOME=" + u.HomeDir, "USER=" + u.Username, "LOGNAME=" + u.Username}
	for _, pair := range c.Env {
		name, _, _ := strings.Cut(pair, "=")
		if name != "HOME" && name != "USER" && name != "LOGNAME" {
			env = append(env, pair)
		}
	}
	c.Env = env
	return c
}

// handOver gives a file that root has just written to the owner of its folder:
// also a command that is killed must leave nothing behind that shuts that one out.
func handOver(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok && sys.Uid != 0 {
		return os.Lchown(path, int(sys.Uid), int(sys.Gid))
	}
	return nil
}
