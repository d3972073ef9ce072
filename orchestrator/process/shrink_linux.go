package process

import (
	"os"

	"golang.org/x/sys/unix"
)

// cutOff takes the first bytes off a file, whoever appends to it meanwhile.
func cutOff(f *os.File, bytes int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_COLLAPSE_RANGE, 0, bytes)
}
