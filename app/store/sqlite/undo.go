package sqlite

import (
	"context"
	"errors"
	"fmt"

	"migrate.invalid/migrate/app/store"
)

// readerOf adds to an error the programs that have the file open.
func (s *Store) readerOf(err error) error {
	if holders := Holders(s.path); err != nil && holders != "" {
		return fmt.Errorf("%w; the file is in use by %s", err, holders)
	}
	return err
}

// Release takes all that is ours out of the file again, while nothing has been sent
// to the new database: rows and journal mode are as before. It returns the path
// of the copy, which stays.
func (s *Store) Release(ctx context.Context) (copied string, err error) {
	const op = "undo the take-over"
	journal := ""
	err = s.run(ctx, op, func() error {
		return transact(ctx, s.writers, beginWrite, func(ctx context.Context, c *conn) error {
			f, err := s.readFence(ctx, c)
			if err != nil {
				return err
			}
			if f.Epoch != 1 || f.Primary != store.PrimaryOld || f.Closing {
				return fmt.Errorf("%w: the primary has moved since the take-over, which can't be undone any more", store.ErrFenceMoved)
			}
			if err := c.value(ctx, `SELECT copy FROM migrate_fence`, &copied); err != nil {
				return err
			}
			if err := c.value(ctx, `SELECT journal FROM migrate_fence`, &journal); err != nil {
				return err
			}
			if err := s.noteJournal(journal); err != nil {
				return err
			}
			for _, t := range s.tables {
				renumbered, err := t.takeAway(ctx, c)
				if err != nil {
					return err
				}
				s.sayRenumbered(t, renumbered)
			}
			return execAll(ctx, c, []string{`DROP TABLE migrate_fence`, `DROP TABLE migrate_guard`, `DROP TABLE migrate_collection`})
		})
	})
	if errors.Is(err, errNoFence) {
		if reset, rerr := s.resetJournal(ctx); reset {
			return "", rerr
		}
	}
	if err != nil {
		return "", err
	}
	s.seen.Store(0)
	if err := s.setJournal(ctx, journal); err != nil {
		return copied, err
	}
	s.forgetJournal()
	return copied, nil
}

// setJournal sets the journal's former mode, for which nobody else may have the
// file open.
func (s *Store) setJournal(ctx context.Context, journal string) error {
	if journal == "" || journal == "wal" {
		return nil
	}
	s.readers.drop()
	err := s.run(ctx, "set the journal's former mode", func() error {
		return use(ctx, s.writers, func(ctx context.Context, c *conn) error {
			c.migration = ""
			var mode string
			if err := c.QueryRowContext(ctx, `PRAGMA journal_mode=`+journal).Scan(&mode); err != nil {
				return err
			}
			if mode != journal {
				return fmt.Errorf("%w: the journal stays in mode %s, it was in %s: another program has the file open; once it has closed it, undo again to set the mode", store.ErrUnavailable, mode, journal)
			}
			return nil
		})
	})
	return s.readerOf(err)
}

// takeAway removes what is ours of a table, and puts moved rows back. It returns
// how many of those have got another number.
func (t *table) takeAway(ctx context.Context, c *conn) (renumbered int, err error) {
	sh, err := t.look(ctx, c)
	if err != nil {
		return 0, err
	}
	found, err := t.foundTriggers(ctx, c)
	if err != nil {
		return 0, err
	}
	for name := range found {
		if _, err := c.ExecContext(ctx, `DROP TRIGGER `+ident(name)); err != nil {
			return 0, err
		}
	}
	statements := []string{`DROP TABLE ` + t.companion, `DROP INDEX IF EXISTS ` + t.object("id")}
	for n := range t.Lists {
		statements = append(statements, `DROP INDEX IF EXISTS `+t.object(fmt.Sprintf("list%d", n+1)))
	}
	err = t.quietly(ctx, c, func() error {
		if err := execAll(ctx, c, statements); err != nil {
			return err
		}
		renumbered, err = t.putBack(ctx, c, sh, 0)
		return err
	})
	if err != nil {
		return 0, err
	}
	_, err = c.ExecContext(ctx, `DROP TABLE IF EXISTS `+t.moved())
	return renumbered, err
}
