//go:build !linux

package local

import (
	"errors"
	"os"
	"syscall"
)

// attributes has a child run in a group of its own.
func attributes(*syscall.Credential) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func locked() {}

// ordinary is the user that the server runs as: that of this process.
func ordinary() (*syscall.Credential, error) {
	if os.Geteuid() == 0 {
		return nil, errors.New("PostgreSQL does not run as root: run this as an ordinary user")
	}
	return nil, nil
}
