package sqlite

import (
	"context"
	"errors"
	"testing"

	"migrate.invalid/migrate/app/store"
)

// A read has nothing to commit: where its end fails, it could not be made. Of a
// write it is not known then whether it took effect.
func TestWhatAFailingCommitMeans(t *testing.T) {
	s := ready(t)
	lost := func(ctx context.Context, c *conn, _ store.Fence) error {
		_, err := c.exec(ctx, "ROLLBACK") // SQLite does so by itself when the disk fails, for one
		return err
	}
	if err := s.read(t.Context(), "read", lost); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknown) {
		t.Errorf("read: %v", err)
	}
	if err := s.write(t.Context(), "write", lost); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("write: %v", err)
	}
	if _, err := s.Fence(t.Context()); err != nil {
		t.Errorf("the next read: %v", err)
	}
}

// Whether a write could begin is found out without one.
func TestWritable(t *testing.T) {
	s := ready(t)
	if err := s.Writable(t.Context()); err != nil {
		t.Fatal(err)
	}
	foreign, err := newPool(s.path, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.close()
	c, err := foreign.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { foreign.put(c, true) }()
	if _, err := c.exec(t.Context(), beginWrite); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*wait)
	defer cancel()
	if err := s.Writable(ctx); err == nil {
		t.Error("a write could begin while another program holds the lock")
	}
	if _, err := c.exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := s.Writable(t.Context()); err != nil {
		t.Errorf("once the lock is free: %v", err)
	}
}
