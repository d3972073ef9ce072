package memory

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// Old is a [store.Old] in memory. Nobody writes to it past the protocol, so it
// is always guarded and filled, has nothing to sweep and converts nothing.
// What it offers as a [store.Legacy] is in legacy.go.
type Old struct {
	mu       sync.Mutex
	fence    store.Fence
	records  table
	rule     Rule
	accepted int64 // rows in quarantine that don't keep the primary from moving
}

// Rule says why records may not be in the database together: nil if they may.
// It is a [store.Refusal] if one of them is at fault.
type Rule func(records map[record.ID]store.Record) error

// NewOld returns an empty old database of this migration, with the fence as it
// starts: epoch 1, primary old, open.
func NewOld(migrationID string) *Old {
	return &Old{
		fence:   store.Fence{Migration: migrationID, Epoch: 1, Primary: store.PrimaryOld},
		records: table{},
	}
}

// Enforce has the database refuse what breaks the rule from now on. No rule is
// in force at the start.
func (o *Old) Enforce(rule Rule) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rule = rule
}

// change does something to the records, unless a rule refuses what comes of it.
func (o *Old) change(do func(t table) error) error {
	if o.rule == nil {
		return do(o.records)
	}
	next := maps.Clone(o.records)
	if err := do(next); err != nil {
		return err
	}
	if err := o.rule(next); err != nil {
		return fmt.Errorf("%w: %w", store.ErrRule, err)
	}
	o.records = next
	return nil
}

// enter begins a call; the caller unlocks when err is nil.
func (o *Old) enter(ctx context.Context) error {
	o.mu.Lock()
	if err := ctx.Err(); err != nil {
		o.mu.Unlock()
		return err
	}
	return nil
}

// enterAt begins a call that was planned under an epoch.
func (o *Old) enterAt(ctx context.Context, epoch int64) error {
	if err := o.enter(ctx); err != nil {
		return err
	}
	if o.fence.Epoch != epoch {
		defer o.mu.Unlock()
		return fmt.Errorf("%w: planned under epoch %d, now at %d", store.ErrFenceMoved, epoch, o.fence.Epoch)
	}
	return nil
}

// Get implements [store.Old].
func (o *Old) Get(ctx context.Context, ids ...record.ID) (map[record.ID]store.Record, store.Fence, error) {
	if err := o.enter(ctx); err != nil {
		return nil, store.Fence{}, err
	}
	defer o.mu.Unlock()
	return o.records.get(ids), o.fence, nil
}

// CompareAndSwap implements [store.Old].
func (o *Old) CompareAndSwap(ctx context.Context, epoch int64, rec store.Record, expect store.Pair) error {
	if err := o.enterAt(ctx, epoch); err != nil {
		return err
	}
	defer o.mu.Unlock()
	return o.change(func(t table) error { return t.compareAndSwap(rec, expect) })
}

// PutIfNewer implements [store.Old].
func (o *Old) PutIfNewer(ctx context.Context, epoch int64, recs ...store.Record) error {
	if err := o.enterAt(ctx, epoch); err != nil {
		return err
	}
	defer o.mu.Unlock()
	if o.rule == nil {
		o.records.putIfNewer(recs)
		return nil
	}
	held := o.records
	for _, r := range recs { // one by one, as a database does that checks each statement
		if err := o.change(func(t table) error { t.putIfNewer([]store.Record{r}); return nil }); err != nil {
			o.records = held
			return &store.Refusal{ID: r.ID, Err: err}
		}
	}
	return nil
}

// PutTogether implements [store.Old].
func (o *Old) PutTogether(ctx context.Context, epoch int64, recs ...store.Record) error {
	if err := o.enterAt(ctx, epoch); err != nil {
		return err
	}
	defer o.mu.Unlock()
	held := o.records
	next := maps.Clone(held)
	var newer []store.Record
	for _, r := range recs {
		if r.Newer(held[r.ID].Pair) {
			newer = append(newer, r)
			delete(next, r.ID)
		}
	}
	o.records = next
	for _, r := range newer {
		if err := o.change(func(t table) error { t.putIfNewer([]store.Record{r}); return nil }); err != nil {
			o.records = held
			return &store.Refusal{ID: r.ID, Err: err}
		}
	}
	return nil
}

// List implements [store.Old].
func (o *Old) List(ctx context.Context, filter record.Filter, after record.ID, limit int) (store.Page, store.Fence, error) {
	if err := o.enter(ctx); err != nil {
		return store.Page{}, store.Fence{}, err
	}
	defer o.mu.Unlock()
	return o.records.list(filter, after, limit), o.fence, nil
}

// Pending implements [store.Old].
func (o *Old) Pending(ctx context.Context, after record.ID, limit int) (store.Page, store.Fence, error) {
	if err := o.enter(ctx); err != nil {
		return store.Page{}, store.Fence{}, err
	}
	defer o.mu.Unlock()
	return o.records.pending(after, limit), o.fence, nil
}

// CountPending implements [store.Old].
func (o *Old) CountPending(ctx context.Context) (int64, error) {
	if err := o.enter(ctx); err != nil {
		return 0, err
	}
	defer o.mu.Unlock()
	return o.records.countPending(), nil
}

// ClearPending implements [store.Old].
func (o *Old) ClearPending(ctx context.Context, marks ...store.Mark) error {
	if err := o.enter(ctx); err != nil {
		return err
	}
	defer o.mu.Unlock()
	o.records.clearPending(marks)
	return nil
}

// Scan implements [store.Old].
func (o *Old) Scan(ctx context.Context, after record.ID, limit int) (store.Page, store.Fence, error) {
	if err := o.enter(ctx); err != nil {
		return store.Page{}, store.Fence{}, err
	}
	defer o.mu.Unlock()
	return o.records.scan(after, limit), o.fence, nil
}

// Count implements [store.Old].
func (o *Old) Count(ctx context.Context) (int64, error) {
	if err := o.enter(ctx); err != nil {
		return 0, err
	}
	defer o.mu.Unlock()
	return int64(len(o.records)), nil
}

// Fence implements [store.Old].
func (o *Old) Fence(ctx context.Context) (store.Fence, error) {
	if err := o.enter(ctx); err != nil {
		return store.Fence{}, err
	}
	defer o.mu.Unlock()
	return o.fence, nil
}

// MoveFence implements [store.Old].
func (o *Old) MoveFence(ctx context.Context, from, to store.Fence) error {
	if err := o.enter(ctx); err != nil {
		return err
	}
	defer o.mu.Unlock()
	now := o.fence
	if now.Epoch != from.Epoch || now.Primary != from.Primary || now.Closing != from.Closing || now.Token != from.Token {
		return fmt.Errorf("%w: it is at epoch %d, primary %s", store.ErrFenceMoved, now.Epoch, now.Primary)
	}
	to.Migration = now.Migration
	o.fence = to
	return nil
}

// Writable implements [store.Old].
func (o *Old) Writable(ctx context.Context) error { return ctx.Err() }

// Close implements [store.Old].
func (o *Old) Close() error { return nil }
