package migration

import (
	"context"
	"fmt"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

var errDown = fmt.Errorf("%w: down", store.ErrUnavailable)

// faultyNew is a new store that fails by name.
type faultyNew struct {
	newStore
	get, put, probe error
	cas             func(do func() error) error
}

func (n *faultyNew) Get(ctx context.Context, ids ...record.ID) (map[record.ID]store.Record, error) {
	if n.get != nil {
		return nil, n.get
	}
	return n.newStore.Get(ctx, ids...)
}

func (n *faultyNew) PutIfNewer(ctx context.Context, recs ...store.Record) error {
	if n.put != nil {
		return n.put
	}
	return n.newStore.PutIfNewer(ctx, recs...)
}

func (n *faultyNew) Probe(ctx context.Context) error {
	if n.probe != nil {
		return n.probe
	}
	return n.newStore.Probe(ctx)
}

func (n *faultyNew) CompareAndSwap(ctx context.Context, rec store.Record, expect store.Pair) error {
	do := func() error { return n.newStore.CompareAndSwap(ctx, rec, expect) }
	if n.cas != nil {
		return n.cas(do)
	}
	return do()
}

// faultyOld is an old store that fails by name.
type faultyOld struct {
	oldStore
	get, put, fence error
	onPut           func()
}

func (o *faultyOld) Get(ctx context.Context, ids ...record.ID) (map[record.ID]store.Record, store.Fence, error) {
	if o.get != nil {
		return nil, store.Fence{}, o.get
	}
	return o.oldStore.Get(ctx, ids...)
}

func (o *faultyOld) Fence(ctx context.Context) (store.Fence, error) {
	if o.fence != nil {
		return store.Fence{}, o.fence
	}
	return o.oldStore.Fence(ctx)
}

func (o *faultyOld) PutIfNewer(ctx context.Context, epoch int64, recs ...store.Record) error {
	if o.onPut != nil {
		o.onPut()
	}
	if o.put != nil {
		return o.put
	}
	return o.oldStore.PutIfNewer(ctx, epoch, recs...)
}

// faulty puts faults between a world and the services made from then on.
func (w *world) faulty() (*faultyOld, *faultyNew) {
	o, n := &faultyOld{oldStore: w.old}, &faultyNew{newStore: w.new}
	w.old, w.new = o, n
	return o, n
}

func pending(t *testing.T, w *world) (old, new int64) {
	t.Helper()
	old, err := w.old.CountPending(t.Context())
	must(t, err)
	new, err = w.new.CountPending(t.Context())
	must(t, err)
	return old, new
}

func entries(t *testing.T, s *service, id record.ID) string {
	t.Helper()
	rec, _, err := s.Get(t.Context(), id)
	must(t, err)
	return string(rec.Body)
}
