package memory

import (
	"context"
	"fmt"
	"sync"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// New is a [store.New] in memory. What it keeps about the migration itself is
// in meta.go.
type New struct {
	mu      sync.Mutex
	records table
	meta    meta
}

// NewNew returns an empty new database that belongs to no migration yet.
func NewNew() *New {
	return &New{records: table{}, meta: newMeta()}
}

// enter begins a call; the caller unlocks when err is nil.
func (n *New) enter(ctx context.Context) error {
	n.mu.Lock()
	if err := ctx.Err(); err != nil {
		n.mu.Unlock()
		return err
	}
	return nil
}

// Get implements [store.New].
func (n *New) Get(ctx context.Context, ids ...record.ID) (map[record.ID]store.Record, error) {
	if err := n.enter(ctx); err != nil {
		return nil, err
	}
	defer n.mu.Unlock()
	return n.records.get(ids), nil
}

// CompareAndSwap implements [store.New].
func (n *New) CompareAndSwap(ctx context.Context, rec store.Record, expect store.Pair) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.mu.Unlock()
	return n.records.compareAndSwap(rec, expect)
}

// PutIfNewer implements [store.New].
func (n *New) PutIfNewer(ctx context.Context, recs ...store.Record) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.mu.Unlock()
	n.records.putIfNewer(recs)
	return nil
}

// List implements [store.New].
func (n *New) List(ctx context.Context, filter record.Filter, after record.ID, limit int) (store.Page, error) {
	if err := n.enter(ctx); err != nil {
		return store.Page{}, err
	}
	defer n.mu.Unlock()
	return n.records.list(filter, after, limit), nil
}

// Pending implements [store.New].
func (n *New) Pending(ctx context.Context, after record.ID, limit int) (store.Page, error) {
	if err := n.enter(ctx); err != nil {
		return store.Page{}, err
	}
	defer n.mu.Unlock()
	return n.records.pending(after, limit), nil
}

// CountPending implements [store.New].
func (n *New) CountPending(ctx context.Context) (int64, error) {
	if err := n.enter(ctx); err != nil {
		return 0, err
	}
	defer n.mu.Unlock()
	return n.records.countPending(), nil
}

// ClearPending implements [store.New].
func (n *New) ClearPending(ctx context.Context, marks ...store.Mark) error {
	if err := n.enter(ctx); err != nil {
		return err
	}
	defer n.mu.Unlock()
	n.records.clearPending(marks)
	return nil
}

// Scan implements [store.New].
func (n *New) Scan(ctx context.Context, after record.ID, limit int) (store.Page, error) {
	if err := n.enter(ctx); err != nil {
		return store.Page{}, err
	}
	defer n.mu.Unlock()
	return n.records.scan(after, limit), nil
}

// Count implements [store.New].
func (n *New) Count(ctx context.Context) (int64, error) {
	if err := n.enter(ctx); err != nil {
		return 0, err
	}
	defer n.mu.Unlock()
	return int64(len(n.records)), nil
}

// Close implements [store.New].
func (n *New) Close() error { return nil }

// Look implements [store.NewMeta]: no read here writes anything.
func (n *New) Look() store.NewLook { return n }

// Prepare implements [store.NewMeta].
func (n *New) Prepare(ctx context.Context, migration string) error {
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
func (n *New) Prepared(ctx context.Context) (string, error) {
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
func (n *New) Probe(ctx context.Context) error { return ctx.Err() }

// ProbeRecord implements [store.NewMeta].
func (n *New) ProbeRecord(ctx context.Context) error { return ctx.Err() }
