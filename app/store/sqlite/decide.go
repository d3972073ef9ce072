package sqlite

import (
	"context"
	"fmt"

	"migrate.invalid/migrate/app/store"
)

// find returns the row of the quarantine with this key.
func (s *Store) find(ctx context.Context, c *conn, key string) (e entry, t *table, err error) {
	found := 0
	err = s.quarantine(ctx, c, func(this *entry) bool {
		if this.Key == key {
			e, found = *this, found+1
		}
		return found < 2
	})
	switch {
	case err != nil:
	case found == 0:
		err = fmt.Errorf("%w: the quarantine has no row %s; one that has changed has another key", store.ErrConflict, key)
	case found > 1:
		err = fmt.Errorf("%w: two rows of the quarantine have the key %s", store.ErrConflict, key)
	}
	for _, table := range s.tables {
		if table.Name == e.Collection {
			t = table
		}
	}
	return e, t, err
}

// Drop decides on a row of the quarantine by removing it for good. It is done as
// a foreign program does it: the triggers make a deletion of it.
func (s *Store) Drop(ctx context.Context, key string) error {
	return s.write(ctx, "drop "+key, func(ctx context.Context, c *conn, f store.Fence) error {
		e, t, err := s.find(ctx, c, key)
		if err != nil {
			return err
		}
		if e.place == isMoved {
			_, err := c.ExecContext(ctx, `DELETE FROM `+t.moved()+` WHERE migrate_n=?`, e.number)
			return err
		}
		if err := oldDecides(f); err != nil {
			return err
		}
		if e.place == isMarked {
			id, err := t.keyOf(e.id)
			if err == nil {
				_, err = c.exec(ctx, t.sql.delete, id...)
			}
			return err
		}
		sh, err := t.look(ctx, c)
		if err != nil {
			return err
		}
		number := sh.rowid
		if number == "" {
			number = ident(sh.number)
		}
		_, err = c.ExecContext(ctx, `DELETE FROM `+t.name+` WHERE `+number+`=?`, e.number)
		return err
	})
}

func oldDecides(f store.Fence) error {
	if f.Primary != store.PrimaryOld || f.Closing {
		return fmt.Errorf("%w: old is no longer primary: write the record through the service instead", store.ErrFenceMoved)
	}
	return nil
}

// Restore puts a row that was moved aside back, as a foreign program would.
func (s *Store) Restore(ctx context.Context, key string) error {
	return s.write(ctx, "restore "+key, func(ctx context.Context, c *conn, f store.Fence) error {
		e, t, err := s.find(ctx, c, key)
		if err != nil {
			return err
		}
		if e.place != isMoved {
			return fmt.Errorf("%w: the row %s was not moved: it is in the table %s", store.ErrConflict, key, t.Table)
		}
		if err := oldDecides(f); err != nil {
			return err
		}
		sh, err := t.look(ctx, c)
		if err != nil {
			return err
		}
		err = t.quietly(ctx, c, func() error {
			renumbered, err := t.putBack(ctx, c, sh, e.number)
			s.sayRenumbered(t, renumbered)
			return err
		})
		if code(err)&0xff == 19 {
			return fmt.Errorf("%w: %v", store.ErrConflict, err)
		}
		if err == nil {
			_, err = c.ExecContext(ctx, `DELETE FROM `+t.moved()+` WHERE migrate_n=?`, e.number)
		}
		return err
	})
}

// Accept lets the primary move although up to n rows are in quarantine. The
// number is kept beside the fence; it never falls.
func (s *Store) Accept(ctx context.Context, n int64) error {
	return s.write(ctx, "accept the quarantine", func(ctx context.Context, c *conn, _ store.Fence) error {
		_, err := c.exec(ctx, `UPDATE migrate_fence SET accepted=max(accepted,?)`, n)
		return err
	})
}

// Accepted returns the greatest n that was accepted.
func (s *Store) Accepted(ctx context.Context) (int64, error) {
	var n int64
	err := s.read(ctx, "read what is accepted", func(ctx context.Context, c *conn, _ store.Fence) error {
		return c.value(ctx, `SELECT accepted FROM migrate_fence`, &n)
	})
	return n, err
}
