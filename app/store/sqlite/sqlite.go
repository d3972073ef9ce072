// Package sqlite is the old database: the original program's table of tasks in
// an SQLite file, which keeps its shape while the service moves away from it.
//
// What the protocol needs lives beside the table: a companion row for each
// record, the fence, the quarantine. Triggers keep programs that know nothing
// of this inside the protocol; our own writes hold a guard row at which the
// triggers stand aside. [Store.FirstContact] lays all of it down, once.
//
// Every call is one transaction that reads the fence too. Before COMMIT is sent
// a failure has changed nothing; from then on the outcome is unknown.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	driver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"migrate/app/store"
	"migrate/app/task"
)

// readers is how many reads can be under way at once; there is one writer.
const readers = 4

// Config says which file, and how patiently to wait for it.
type Config struct {
	Path   string
	Logger *slog.Logger // nil: none
	// Create lets FirstContact make a missing file, and the original's table
	// in a file that lacks it.
	Create bool
	// BusyTimeout is how long a call waits for other processes' locks; zero
	// means 5 s. The context's deadline counts too.
	BusyTimeout time.Duration
}

// Store is an SQLite file. It is safe for concurrent use.
type Store struct {
	path   string
	log    *slog.Logger
	create bool
	busy   time.Duration

	readers, writers *pool

	closing sync.Once
	closed  error
}

var _ store.Old[task.Task, task.Filter] = (*Store)(nil)

// Open returns a store on a file that may be out of reach now; calls then fail
// with store.ErrUnavailable until it is back.
func Open(_ context.Context, cfg Config) (*Store, error) {
	path, err := filepath.Abs(cfg.Path)
	if err != nil || cfg.Path == "" {
		return nil, fmt.Errorf("sqlite: path %q: %w", cfg.Path, errors.Join(store.ErrUnavailable, err))
	}
	s := &Store{path: path, log: cfg.Logger, create: cfg.Create, busy: cfg.BusyTimeout}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.busy == 0 {
		s.busy = 5 * time.Second
	}
	if s.readers, err = newPool(path, readers, "query_only(on)"); err != nil {
		return nil, fmt.Errorf("sqlite: %w: %w", store.ErrUnavailable, err)
	}
	if s.writers, err = newPool(path, 1); err != nil {
		return nil, errors.Join(fmt.Errorf("sqlite: %w: %w", store.ErrUnavailable, err), s.readers.close())
	}
	return s, nil
}

// Close waits for the calls under way and closes the file. Later calls fail
// with store.ErrUnavailable.
func (s *Store) Close() error {
	s.closing.Do(func() { s.closed = errors.Join(s.writers.close(), s.readers.close()) })
	return s.closed
}

// How transactions begin. A read must not hold the lock of the writers, and a
// write that took it later could find its snapshot outdated.
const (
	beginRead  = "BEGIN"
	beginWrite = "BEGIN IMMEDIATE"
)

// body is what a transaction does once it has the fence. It may run more than
// once, after a rollback.
type body func(ctx context.Context, c *conn, f store.Fence) error

// read runs fn on one snapshot of the file.
func (s *Store) read(ctx context.Context, op string, fn body) error {
	return s.run(ctx, op, func() error { return transact(ctx, s.readers, beginRead, withFence(fn)) })
}

// write runs fn as the file's only writer.
func (s *Store) write(ctx context.Context, op string, fn body) error {
	return s.run(ctx, op, func() error { return transact(ctx, s.writers, beginWrite, withFence(fn)) })
}

// writeAt is write, under the epoch that it was planned under and with the
// triggers standing aside.
func (s *Store) writeAt(ctx context.Context, op string, epoch int64, fn body) error {
	return s.write(ctx, op, func(ctx context.Context, c *conn, f store.Fence) error {
		if f.Epoch != epoch {
			return fmt.Errorf("%w: planned under epoch %d, it is at %d", store.ErrFenceMoved, epoch, f.Epoch)
		}
		if _, err := c.exec(ctx, `INSERT INTO migrate_ours VALUES(1)`); err != nil {
			return err
		}
		if err := fn(ctx, c, f); err != nil {
			return err
		}
		_, err := c.exec(ctx, `DELETE FROM migrate_ours`)
		return err
	})
}

func withFence(fn body) func(context.Context, *conn) error {
	return func(ctx context.Context, c *conn) error {
		f, err := readFence(ctx, c)
		if err != nil {
			return err
		}
		return fn(ctx, c, f)
	}
}

// transact runs fn in a transaction on a connection of the pool.
func transact(ctx context.Context, p *pool, begin string, fn func(context.Context, *conn) error) error {
	c, err := p.take(ctx)
	if err != nil {
		return err
	}
	clean := false
	defer func() { p.put(c, clean) }()
	whole := context.WithoutCancel(ctx) // what begins and ends is not cut short
	if _, err := c.exec(whole, begin); err != nil {
		clean = code(err)&0xff == codes.SQLITE_BUSY
		return err
	}
	err = fn(ctx, c)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_, rerr := c.exec(whole, "ROLLBACK")
		clean = rerr == nil
		return err
	}
	if _, err := c.exec(whole, "COMMIT"); err != nil {
		if begin == beginRead { // it had nothing to commit
			return fmt.Errorf("end the read: %w", err)
		}
		return fmt.Errorf("%w: commit: %v", store.ErrUnknown, err)
	}
	clean = true
	return nil
}

// use runs fn on a connection of the pool, outside any transaction.
func use(ctx context.Context, p *pool, fn func(context.Context, *conn) error) error {
	c, err := p.take(ctx)
	if err != nil {
		return err
	}
	err = fn(ctx, c)
	p.put(c, err == nil)
	return err
}

// run calls try again while the file is locked, as long as the store is
// patient, and gives every error its meaning.
func (s *Store) run(ctx context.Context, op string, try func() error) error {
	patience := time.Now().Add(s.busy)
	for {
		err := try()
		if code(err)&0xff != codes.SQLITE_BUSY || !time.Now().Before(patience) {
			return meaning(ctx, op, err)
		}
		select {
		case <-ctx.Done():
			return meaning(ctx, op, ctx.Err())
		case <-time.After(time.Millisecond + rand.N(4*time.Millisecond)):
		}
	}
}

// code returns SQLite's extended result code, or 0.
func code(err error) int {
	if e, ok := errors.AsType[*driver.Error](err); ok && !errors.Is(err, store.ErrUnknown) {
		return e.Code()
	}
	return 0
}

// meaning makes an error wrap exactly one sentinel, or the context's own error.
func meaning(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{store.ErrConflict, store.ErrFenceMoved, store.ErrUnavailable, store.ErrUnknown, store.ErrUnfit, store.ErrStranger} {
		if errors.Is(err, known) {
			return fmt.Errorf("sqlite: %s: %w", op, err)
		}
	}
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("sqlite: %s: %w", op, cause)
	}
	switch code(err) & 0xff {
	case codes.SQLITE_CONSTRAINT, codes.SQLITE_TOOBIG, codes.SQLITE_MISMATCH:
		return fmt.Errorf("sqlite: %s: %w: %w", op, store.ErrUnfit, err)
	}
	return fmt.Errorf("sqlite: %s: %w: %w", op, store.ErrUnavailable, err)
}
