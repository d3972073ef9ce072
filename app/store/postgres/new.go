package postgres

import (
	"context"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// New is a PostgreSQL database that is moved to. It is safe for concurrent use.
type New struct{ *base }

// OpenNew returns a store that connects when it is first used.
func OpenNew(ctx context.Context, cfg Config) (*New, error) {
	b, err := newBase(ctx, cfg, asNew)
	if err != nil {
		return nil, err
	}
	return &New{b}, nil
}

// Get implements [store.New].
func (n *New) Get(ctx context.Context, ids ...record.ID) (found map[record.ID]Record, err error) {
	err = n.read(ctx, "get", func(ctx context.Context, t tx) error {
		found, _, err = n.get(ctx, t, ids)
		return err
	})
	return found, err
}

// CompareAndSwap implements [store.New].
func (n *New) CompareAndSwap(ctx context.Context, rec Record, expect store.Pair) error {
	return n.compareAndSwap(ctx, anywhere, rec, expect)
}

// PutIfNewer implements [store.New]: all of them are applied, or none.
func (n *New) PutIfNewer(ctx context.Context, recs ...Record) error {
	return n.putIfNewer(ctx, anywhere, "", recs)
}

// List implements [store.New].
func (n *New) List(ctx context.Context, filter record.Filter, after record.ID, limit int) (Page, error) {
	tables := n.tables
	if name := filter.Collection(); name != "" {
		of, err := n.table(record.Start(name))
		if err != nil {
			return Page{}, n.meaning(ctx, "list", err)
		}
		tables = []*table{of}
	}
	page, _, err := n.page(ctx, "list", tables, after, limit, listed(filter), true, nil)
	return page, err
}

// Pending implements [store.New].
func (n *New) Pending(ctx context.Context, after record.ID, limit int) (Page, error) {
	page, _, err := n.page(ctx, "read pending", n.tables, after, limit, pending, false, nil)
	return page, err
}

// CountPending implements [store.New].
func (n *New) CountPending(ctx context.Context) (int64, error) {
	return n.count(ctx, "count pending", countPending)
}

// ClearPending implements [store.New].
func (n *New) ClearPending(ctx context.Context, marks ...store.Mark) error {
	return n.clearPending(ctx, marks)
}

// Scan implements [store.New].
func (n *New) Scan(ctx context.Context, after record.ID, limit int) (Page, error) {
	page, _, err := n.page(ctx, "scan", n.tables, after, limit, scanned, false, nil)
	return page, err
}

// Count implements [store.New].
func (n *New) Count(ctx context.Context) (int64, error) { return n.count(ctx, "count", countRecords) }
