package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	codes "modernc.org/sqlite/lib"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

const (
	open    = "open"
	closing = "closing"
)

// format is the number of the layout in which this build keeps the protocol's
// state. Another one is refused: two builds at neighbouring steps must not meet
// with two layouts.
const format = 2

// readFence reads the fence in the connection's transaction. It refuses one that
// is not this declaration's, and one that is older than the store has seen.
func (s *Store) readFence(ctx context.Context, c *conn) (store.Fence, error) {
	var (
		f        store.Fence
		version  int64
		state    string
		deadline sql.NullInt64
	)
	look := func() error {
		q, err := c.prepared(ctx, `SELECT format, migration, epoch, prim, state, coalesce(token,''), deadline FROM migrate_fence`)
		if err != nil {
			return err
		}
		return q.QueryRowContext(ctx).Scan(&version, &f.Migration, &f.Epoch, &f.Primary, &state, &f.Token, &deadline)
	}
	err := look()
	if code(err) == codes.SQLITE_ERROR {
		if err = noFence(ctx, c, err); code(err) == codes.SQLITE_ERROR {
			err = look() // it has come meanwhile: the first look was before the transaction's snapshot
		}
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return store.Fence{}, fmt.Errorf("%w: the fence is empty", store.ErrStranger)
	case err != nil:
		return store.Fence{}, err
	case version != format:
		return store.Fence{}, fmt.Errorf("%w: this walk keeps its state in format %d, this build in format %d: finish that walk with the version that began it",
			store.ErrStranger, version, format)
	}
	f.Closing = state == closing
	if deadline.Valid {
		f.Deadline = time.UnixMilli(deadline.Int64)
	}
	if err := s.declared(ctx, c, f); err != nil {
		return store.Fence{}, err
	}
	return f, s.notBefore(c.seen, f)
}

// declared refuses another declaration. It looks once for each migration that
// the connection meets: a migration's declaration doesn't change.
func (s *Store) declared(ctx context.Context, c *conn, f store.Fence) error {
	if c.migration == f.Migration {
		return nil
	}
	var theirs string
	if err := c.value(ctx, `SELECT declaration FROM migrate_fence`, &theirs); err != nil {
		return err
	}
	if theirs != s.text {
		return fmt.Errorf("%w: this walk has another declaration: %s", store.ErrStranger, record.Difference(theirs, s.text))
	}
	c.migration = f.Migration
	return nil
}

// notBefore refuses a fence whose epoch is lower than one that was seen before its
// transaction began: the file has been put back, and acknowledged writes are
// missing. Another transaction may have seen the next epoch since.
func (s *Store) notBefore(before int64, f store.Fence) error {
	if f.Epoch < before {
		return fmt.Errorf("%w: the fence is at epoch %d and was at %d: the file was put back from a copy, without what came since; put the present one back, or end every instance and begin anew",
			store.ErrStranger, f.Epoch, before)
	}
	for seen := s.seen.Load(); f.Epoch > seen && !s.seen.CompareAndSwap(seen, f.Epoch); seen = s.seen.Load() {
	}
	return nil
}

// noFence tells a file that never met us, or that an earlier version did, from
// any other trouble.
func noFence(ctx context.Context, c *conn, err error) error {
	var n, columns int
	if e := c.QueryRowContext(ctx, `SELECT count(*), coalesce(sum((SELECT count(*) FROM pragma_table_info('migrate_fence') WHERE name='format')),0)
		FROM sqlite_master WHERE name='migrate_fence'`).Scan(&n, &columns); e != nil {
		return err
	}
	switch {
	case n == 0:
		return fmt.Errorf("%w: %w", store.ErrStranger, errNoFence)
	case columns == 0:
		return fmt.Errorf("%w: this walk was begun by an earlier version, which keeps its state in another format: finish that walk with the version that began it", store.ErrStranger)
	}
	return err
}

// Fence returns the fence.
func (s *Store) Fence(ctx context.Context) (store.Fence, error) {
	var fence store.Fence
	err := s.read(ctx, "read the fence", func(_ context.Context, _ *conn, f store.Fence) error {
		fence = f
		return nil
	})
	return fence, err
}

// MoveFence replaces the fence if it still equals from in epoch, primary, state
// and token. The deadline is kept to the millisecond. It makes new primary only
// while every table is guarded and filled, in the same transaction; else a
// store.ErrStranger.
func (s *Store) MoveFence(ctx context.Context, from, to store.Fence) error {
	if to.Primary != store.PrimaryOld && to.Primary != store.PrimaryNew {
		return fmt.Errorf("sqlite: move the fence: %w: primary %q", store.ErrUnfit, to.Primary)
	}
	err := s.write(ctx, "move the fence", func(ctx context.Context, c *conn, f store.Fence) error {
		if f.Epoch != from.Epoch || f.Primary != from.Primary || f.Closing != from.Closing || f.Token != from.Token {
			return fmt.Errorf("%w: it is at epoch %d, primary %s", store.ErrFenceMoved, f.Epoch, f.Primary)
		}
		if from.Primary == store.PrimaryOld && to.Primary == store.PrimaryNew {
			if err := s.lookForGuards(ctx, c); err != nil {
				return err
			}
			if err := s.lookForCompanions(ctx, c); err != nil {
				return err
			}
		}
		for _, t := range s.tables {
			if _, err := c.exec(ctx, t.certain()); err != nil {
				return err
			}
		}
		state := open
		if to.Closing {
			state = closing
		}
		token := sql.NullString{String: to.Token, Valid: to.Token != ""}
		deadline := sql.NullInt64{Int64: to.Deadline.UnixMilli(), Valid: !to.Deadline.IsZero()}
		_, err := c.exec(ctx, `UPDATE migrate_fence SET epoch=?, prim=?, state=?, token=?, deadline=?`,
			to.Epoch, string(to.Primary), state, token, deadline)
		return err
	})
	if err != nil {
		return err
	}
	return s.notBefore(0, to)
}

// errOnlyTried ends a transaction that was only to show that it can begin.
var errOnlyTried = errors.New("only tried")

// Writable returns nil if a write could begin now. It takes the writers' lock
// and gives it back at once.
func (s *Store) Writable(ctx context.Context) error {
	err := s.run(ctx, "begin a write", func() error {
		return transact(ctx, s.writers, beginWrite, func(context.Context, *conn) error { return errOnlyTried })
	})
	if errors.Is(err, errOnlyTried) {
		return nil
	}
	return err
}
