package sqlite

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	codes "modernc.org/sqlite/lib"

	"migrate.invalid/migrate/app/store"
)

// Contact is what [Store.FirstContact] did and found.
type Contact struct {
	Migration   string // the migration id
	Fresh       bool   // this call was the first; else there was nothing left to do, and the rest is zero
	Copy        string // path of the copy of the file as it was before; "" if it had no table of ours
	Rows        int64  // rows that became records
	Quarantined int64  // rows on which the person decides
}

// FirstContact takes the file over: see [Store.Adopt], of which it is the whole,
// with the rules of [Config.Accept]. It is safe to repeat and to race.
func (s *Store) FirstContact(ctx context.Context) (Contact, error) {
	a, err := s.Adopt(ctx, store.AdoptOptions{})
	c := Contact{Migration: a.Migration, Fresh: a.Fresh, Copy: a.Copy}
	if a.Fresh {
		c.Rows, c.Quarantined = a.Rows, a.Quarantined
	}
	return c, err
}

// makeFile makes an empty file, which SQLite takes for an empty database. One
// that exists is not even opened: closing it would drop SQLite's locks.
func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// setWAL sets the write-ahead log, which stays set in the file, and returns the
// journal's mode from before. While a try waits for a reader no other program can
// write, so it tries no more than once a second, as long as the store is patient.
func (s *Store) setWAL(ctx context.Context) (before string, err error) {
	const op = "set the write-ahead log"
	for until := time.Now().Add(s.busy); ; {
		err = use(ctx, s.writers, func(ctx context.Context, c *conn) (err error) {
			before, err = walMode(ctx, c)
			return err
		})
		if code(err)&0xff != codes.SQLITE_BUSY || !time.Now().Before(until) {
			return before, meaning(ctx, op, err)
		}
		select {
		case <-ctx.Done():
			return before, meaning(ctx, op, ctx.Err())
		case <-time.After(time.Second):
		}
	}
}

// walMode tries once to set the write-ahead log.
func walMode(ctx context.Context, c *conn) (before string, err error) {
	if err := c.QueryRowContext(ctx, `PRAGMA journal_mode`).Scan(&before); err != nil || before == "wal" {
		return before, err
	}
	var mode string
	if err := c.QueryRowContext(ctx, `PRAGMA journal_mode=WAL`).Scan(&mode); err != nil {
		return before, err
	}
	if mode != "wal" {
		return before, fmt.Errorf("%w: this file can't have a write-ahead log (journal mode %s)", store.ErrUnavailable, mode)
	}
	return before, nil
}

// copyFile copies the database, as it is, to a new file beside it.
func (s *Store) copyFile(ctx context.Context) (string, error) {
	// A copy that was broken off has another name than one that is whole.
	if err := s.removePartial(); err != nil {
		return "", meaning(ctx, "copy the file", err)
	}
	path := s.path + partialCopy + rand.Text()[:8]
	if err := makePrivate(path); err != nil {
		return "", meaning(ctx, "copy the file", err)
	}
	err := s.run(ctx, "copy the file", func() error {
		return use(ctx, s.writers, func(ctx context.Context, c *conn) error {
			_, err := c.ExecContext(ctx, `VACUUM INTO ?`, path)
			return err
		})
	})
	whole := ""
	if err == nil {
		if err = durable(path); err == nil {
			whole, err = unused(s.path + ".before-migrate-" + time.Now().UTC().Format("20060102T150405Z"))
		}
		if err == nil {
			err = os.Rename(path, whole)
		}
		if err == nil {
			path = whole
			err = durable(path)
		}
		err = meaning(ctx, "copy the file", err)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(path))
	}
	return whole, nil
}

// partialCopy is what the name of a copy goes on with until it is whole.
const partialCopy = ".copy-that-is-not-whole-"

// removePartial removes what take-overs that were killed have left of their copies.
// One that another process is making is younger.
func (s *Store) removePartial() error {
	left, err := filepath.Glob(globbed(s.path) + partialCopy + "*")
	errs := []error{err}
	for _, path := range left {
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > time.Hour {
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}

// globbed is a path as a pattern that matches it alone.
func globbed(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// makePrivate makes an empty file that only we may read.
func makePrivate(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// unused returns the path or, if it is taken, one with a number added.
func unused(name string) (string, error) {
	path := name
	for n := 2; ; n++ {
		switch _, err := os.Lstat(path); {
		case errors.Is(err, fs.ErrNotExist):
			return path, nil
		case err != nil:
			return "", err
		}
		path = fmt.Sprintf("%s-%d", name, n)
	}
}

// durable makes a file and its name outlive a power failure.
func durable(path string) error {
	for _, name := range []string{path, filepath.Dir(path)} {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}
