//go:build !linux

package nginx

import (
	"errors"
	"os"
)

// mayRaiseLimits reports whether this process may raise its hard limits.
func mayRaiseLimits() bool { return os.Geteuid() == 0 }

// filesOf is how many files a process may have open, which can't be asked here.
func filesOf(int) (int, error) { return 0, errors.New("not known on this system") }
