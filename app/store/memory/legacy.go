package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"migrate.invalid/migrate/app/store"
)

// Guarded implements [store.Foreign].
func (o *Old) Guarded(ctx context.Context) error { return ctx.Err() }

// Filled implements [store.Foreign].
func (o *Old) Filled(ctx context.Context) error { return ctx.Err() }

// Sweep implements [store.Foreign].
func (o *Old) Sweep(ctx context.Context) (int64, error) { return 0, ctx.Err() }

// Isolate implements [store.Old].
func (o *Old) Isolate(ctx context.Context, epoch int64, mark store.Mark, reason string) error {
	if err := o.enter(ctx); err != nil {
		return err
	}
	defer o.mu.Unlock()
	r, ok := o.records[mark.ID]
	if !ok || r.Pair != mark.Pair || r.Deleted || o.fence.Epoch != epoch {
		return fmt.Errorf("%w: %q is no longer what was to be isolated", store.ErrConflict, mark.ID)
	}
	r.Unfit, r.Pending = reason, false
	o.records[r.ID] = r
	return nil
}

// Quarantine implements [store.Legacy]: the key of a row is its id's text.
func (o *Old) Quarantine(ctx context.Context, limit int) ([]store.Quarantined, int64, error) {
	if err := o.enter(ctx); err != nil {
		return nil, 0, err
	}
	defer o.mu.Unlock()
	var rows []store.Quarantined
	n := int64(0)
	for _, id := range slices.Sorted(maps.Keys(o.records)) {
		r := o.records[id]
		if r.Unfit == "" {
			continue
		}
		if n++; limit <= 0 || len(rows) < limit {
			rows = append(rows, store.Quarantined{
				Collection: id.Collection(), Key: id.String(), ID: id.String(), Reason: r.Unfit, Row: fmt.Sprintf("%q", string(r.Body)),
			})
		}
	}
	return rows, n, nil
}

// Drop implements [store.Legacy].
func (o *Old) Drop(ctx context.Context, key string) error {
	if err := o.enter(ctx); err != nil {
		return err
	}
	defer o.mu.Unlock()
	for id, r := range o.records {
		if r.Unfit == "" || id.String() != key {
			continue
		}
		if o.fence.Primary != store.PrimaryOld || o.fence.Closing {
			return fmt.Errorf("%w: the old database is not primary", store.ErrFenceMoved)
		}
		o.records.put(store.Record{
			ID: id, Pair: store.Pair{Rev: r.Rev + 1, Epoch: o.fence.Epoch}, Deleted: true, Pending: true, Request: r.Request,
		})
		return nil
	}
	return noRow(key)
}

// Restore implements [store.Legacy]: no row is ever moved aside.
func (o *Old) Restore(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return noRow(key)
}

func noRow(key string) error {
	return fmt.Errorf("%w: no row %q is in quarantine", store.ErrConflict, key)
}

// Accept implements [store.Legacy].
func (o *Old) Accept(ctx context.Context, n int64) error {
	if err := o.enter(ctx); err != nil {
		return err
	}
	defer o.mu.Unlock()
	o.accepted = max(o.accepted, n)
	return nil
}

// Accepted implements [store.Legacy].
func (o *Old) Accepted(ctx context.Context) (int64, error) {
	if err := o.enter(ctx); err != nil {
		return 0, err
	}
	defer o.mu.Unlock()
	return o.accepted, nil
}

// Converted implements [store.Legacy].
func (o *Old) Converted(ctx context.Context, limit int) ([]store.Quarantined, int64, error) {
	return nil, 0, ctx.Err()
}

var (
	_ store.Foreign = (*Old)(nil)
	_ store.Legacy  = (*Old)(nil)
)
