package memory

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"migrate/app/store"
)

// Old is a [store.Old] in memory. Nobody writes to it past the protocol, so it
// is always guarded, has nothing to sweep and converts nothing.
type Old[B any, F Filter[B]] struct {
	mu          sync.Mutex
	fence       store.Fence
	records     table[B, F]
	quarantined []store.Quarantined
	isolated    int64 // how many ever were: numbers are not used twice
}

// NewOld returns an empty old database of this migration, with the fence as it
// starts: epoch 1, primary old, open.
func NewOld[B any, F Filter[B]](migrationID string) *Old[B, F] {
	return &Old[B, F]{
		fence:   store.Fence{Migration: migrationID, Epoch: 1, Primary: store.PrimaryOld},
		records: table[B, F]{},
	}
}

// enter begins a call; the caller unlocks when err is nil.
func (o *Old[B, F]) enter(ctx context.Context) error {
	o.mu.Lock()
	if err := ctx.Err(); err != nil {
		o.mu.Unlock()
		return err
	}
	return nil
}

// enterAt begins a call that was planned under an epoch.
func (o *Old[B, F]) enterAt(ctx context.Context, epoch int64) error {
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
func (o *Old[B, F]) Get(ctx context.Context, ids ...string) (map[string]store.Record[B], store.Fence, error) {
	if err := o.enter(ctx); err != nil {
		return nil, store.Fence{}, err
	}
	defer o.mu.Unlock()
	return o.records.get(ids), o.fence, nil
}

// CompareAndSwap implements [store.Old].
func (o *Old[B, F]) CompareAndSwap(ctx context.Context, epoch int64, rec store.Record[B], expect store.Pair) error {
	if err := o.enterAt(ctx, epoch); err != nil {
		return err
	}
	defer o.mu.Unlock()
	return o.records.compareAndSwap(rec, expect)
}

// PutIfNewer implements [store.Old].
func (o *Old[B, F]) PutIfNewer(ctx context.Context, epoch int64, recs ...store.Record[B]) error {
	if err := o.enterAt(ctx, epoch); err != nil {
		return err
	}
	defer o.mu.Unlock()
	o.records.putIfNewer(recs)
	return nil
}

// List implements [store.Old].
func (o *Old[B, F]) List(ctx context.Context, filter F, after string, limit int) (store.Page[B], store.Fence, error) {
	if err := o.enter(ctx); err != nil {
		return store.Page[B]{}, store.Fence{}, err
	}
	defer o.mu.Unlock()
	return o.records.list(filter, after, limit), o.fence, nil
}

// Pending implements [store.Old].
func (o *Old[B, F]) Pending(ctx context.Context, after string, limit int) (store.Page[B], store.Fence, error) {
	if err := o.enter(ctx); err != nil {
		return store.Page[B]{}, store.Fence{}, err
	}
	defer o.mu.Unlock()
	return o.records.pending(after, limit), o.fence, nil
}

// CountPending implements [store.Old].
func (o *Old[B, F]) CountPending(ctx context.Context) (int64, error) {
	if err := o.enter(ctx); err != nil {
		return 0, err
	}
	defer o.mu.Unlock()
	return o.records.countPending(), nil
}

// ClearPending implements [store.Old].
func (o *Old[B, F]) ClearPending(ctx context.Context, marks ...store.Mark) error {
	if err := o.enter(ctx); err != nil {
		return err
	}
	defer o.mu.Unlock()
	o.records.clearPending(marks)
	return nil
}

// Scan implements [store.Old].
func (o *Old[B, F]) Scan(ctx context.Context, after string, limit int) (store.Page[B], store.Fence, error) {
	if err := o.enter(ctx); err != nil {
		return store.Page[B]{}, store.Fence{}, err
	}
	defer o.mu.Unlock()
	return o.records.scan(after, limit), o.fence, nil
}

// Count implements [store.Old].
func (o *Old[B, F]) Count(ctx context.Context) (int64, error) {
	if err := o.enter(ctx); err != nil {
		return 0, err
	}
	defer o.mu.Unlock()
	return int64(len(o.records)), nil
}

// Fence implements [store.Old].
func (o *Old[B, F]) Fence(ctx context.Context) (store.Fence, error) {
	if err := o.enter(ctx); err != nil {
		return store.Fence{}, err
	}
	defer o.mu.Unlock()
	return o.fence, nil
}

// MoveFence implements [store.Old].
func (o *Old[B, F]) MoveFence(ctx context.Context, from, to store.Fence) error {
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
func (o *Old[B, F]) Writable(ctx context.Context) error { return ctx.Err() }

// Guarded implements [store.Old].
func (o *Old[B, F]) Guarded(ctx context.Context) error { return ctx.Err() }

// Sweep implements [store.Old].
func (o *Old[B, F]) Sweep(ctx context.Context) (int64, error) { return 0, ctx.Err() }

// Isolate implements [store.Old].
func (o *Old[B, F]) Isolate(ctx context.Context, epoch int64, mark store.Mark, reason string) error {
	if err := o.enterAt(ctx, epoch); err != nil {
		return err
	}
	defer o.mu.Unlock()
	r, ok := o.records[mark.ID]
	if !ok || r.Pair != mark.Pair || r.Deleted {
		return fmt.Errorf("%w: %q is no longer what was to be isolated", store.ErrConflict, mark.ID)
	}
	o.isolated++
	o.quarantined = append(o.quarantined, store.Quarantined{
		N: o.isolated, Reason: reason, ID: r.ID, Row: fmt.Sprintf("%+v", r.Body),
	})
	if o.fence.Primary == store.PrimaryNew {
		epoch = r.Epoch // a change that new commits meanwhile must be newer than the tombstone
	}
	r.Pair = store.Pair{Rev: r.Rev + 1, Epoch: epoch}
	r.Deleted, r.Pending = true, true
	o.records.put(r)
	return nil
}

// Quarantine implements [store.Old].
func (o *Old[B, F]) Quarantine(ctx context.Context) ([]store.Quarantined, error) {
	if err := o.enter(ctx); err != nil {
		return nil, err
	}
	defer o.mu.Unlock()
	return slices.Clone(o.quarantined), nil
}

// Drop implements [store.Old].
func (o *Old[B, F]) Drop(ctx context.Context, id string) (int64, error) {
	if err := o.enter(ctx); err != nil {
		return 0, err
	}
	defer o.mu.Unlock()
	before := len(o.quarantined)
	o.quarantined = slices.DeleteFunc(o.quarantined, func(q store.Quarantined) bool { return q.ID == id })
	return int64(before - len(o.quarantined)), nil
}

// Converted implements [store.Old].
func (o *Old[B, F]) Converted(ctx context.Context, limit int) ([]store.Quarantined, int64, error) {
	return nil, 0, ctx.Err()
}

// Close implements [store.Old].
func (o *Old[B, F]) Close() error { return nil }
