package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	codes "modernc.org/sqlite/lib"

	"migrate/app/store"
)

const (
	open    = "open"
	closing = "closing"
)

// readFence reads the fence in the connection's transaction.
func readFence(ctx context.Context, c *conn) (store.Fence, error) {
	var (
		f        store.Fence
		state    string
		deadline sql.NullInt64
	)
	s, err := c.prepared(ctx, `SELECT migration, epoch, prim, state, coalesce(token,''), deadline FROM migrate_fence`)
	if err == nil {
		err = s.QueryRowContext(ctx).Scan(&f.Migration, &f.Epoch, &f.Primary, &state, &f.Token, &deadline)
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return store.Fence{}, fmt.Errorf("%w: the fence is empty", store.ErrStranger)
	case code(err) == codes.SQLITE_ERROR:
		return store.Fence{}, noFence(ctx, c, err)
	case err != nil:
		return store.Fence{}, err
	}
	f.Closing = state == closing
	if deadline.Valid {
		f.Deadline = time.UnixMilli(deadline.Int64)
	}
	return f, nil
}

// noFence tells a file that never met us from any other trouble.
func noFence(ctx context.Context, c *conn, err error) error {
	var n int
	if e := c.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE name='migrate_fence'`).Scan(&n); e != nil || n > 0 {
		return err
	}
	return fmt.Errorf("%w: this file has no fence", store.ErrStranger)
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
// and token. The deadline is kept to the millisecond.
func (s *Store) MoveFence(ctx context.Context, from, to store.Fence) error {
	if to.Primary != store.PrimaryOld && to.Primary != store.PrimaryNew {
		return fmt.Errorf("sqlite: move the fence: %w: primary %q", store.ErrUnfit, to.Primary)
	}
	return s.write(ctx, "move the fence", func(ctx context.Context, c *conn, f store.Fence) error {
		if f.Epoch != from.Epoch || f.Primary != from.Primary || f.Closing != from.Closing || f.Token != from.Token {
			return fmt.Errorf("%w: it is at epoch %d, primary %s", store.ErrFenceMoved, f.Epoch, f.Primary)
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

// Guarded returns nil if the triggers and the unique index are in place, else a
// store.ErrStranger that names what is missing. It looks only when the schema
// has changed since it last did.
func (s *Store) Guarded(ctx context.Context) error {
	return s.read(ctx, "look for the triggers", func(ctx context.Context, c *conn, _ store.Fence) error {
		return lookForGuards(ctx, c)
	})
}

func lookForGuards(ctx context.Context, c *conn) error {
	var version int64
	if err := c.value(ctx, `PRAGMA schema_version`, &version); err != nil {
		return err
	}
	if c.looked && c.version == version {
		return c.guarded
	}
	found, err := guards(ctx, c)
	if err != nil {
		return err
	}
	want, err := expectedGuards(ctx)
	if err != nil {
		return err
	}
	c.looked, c.version, c.guarded = true, version, compareGuards(found, want)
	return c.guarded
}

func compareGuards(found, want map[string]string) error {
	var wrong []string
	for name, text := range want {
		switch found[name] {
		case text:
		case "":
			wrong = append(wrong, name+" is missing")
		default:
			wrong = append(wrong, name+" has another text")
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	sort.Strings(wrong)
	return fmt.Errorf("%w: programs that know nothing of the migration are not held back: %s; was the table tasks rebuilt?",
		store.ErrStranger, strings.Join(wrong, ", "))
}
