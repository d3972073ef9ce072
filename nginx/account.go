package nginx

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// nobody is the account that every Unix has for programs that need no rights.
const nobody = "nobody"

// account is whom the workers run as.
type account struct {
	Name, Group string
	uid, gid    int
}

// workerAccount returns whom the workers of an nginx that root starts run as: the
// owner of the state folder or, if that is root as well, nobody. It returns nil
// when we are not root: then nginx can't change its user.
func (s *Server) workerAccount() *account {
	if os.Geteuid() != 0 {
		return nil
	}
	if uid := s.owner(); uid != 0 {
		if a := lookUp(user.LookupId(strconv.Itoa(uid))); a != nil {
			return a
		}
	}
	return lookUp(user.Lookup(nobody)) // nil on a system without one
}

func lookUp(u *user.User, err error) *account {
	if err != nil {
		return nil
	}
	group, err := user.LookupGroupId(u.Gid)
	if err != nil {
		return nil
	}
	uid, uerr := strconv.Atoi(u.Uid)
	gid, gerr := strconv.Atoi(u.Gid)
	if uerr != nil || gerr != nil {
		return nil
	}
	return &account{u.Username, group.Name, uid, gid}
}

// owner is the user whom the state folder belongs to: the one above ours.
func (s *Server) owner() (uid int) {
	info, err := os.Stat(filepath.Dir(s.cfg.Dir))
	if err != nil {
		return os.Geteuid()
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return os.Geteuid()
	}
	return int(sys.Uid)
}

// canWalk reports whether the account may walk to what is in a folder of its
// own, by the permissions of each folder above.
func (a *account) canWalk(dir string) bool {
	for {
		info, err := os.Stat(dir)
		if err == nil && !a.mayEnter(info) {
			return false
		}
		above := filepath.Dir(dir)
		if above == dir {
			return true
		}
		dir = above
	}
}

func (a *account) mayEnter(info os.FileInfo) bool {
	sys, ok := info.Sys().(*syscall.Stat_t)
	mode := info.Mode().Perm()
	switch {
	case !ok:
		return false
	case int(sys.Uid) == a.uid:
		return mode&0o100 != 0
	case int(sys.Gid) == a.gid:
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}
