package migration

import (
	"context"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// The taps make each call that a decision can depend on a scheduling point.
// What no decision about data depends on (Count, CountPending, Sweep, Prepare,
// Guarded, Filled, the quarantine's count, reports of compared reads) goes straight
// through.
//
// The stores beneath are asked under a context of their own: a ghost outlives
// its caller's.

type tapOld struct {
	oldStore
	s *scene
}

type tapNew struct {
	newStore
	s *scene
}

type (
	records    = []store.Record
	recordPage = store.Page
	found      = map[record.ID]store.Record
	nothing    struct{}
	answer     struct {
		recs  found
		fence store.Fence
	}
	page struct {
		recs  recordPage
		fence store.Fence
	}
	swap struct {
		rec    store.Record
		expect store.Pair
	}
)

var background = context.Background()

func (o tapOld) read(op string) point  { return point{db: store.PrimaryOld, op: op} }
func (o tapOld) write(op string) point { return point{db: store.PrimaryOld, op: op, writes: true} }
func (n tapNew) read(op string) point  { return point{db: store.PrimaryNew, op: op} }
func (n tapNew) write(op string) point { return point{db: store.PrimaryNew, op: op, writes: true} }

// act is a call that answers nothing but an error.
func act(s *scene, p point, args any, do func() error) error {
	_, err := call(s, p, args, func() (nothing, error) { return nothing{}, do() })
	return err
}

func (o tapOld) Get(_ context.Context, ids ...record.ID) (found, store.Fence, error) {
	v, err := call(o.s, o.read("Get"), ids, func() (answer, error) {
		recs, fence, err := o.oldStore.Get(background, ids...)
		return answer{recs, fence}, err
	})
	return v.recs, v.fence, err
}

func (o tapOld) page(op string, args any, do func() (recordPage, store.Fence, error)) (recordPage, store.Fence, error) {
	v, err := call(o.s, o.read(op), args, func() (page, error) {
		recs, fence, err := do()
		return page{recs, fence}, err
	})
	return v.recs, v.fence, err
}

func (o tapOld) List(_ context.Context, f record.Filter, after record.ID, limit int) (recordPage, store.Fence, error) {
	return o.page("List", after, func() (recordPage, store.Fence, error) { return o.oldStore.List(background, f, after, limit) })
}

func (o tapOld) Pending(_ context.Context, after record.ID, limit int) (recordPage, store.Fence, error) {
	return o.page("Pending", after, func() (recordPage, store.Fence, error) { return o.oldStore.Pending(background, after, limit) })
}

func (o tapOld) Scan(_ context.Context, after record.ID, limit int) (recordPage, store.Fence, error) {
	return o.page("Scan", after, func() (recordPage, store.Fence, error) { return o.oldStore.Scan(background, after, limit) })
}

func (o tapOld) Fence(context.Context) (store.Fence, error) {
	return call(o.s, o.read("Fence"), nil, func() (store.Fence, error) { return o.oldStore.Fence(background) })
}

func (o tapOld) CompareAndSwap(_ context.Context, epoch int64, rec store.Record, expect store.Pair) error {
	return act(o.s, o.write("CompareAndSwap"), swap{rec, expect}, func() error {
		return o.oldStore.CompareAndSwap(background, epoch, rec, expect)
	})
}

func (o tapOld) PutIfNewer(_ context.Context, epoch int64, recs ...store.Record) error {
	return act(o.s, o.write("PutIfNewer"), recs, func() error { return o.oldStore.PutIfNewer(background, epoch, recs...) })
}

func (o tapOld) PutTogether(_ context.Context, epoch int64, recs ...store.Record) error {
	return act(o.s, o.write("PutTogether"), recs, func() error { return o.oldStore.PutTogether(background, epoch, recs...) })
}

func (o tapOld) Isolate(_ context.Context, epoch int64, mark store.Mark, reason string) error {
	return act(o.s, o.write("Isolate"), mark, func() error { return o.oldStore.Isolate(background, epoch, mark, reason) })
}

func (o tapOld) ClearPending(_ context.Context, marks ...store.Mark) error {
	return act(o.s, o.write("ClearPending"), marks, func() error { return o.oldStore.ClearPending(background, marks...) })
}

func (o tapOld) MoveFence(_ context.Context, from, to store.Fence) error {
	return act(o.s, o.write("MoveFence"), to, func() error { return o.oldStore.MoveFence(background, from, to) })
}

func (n tapNew) Look() store.NewLook { return n }

func (n tapNew) Get(_ context.Context, ids ...record.ID) (found, error) {
	return call(n.s, n.read("Get"), ids, func() (found, error) { return n.newStore.Get(background, ids...) })
}

func (n tapNew) List(_ context.Context, f record.Filter, after record.ID, limit int) (recordPage, error) {
	return call(n.s, n.read("List"), after, func() (recordPage, error) { return n.newStore.List(background, f, after, limit) })
}

func (n tapNew) Pending(_ context.Context, after record.ID, limit int) (recordPage, error) {
	return call(n.s, n.read("Pending"), after, func() (recordPage, error) { return n.newStore.Pending(background, after, limit) })
}

func (n tapNew) Scan(_ context.Context, after record.ID, limit int) (recordPage, error) {
	return call(n.s, n.read("Scan"), after, func() (recordPage, error) { return n.newStore.Scan(background, after, limit) })
}

func (n tapNew) CompareAndSwap(_ context.Context, rec store.Record, expect store.Pair) error {
	return act(n.s, n.write("CompareAndSwap"), swap{rec, expect}, func() error {
		return n.newStore.CompareAndSwap(background, rec, expect)
	})
}

func (n tapNew) PutIfNewer(_ context.Context, recs ...store.Record) error {
	return act(n.s, n.write("PutIfNewer"), recs, func() error { return n.newStore.PutIfNewer(background, recs...) })
}

func (n tapNew) ClearPending(_ context.Context, marks ...store.Mark) error {
	return act(n.s, n.write("ClearPending"), marks, func() error { return n.newStore.ClearPending(background, marks...) })
}

func (n tapNew) Probe(context.Context) error {
	return act(n.s, n.read("Probe"), nil, func() error { return n.newStore.Probe(background) })
}

func (n tapNew) Mirror(context.Context) (store.Mirror, error) {
	return call(n.s, n.read("Mirror"), nil, func() (store.Mirror, error) { return n.newStore.Mirror(background) })
}

func (n tapNew) RaiseMirror(_ context.Context, m store.Mirror) error {
	return act(n.s, n.write("RaiseMirror"), m, func() error { return n.newStore.RaiseMirror(background, m) })
}

func (n tapNew) Register(_ context.Context, r store.Registration) error {
	return act(n.s, n.write("Register"), r.Instance, func() error { return n.newStore.Register(background, r) })
}

func (n tapNew) Deregister(_ context.Context, instance string) error {
	return act(n.s, n.write("Deregister"), instance, func() error { return n.newStore.Deregister(background, instance) })
}

func (n tapNew) Registrations(context.Context) ([]store.Registration, error) {
	return call(n.s, n.read("Registrations"), nil, func() ([]store.Registration, error) { return n.newStore.Registrations(background) })
}

func (n tapNew) Progress(_ context.Context, epoch int64) (store.Progress, error) {
	return call(n.s, n.read("Progress"), epoch, func() (store.Progress, error) { return n.newStore.Progress(background, epoch) })
}

func (n tapNew) SaveCheckpoint(_ context.Context, epoch int64, after record.ID, copied int64) error {
	return act(n.s, n.write("SaveCheckpoint"), after, func() error { return n.newStore.SaveCheckpoint(background, epoch, after, copied) })
}

func (n tapNew) MarkComplete(_ context.Context, epoch int64) error {
	return act(n.s, n.write("MarkComplete"), epoch, func() error { return n.newStore.MarkComplete(background, epoch) })
}
