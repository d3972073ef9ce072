package migration

import (
	"context"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// bentOld and bentNew are stores before which a rule can be switched off: a
// function that is set stands in for the call of its name. The shipped code
// above has no switches; what it would do without the rule is what it does on
// such a store.
type bentOld struct {
	oldStore
	get   func(ids []record.ID) (found, store.Fence, error)
	list  func(after record.ID, limit int) (recordPage, store.Fence, error)
	scan  func(after record.ID, limit int) (recordPage, store.Fence, error)
	fence func() (store.Fence, error)
	cas   func(epoch int64, rec store.Record, expect store.Pair) error
	put   func(epoch int64, recs records) error
	clear func(marks []store.Mark) error
	move  func(from, to store.Fence) error

	together        func(epoch int64, recs records) error
	filled, guarded func() error
}

type bentNew struct {
	newStore
	get           func(ids []record.ID) (found, error)
	list          func(after record.ID, limit int) (recordPage, error)
	pending       func(after record.ID, limit int) (recordPage, error)
	cas           func(rec store.Record, expect store.Pair) error
	put           func(recs records) error
	mirror        func() (store.Mirror, error)
	raise         func(m store.Mirror) error
	register      func(r store.Registration) error
	registrations func() ([]store.Registration, error)
	progress      func(epoch int64) (store.Progress, error)
}

func (o bentOld) Get(ctx context.Context, ids ...record.ID) (found, store.Fence, error) {
	if o.get != nil {
		return o.get(ids)
	}
	return o.oldStore.Get(ctx, ids...)
}

func (o bentOld) List(ctx context.Context, f record.Filter, after record.ID, limit int) (recordPage, store.Fence, error) {
	if o.list != nil {
		return o.list(after, limit)
	}
	return o.oldStore.List(ctx, f, after, limit)
}

func (o bentOld) Scan(ctx context.Context, after record.ID, limit int) (recordPage, store.Fence, error) {
	if o.scan != nil {
		return o.scan(after, limit)
	}
	return o.oldStore.Scan(ctx, after, limit)
}

func (o bentOld) Fence(ctx context.Context) (store.Fence, error) {
	if o.fence != nil {
		return o.fence()
	}
	return o.oldStore.Fence(ctx)
}

func (o bentOld) CompareAndSwap(ctx context.Context, epoch int64, rec store.Record, expect store.Pair) error {
	if o.cas != nil {
		return o.cas(epoch, rec, expect)
	}
	return o.oldStore.CompareAndSwap(ctx, epoch, rec, expect)
}

func (o bentOld) PutIfNewer(ctx context.Context, epoch int64, recs ...store.Record) error {
	if o.put != nil {
		return o.put(epoch, recs)
	}
	return o.oldStore.PutIfNewer(ctx, epoch, recs...)
}

func (o bentOld) PutTogether(ctx context.Context, epoch int64, recs ...store.Record) error {
	if o.together != nil {
		return o.together(epoch, recs)
	}
	return o.oldStore.PutTogether(ctx, epoch, recs...)
}

func (o bentOld) Filled(ctx context.Context) error {
	if o.filled != nil {
		return o.filled()
	}
	return o.oldStore.Filled(ctx)
}

func (o bentOld) Guarded(ctx context.Context) error {
	if o.guarded != nil {
		return o.guarded()
	}
	return o.oldStore.Guarded(ctx)
}

func (o bentOld) ClearPending(ctx context.Context, marks ...store.Mark) error {
	if o.clear != nil {
		return o.clear(marks)
	}
	return o.oldStore.ClearPending(ctx, marks...)
}

func (o bentOld) MoveFence(ctx context.Context, from, to store.Fence) error {
	if o.move != nil {
		return o.move(from, to)
	}
	return o.oldStore.MoveFence(ctx, from, to)
}

func (n bentNew) Get(ctx context.Context, ids ...record.ID) (found, error) {
	if n.get != nil {
		return n.get(ids)
	}
	return n.newStore.Get(ctx, ids...)
}

func (n bentNew) List(ctx context.Context, f record.Filter, after record.ID, limit int) (recordPage, error) {
	if n.list != nil {
		return n.list(after, limit)
	}
	return n.newStore.List(ctx, f, after, limit)
}

func (n bentNew) Pending(ctx context.Context, after record.ID, limit int) (recordPage, error) {
	if n.pending != nil {
		return n.pending(after, limit)
	}
	return n.newStore.Pending(ctx, after, limit)
}

func (n bentNew) CompareAndSwap(ctx context.Context, rec store.Record, expect store.Pair) error {
	if n.cas != nil {
		return n.cas(rec, expect)
	}
	return n.newStore.CompareAndSwap(ctx, rec, expect)
}

func (n bentNew) PutIfNewer(ctx context.Context, recs ...store.Record) error {
	if n.put != nil {
		return n.put(recs)
	}
	return n.newStore.PutIfNewer(ctx, recs...)
}

func (n bentNew) Mirror(ctx context.Context) (store.Mirror, error) {
	if n.mirror != nil {
		return n.mirror()
	}
	return n.newStore.Mirror(ctx)
}

func (n bentNew) RaiseMirror(ctx context.Context, m store.Mirror) error {
	if n.raise != nil {
		return n.raise(m)
	}
	return n.newStore.RaiseMirror(ctx, m)
}

func (n bentNew) Register(ctx context.Context, r store.Registration) error {
	if n.register != nil {
		return n.register(r)
	}
	return n.newStore.Register(ctx, r)
}

func (n bentNew) Registrations(ctx context.Context) ([]store.Registration, error) {
	if n.registrations != nil {
		return n.registrations()
	}
	return n.newStore.Registrations(ctx)
}

func (n bentNew) Progress(ctx context.Context, epoch int64) (store.Progress, error) {
	if n.progress != nil {
		return n.progress(epoch)
	}
	return n.newStore.Progress(ctx, epoch)
}
