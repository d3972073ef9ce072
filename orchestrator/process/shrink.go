package process

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Shrink rotates a log that another program has open, once it has more than
// most bytes: what it holds moves to path.1, that to path.2, and so on up to
// path.keep; the oldest goes. The program must append, as [Start] has it do.
//
// Where the file system can cut off the beginning of a file, as ext4 and XFS
// can, nothing is lost. Elsewhere the file is emptied once it was copied, and
// what is written between the two, some microseconds, is lost.
func Shrink(path string, most int64, keep int) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("rotate a log: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() <= most {
		return err
	}
	if err := copyFrom(f, path+".0", info); err != nil {
		return errors.Join(fmt.Errorf("rotate a log: %w", err), os.Remove(path+".0"))
	}
	for n := keep; n > 0; n-- {
		if err := os.Rename(fmt.Sprintf("%s.%d", path, n-1), fmt.Sprintf("%s.%d", path, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate a log: %w", err)
		}
	}
	return nil
}

// block is a multiple of what file systems count in.
const block = 64 << 10

// copyFrom moves the beginning of a log to another file.
func copyFrom(log *os.File, to string, info fs.FileInfo) error {
	copied, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer copied.Close()
	whole := (info.Size() - 1) / block * block // the end of the file must stay
	if _, err := io.Copy(copied, io.NewSectionReader(log, 0, whole)); err != nil {
		return err
	}
	if whole > 0 && cutOff(log, whole) == nil {
		return nil
	}
	// What came meanwhile is copied, too, until nothing has come.
	for at := whole; ; {
		n, err := io.Copy(copied, io.NewSectionReader(log, at, 1<<62))
		if err != nil {
			return err
		}
		if at += n; n == 0 {
			return log.Truncate(0)
		}
	}
}
