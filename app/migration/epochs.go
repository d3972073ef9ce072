package migration

import (
	"context"
	"fmt"
	"sync/atomic"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// An epoch never goes down. A fence or a mirror that shows a lower one than a
// read of before is of a file or a database that was put back from a backup, or
// of a server that has lost commits; what this process knows is no longer true
// of it. So every read of a fence or of the mirror goes through what is below.

// greatest is the greatest epoch that was read.
type greatest struct{ epoch atomic.Int64 }

// since returns a check of what a read answers that begins now.
func (g *greatest) since() func(what string, epoch int64) error {
	before := g.epoch.Load()
	return func(what string, epoch int64) error {
		if epoch < before {
			return fmt.Errorf("%w: %s is at epoch %d, and this process has seen epoch %d there: it was put back from a backup, or has lost what it acknowledged; "+
				"end what writes to it, and bring the newer one back; if there is none, what was written since is lost, and migrate doctor says what each database holds",
				store.ErrStranger, what, epoch, before)
		}
		for seen := g.epoch.Load(); epoch > seen && !g.epoch.CompareAndSwap(seen, epoch); seen = g.epoch.Load() {
		}
		return nil
	}
}

// epochs are the greatest epochs of the fence and of the mirror, which stand apart:
// each is ahead of the other for a moment when the primary moves.
type epochs struct{ fence, mirror greatest }

// agedOld refuses a fence that has gone back.
type agedOld struct {
	store.Old
	e *epochs
}

// Unwrap returns the database that is looked at.
func (o agedOld) Unwrap() store.Old { return o.Old }

func (o agedOld) check() func(store.Fence, error) error {
	check := o.e.fence.since()
	return func(f store.Fence, err error) error {
		if err != nil {
			return err
		}
		return check("the fence in the old database", f.Epoch)
	}
}

func (o agedOld) Get(ctx context.Context, ids ...record.ID) (map[record.ID]store.Record, store.Fence, error) {
	check := o.check()
	recs, f, err := o.Old.Get(ctx, ids...)
	return recs, f, check(f, err)
}

func (o agedOld) List(ctx context.Context, filter record.Filter, after record.ID, limit int) (store.Page, store.Fence, error) {
	check := o.check()
	page, f, err := o.Old.List(ctx, filter, after, limit)
	return page, f, check(f, err)
}

func (o agedOld) Pending(ctx context.Context, after record.ID, limit int) (store.Page, store.Fence, error) {
	check := o.check()
	page, f, err := o.Old.Pending(ctx, after, limit)
	return page, f, check(f, err)
}

func (o agedOld) Scan(ctx context.Context, after record.ID, limit int) (store.Page, store.Fence, error) {
	check := o.check()
	page, f, err := o.Old.Scan(ctx, after, limit)
	return page, f, check(f, err)
}

func (o agedOld) Fence(ctx context.Context) (store.Fence, error) {
	check := o.check()
	f, err := o.Old.Fence(ctx)
	return f, check(f, err)
}

// agedNew refuses a mirror that has gone back. A look may be from a moment ago:
// nobody acts on the epoch that it shows unless it is greater.
type agedNew struct {
	store.New
	e *epochs
}

func (n agedNew) Mirror(ctx context.Context) (store.Mirror, error) {
	check := n.e.mirror.since()
	m, err := n.New.Mirror(ctx)
	if err == nil {
		err = check("the mirror in the new database", m.Epoch)
	}
	return m, err
}

// aging has both databases looked at by one process.
func aging(old store.Old, to store.New) (store.Old, store.New) {
	e := &epochs{}
	return agedOld{old, e}, agedNew{to, e}
}
