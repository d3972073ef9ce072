package memory

import (
	"context"
	"fmt"
	"sync"

	"migrate/app/store"
)

// New is a [store.New] in memory. What it keeps about the migration itself is
// in meta.go.
type New[B any, F Filter[B]] struct {
	mu      sync.Mutex
	records table[B, F]
	meta    meta
}

// NewNew returns an empty new database that belongs to no migration yet.
func NewNew[B any, F Filter[B]]() *New[B, F] {
	return &New[B, F]{records: table[B, F]{}, meta: newMeta()}
}

// enter begins a call; the caller unlocks when err is nil.
func (n *New[B, F]) enter(ctx context.Context) error {
	n.mu.Lock()
	if err := ctx.Err(); err != nil {
		n.mu.Unlock()
		return err
	}
	return nil
}

// Get implements [store.New].
func (n *New[B, F]) Get(ctx context.Context, ids ...string) (map[string]store.Record[B], error) {
	if err := n.enter(ctx); err != nil {
		return nil, err
	}
	defer n.mu.Unlock()
	return n.records.get(ids), nil
}

// CompareAndSwap implements [store.New].
func (n *New[B, F]) CompareAndSwap(ctx context.Context, rec store.Record[B], expect store.Pair) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.mu.Unlock()
	return n.records.compareAndSwap(rec, expect)
}

// PutIfNewer implements [store.New].
func (n *New[B, F]) PutIfNewer(ctx context.Context, recs ...store.Record[B]) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.mu.Unlock()
	n.records.putIfNewer(recs)
	return nil
}

// List implements [store.New].
func (n *New[B, F]) List(ctx context.Context, filter F, after string, limit int) (store.Page[B], error) {
	if err := n.enter(ctx); err != nil {
		return store.Page[B]{}, err
	}
	defer n.mu.Unlock()
	return n.records.list(filter, after, limit), nil
}

// Pending implements [store.New].
func (n *New[B, F]) Pending(ctx context.Context, after string, limit int) (store.Page[B], error) {
	if err := n.enter(ctx); err != nil {
		return store.Page[B]{}, err
	}
	defer n.mu.Unlock()
	return n.records.pending(after, limit), nil
}

// CountPending implements [store.New].
func (n *New[B, F]) CountPending(ctx context.Context) (int64, error) {
	if err := n.enter(ctx); err != nil {
		return 0, err
	}
	defer n.mu.Unlock()
	return n.records.countPending(), nil
}

// ClearPending implements [store.New].
func (n *New[B, F]) ClearPending(ctx context.Context, marks ...store.Mark) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.mu.Unlock()
	n.records.clearPending(marks)
	return nil
}

// Scan implements [store.New].
func (n *New[B, F]) Scan(ctx context.Context, after string, limit int) (store.Page[B], error) {
	if err := n.enter(ctx); err != nil {
		return store.Page[B]{}, err
	}
	defer n.mu.Unlock()
	return n.records.scan(after, limit), nil
}

// Count implements [store.New].
func (n *New[B, F]) Count(ctx context.Context) (int64, error) {
	if err := n.enter(ctx); err != nil {
		return 0, err
	}
	defer n.mu.Unlock()
	return int64(len(n.records)), nil
}

// Close implements [store.New].
func (n *New[B, F]) Close() error { return nil }

// Look implements [store.NewMeta]: no read here writes anything.
func (n *New[B, F]) Look() store.NewLook { return n }

// Prepare implements [store.NewMeta].
func (n *New[B, F]) Prepare(ctx context.Context, migration string) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.mu.Unlock()
	if held := n.meta.migration; held != "" && held != migration {
		return fmt.Errorf("%w: the new one is of %q, not %q", store.ErrStranger, held, migration)
	}
	n.meta.migration = migration
	return nil
}

// Prepared implements [store.NewMeta].
func (n *New[B, F]) Prepared(ctx context.Context) (string, error) {
	if err := n.enter(ctx); err != nil {
		return "", err
	}
	defer n.mu.Unlock()
	if n.meta.migration == "" {
		return "", fmt.Errorf("%w: the new one has no migration id", store.ErrStranger)
	}
	return n.meta.migration, nil
}

// Probe implements [store.NewMeta].
func (n *New[B, F]) Probe(ctx context.Context) error { return ctx.Err() }

// ProbeRecord implements [store.NewMeta].
func (n *New[B, F]) ProbeRecord(ctx context.Context) error { return ctx.Err() }
