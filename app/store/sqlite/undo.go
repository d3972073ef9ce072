package sqlite

import (
	"context"
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
			for _, t := range s.tables {
				if err := t.takeAway(ctx, c); err != nil {
					return err
				}
			}
			return execAll(ctx, c, []string{`DROP TABLE migrate_fence`, `DROP TABLE migrate_guard`, `DROP TABLE migrate_collection`})
		})
	})
	if err != nil {
		return "", err
	}
	s.seen.Store(0)
	return copied, s.setJournal(ctx, journal)
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
				return fmt.Errorf("%w: the journal stays in mode %s, it was in %s: another program has the file open", store.ErrUnavailable, mode, journal)
			}
			return nil
		})
	})
	return s.readerOf(err)
}

// takeAway removes what is ours of a table, and puts moved rows back.
func (t *table) takeAway(ctx context.Context, c *conn) error {
	sh, err := t.look(ctx, c)
	if err != nil {
		return err
	}
	found, err := t.foundTriggers(ctx, c)
	if err != nil {
		return err
	}
	for name := range found {
		if _, err := c.ExecContext(ctx, `DROP TRIGGER `+ident(name)); err != nil {
			return err
		}
	}
	statements := []string{`DROP TABLE ` + t.companion, `DROP INDEX IF EXISTS ` + t.object("id")}
	for n := range t.Lists {
		statements = append(statements, `DROP INDEX IF EXISTS `+t.object(fmt.Sprintf("list%d", n+1)))
	}
	there := 0
	if err := c.value(ctx, `SELECT count(*) FROM sqlite_master WHERE type='table' AND name=?`, &there, "migrate_"+t.Name+".repeated"); err != nil {
		return err
	}
	if there > 0 {
		columns := movedColumns(sh)
		number, from := "", ""
		if sh.rowid != "" && sh.number == "" { // at their former places
			number, from = sh.rowid+",", "migrate_row,"
		}
		statements = append(statements,
			`INSERT INTO `+t.name+`(`+number+columns+`) SELECT `+from+columns+` FROM `+t.moved()+` ORDER BY migrate_n`,
			`DROP TABLE `+t.moved())
	}
	return t.quietly(ctx, c, func() error { return execAll(ctx, c, statements) })
}
