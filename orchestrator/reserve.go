package orchestrator

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// A disk that is full must not keep anybody from going back: the journal is
// written before anything is done. So room is kept aside in files of the state
// folder, and one after the other is given up when there is no other room.
const (
	reserveFiles = 8
	reserveSize  = 128 << 10 // bytes of each
	// reserveShare: the reserve is made where the disk has this many times its
	// size, so that it takes no room where every byte is needed.
	reserveShare = 4
)

func (o *Orchestrator) reservePath(n int) string {
	return filepath.Join(o.cfg.Dir, "reserve", fmt.Sprint(n))
}

// fillReserve makes what is missing of the reserve. Where that can't be, a
// command goes without.
func (o *Orchestrator) fillReserve() {
	for n := range reserveFiles {
		if exists(o.reservePath(n)) {
			continue
		}
		var fs syscall.Statfs_t
		if err := syscall.Statfs(o.cfg.Dir, &fs); err != nil || uint64(fs.Bavail)*uint64(fs.Bsize) < reserveShare*reserveFiles*reserveSize {
			return
		}
		if err := o.fillPart(n); err != nil {
			_ = os.Remove(o.reservePath(n)) // whatever of it there is
			return
		}
	}
}

// fillPart writes one file of the reserve, with bytes that no file system can
// store in less room.
func (o *Orchestrator) fillPart(n int) error {
	if err := os.MkdirAll(filepath.Dir(o.reservePath(n)), 0o700); err != nil {
		return err
	}
	b := make([]byte, reserveSize)
	if _, err := rand.Read(b); err != nil {
		return err
	}
	return os.WriteFile(o.reservePath(n), b, 0o600)
}

// withRoom does some writing, which is repeated with a part of the reserve
// given up as long as the disk is full.
func (o *Orchestrator) withRoom(write func() error) error {
	for {
		err := write()
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) || !o.giveUp() {
			return err
		}
	}
}

// giveUp removes a part of the reserve, if there is one.
func (o *Orchestrator) giveUp() bool {
	for n := range reserveFiles {
		if os.Remove(o.reservePath(n)) == nil {
			return true
		}
	}
	return false
}
