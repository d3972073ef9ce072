package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"migrate/app/store"
)

// Contact is what [Store.FirstContact] did and found.
type Contact struct {
	Migration   string // the migration id
	Fresh       bool   // this call was the first; else there was nothing left to do, and the rest is zero
	Copy        string // path of the copy of the file as it was before; "" if it had no tasks
	Rows        int64  // tasks that became records
	Quarantined int64  // rows that could not
}

// FirstContact brings the file into the protocol: a copy of it beside it, then,
// in one transaction, companion rows, fence and triggers. It is safe to repeat
// and to race.
//
// A file that can't be brought in is refused, untouched, with
// store.ErrStranger: another encoding than UTF-8, no table tasks (unless
// [Config.Create]), or one of another shape.
func (s *Store) FirstContact(ctx context.Context) (Contact, error) {
	const op = "first contact"
	if s.create {
		if err := makeFile(s.path); err != nil {
			return Contact{}, meaning(ctx, op, err)
		}
	}
	var (
		migration string
		tasks     bool
	)
	err := s.run(ctx, op, func() error {
		return transact(ctx, s.readers, beginRead, func(ctx context.Context, c *conn) (err error) {
			migration, tasks, err = inspect(ctx, c, s.create)
			return err
		})
	})
	if err != nil {
		return Contact{}, err
	}
	if migration != "" {
		return Contact{Migration: migration}, s.setWAL(ctx)
	}
	var copied string
	if tasks {
		if copied, err = s.copyFile(ctx); err != nil {
			return Contact{}, err
		}
	}
	var contact Contact
	if err = s.setWAL(ctx); err == nil {
		err = s.run(ctx, op, func() error {
			return transact(ctx, s.writers, beginWrite, func(ctx context.Context, c *conn) (err error) {
				contact, err = layDown(ctx, c, s.create)
				return err
			})
		})
	}
	// Keep the copy for the contact that it was made for, or may have been.
	switch {
	case errors.Is(err, store.ErrUnknown):
		return Contact{Copy: copied}, err
	case err == nil && contact.Fresh:
		contact.Copy = copied
		return contact, nil
	case copied != "":
		if rerr := os.Remove(copied); rerr != nil {
			s.log.Warn("a copy of the old database that is not needed stays behind", "error", rerr)
		}
	}
	if err != nil {
		return Contact{}, err
	}
	return contact, nil
}

// setWAL sets the write-ahead log, which stays set in the file.
func (s *Store) setWAL(ctx context.Context) error {
	return s.run(ctx, "set the write-ahead log", func() error { return use(ctx, s.writers, walMode) })
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

// inspect returns the migration id, "" if there is no fence yet, and whether
// there is a table tasks. It refuses what can't be brought in.
func inspect(ctx context.Context, c *conn, create bool) (migration string, tasks bool, err error) {
	f, err := readFence(ctx, c)
	if err == nil || !errors.Is(err, store.ErrStranger) {
		return f.Migration, true, err
	}
	var encoding string
	if err := c.QueryRowContext(ctx, `PRAGMA encoding`).Scan(&encoding); err != nil {
		return "", false, err
	}
	if encoding != "UTF-8" {
		return "", false, fmt.Errorf("%w: the file is encoded in %s, only UTF-8 is supported", store.ErrStranger, encoding)
	}
	var kind string
	var withoutRowid bool
	err = c.QueryRowContext(ctx, `SELECT type, wr FROM pragma_table_list('tasks') WHERE schema='main'`).Scan(&kind, &withoutRowid)
	switch {
	case errors.Is(err, sql.ErrNoRows) && create:
		return "", false, nil
	case errors.Is(err, sql.ErrNoRows):
		return "", false, fmt.Errorf("%w: the file has no table tasks", store.ErrStranger)
	case err != nil:
		return "", false, err
	case kind != "table" || withoutRowid:
		return "", false, fmt.Errorf("%w: tasks is not an ordinary table with row ids", store.ErrStranger)
	}
	return "", true, inspectColumns(ctx, c)
}

// inspectColumns refuses a table that lacks a column, or that doesn't keep text
// as text: there an id like 007 is a number, equal to 7.
func inspectColumns(ctx context.Context, c *conn) error {
	rows, err := c.QueryContext(ctx, `SELECT lower(name), upper(type) FROM pragma_table_info('tasks')`)
	if err != nil {
		return err
	}
	defer rows.Close()
	types := map[string]string{}
	for rows.Next() {
		var name, kind string
		if err := rows.Scan(&name, &kind); err != nil {
			return err
		}
		types[name] = kind
	}
	for _, name := range []string{"id", "assignee", "description", "done"} {
		kind, ok := types[name]
		if !ok {
			return fmt.Errorf("%w: the table tasks has no column %s", store.ErrStranger, name)
		}
		if name != "done" && !textual(kind) {
			return fmt.Errorf("%w: the column %s of the table tasks is declared %q, not as text", store.ErrStranger, name, kind)
		}
	}
	return rows.Err()
}

// textual says whether SQLite gives a column of this type text affinity
// (https://www.sqlite.org/datatype3.html, 3.1).
func textual(kind string) bool {
	return !strings.Contains(kind, "INT") &&
		(strings.Contains(kind, "CHAR") || strings.Contains(kind, "CLOB") || strings.Contains(kind, "TEXT"))
}

func walMode(ctx context.Context, c *conn) error {
	var mode string
	if err := c.QueryRowContext(ctx, `PRAGMA journal_mode=WAL`).Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("%w: this file can't have a write-ahead log (journal mode %s)", store.ErrUnavailable, mode)
	}
	return nil
}

// copyFile copies the database, as it is, to a new file beside it.
func (s *Store) copyFile(ctx context.Context) (string, error) {
	path, err := newFile(s.path + ".before-migrate-" + time.Now().UTC().Format("20060102T150405Z"))
	if err != nil {
		return "", meaning(ctx, "copy the file", err)
	}
	err = s.run(ctx, "copy the file", func() error {
		return use(ctx, s.writers, func(ctx context.Context, c *conn) error {
			_, err := c.ExecContext(ctx, `VACUUM INTO ?`, path)
			return err
		})
	})
	if err == nil {
		err = meaning(ctx, "copy the file", durable(path))
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(path))
	}
	return path, nil
}

// newFile makes an empty file that only we may read, under this name or, if it
// is taken, with a number added.
func newFile(name string) (string, error) {
	path := name
	for n := 2; ; n++ {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			return path, f.Close()
		}
		if !errors.Is(err, fs.ErrExist) {
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
