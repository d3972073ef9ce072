// Package sqlite is the old database: the original program's tables in an
// SQLite file, which keep their shape while the service moves away from them.
//
// What the protocol needs lives beside the tables: a companion for each table,
// the fence, a guard. Triggers keep programs that know nothing of this inside the
// protocol; our own writes hold a guard row, which names collection and id, at
// which the triggers stand aside. [Store.Adopt] lays all of it down.
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
	"sync/atomic"
	"time"

	driver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// readers is how many reads can be under way at once; there is one writer.
const readers = 4

// Config says which file, and how patiently to wait for it.
type Config struct {
	Path string
	// Collections are what the migration moves. All processes name the same ones.
	Collections []record.Collection
	Logger      *slog.Logger // nil: none
	// Create lets the take-over make a missing file, and in it the tables.
	Create bool
	// Accept names rules of the tables that the new database doesn't have and that
	// the person accepts, see [store.Rule].
	Accept []string
	// BusyTimeout is how long a call waits for other processes' locks; zero
	// means 5 s. The context's deadline counts too.
	BusyTimeout time.Duration
}

// Store is an SQLite file. It is safe for concurrent use.
type Store struct {
	path   string
	tables []*table // in the order of their ids
	text   string   // the canonical declaration
	log    *slog.Logger
	create bool
	accept []string
	busy   time.Duration
	seen   atomic.Int64 // the greatest epoch that the fence has had

	readers, writers *pool

	closing sync.Once
	closed  error
}

var (
	_ store.Old     = (*Store)(nil)
	_ store.Foreign = (*Store)(nil)
	_ store.Legacy  = (*Store)(nil)
	_ store.Adopter = (*Store)(nil)
)

// Open returns a store on a file that may be out of reach now; calls then fail
// with store.ErrUnavailable until it is back.
func Open(_ context.Context, cfg Config) (*Store, error) {
	path, err := filepath.Abs(cfg.Path)
	if err != nil || cfg.Path == "" {
		return nil, fmt.Errorf("sqlite: path %q: %w", cfg.Path, errors.Join(store.ErrUnavailable, err))
	}
	tables, err := newTables(cfg.Collections)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	s := &Store{path: path, tables: tables, log: cfg.Logger, create: cfg.Create, accept: cfg.Accept, busy: cfg.BusyTimeout}
	s.text = declaration(tables).Canonical()
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
	s.readers.seen, s.writers.seen = &s.seen, &s.seen
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
	return s.run(ctx, op, func() error { return transact(ctx, s.readers, beginRead, s.withFence(fn)) })
}

// write runs fn as the file's only writer. The last thing that it does before it
// commits is to look that no guard is left: the triggers would stand aside at it
// for ever and for everybody.
func (s *Store) write(ctx context.Context, op string, fn body) error {
	return s.run(ctx, op, func() error {
		return transact(ctx, s.writers, beginWrite, s.withFence(func(ctx context.Context, c *conn, f store.Fence) error {
			if err := fn(ctx, c, f); err != nil {
				return err
			}
			return unguarded(ctx, c)
		}))
	})
}

func unguarded(ctx context.Context, c *conn) error {
	left := 0
	if err := c.value(ctx, `SELECT EXISTS(SELECT 1 FROM migrate_guard)`, &left); err != nil {
		return err
	}
	if left != 0 {
		return fmt.Errorf("%w: a guard is left behind in the table migrate_guard", store.ErrUnavailable)
	}
	return nil
}

// writeAt is write, under the epoch that it was planned under.
func (s *Store) writeAt(ctx context.Context, op string, epoch int64, fn body) error {
	return s.write(ctx, op, func(ctx context.Context, c *conn, f store.Fence) error {
		if f.Epoch != epoch {
			return fmt.Errorf("%w: planned under epoch %d, it is at %d", store.ErrFenceMoved, epoch, f.Epoch)
		}
		return fn(ctx, c, f)
	})
}

func (s *Store) withFence(fn body) func(context.Context, *conn) error {
	return func(ctx context.Context, c *conn) error {
		f, err := s.readFence(ctx, c)
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
	if p.seen != nil {
		c.seen = p.seen.Load()
	}
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

// long is how long a call waits for another program's lock before that program
// is named.
const long = time.Second

// run calls try again while the file is locked, as long as the store is
// patient, and gives every error its meaning. A program that keeps the lock is
// named in the log, once a call, and in the error.
func (s *Store) run(ctx context.Context, op string, try func() error) error {
	begun, named := time.Now(), false
	for {
		err := try()
		if code(err)&0xff != codes.SQLITE_BUSY {
			return meaning(ctx, op, err)
		}
		if !time.Now().Before(begun.Add(s.busy)) {
			return meaning(ctx, op, s.lockedOut(err))
		}
		if !named && time.Since(begun) >= long {
			named = true
			s.log.Warn("another program keeps the old database's lock", "program", writer(s.path), "waiting", op, "file", s.path)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("sqlite: %s: %w", op, s.lockedOut(ctx.Err()))
		case <-time.After(time.Millisecond + rand.N(4*time.Millisecond)):
		}
	}
}

// lockedOut adds to an error which program has the lock.
func (s *Store) lockedOut(err error) error {
	who := writer(s.path)
	if who == "" {
		return err
	}
	return fmt.Errorf("%w: its lock is kept by %s", err, who)
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
	for _, known := range []error{store.ErrConflict, store.ErrFenceMoved, store.ErrUnavailable, store.ErrUnknown, store.ErrUnfit, store.ErrRule, store.ErrStranger, store.ErrUnsuited, store.ErrTooLong} {
		if errors.Is(err, known) {
			return fmt.Errorf("sqlite: %s: %w", op, err)
		}
	}
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("sqlite: %s: %w", op, cause)
	}
	switch code(err) & 0xff {
	case codes.SQLITE_CONSTRAINT:
		return fmt.Errorf("sqlite: %s: %w: %w", op, store.ErrRule, err)
	case codes.SQLITE_TOOBIG, codes.SQLITE_MISMATCH:
		return fmt.Errorf("sqlite: %s: %w: %w", op, store.ErrUnfit, err)
	}
	return fmt.Errorf("sqlite: %s: %w: %w", op, store.ErrUnavailable, err)
}
