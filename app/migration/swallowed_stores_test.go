package migration

import (
	"context"
	"fmt"
	"sync"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// errTold is the failure of a call that a test chose.
var errTold = fmt.Errorf("%w: told to fail", store.ErrUnavailable)

// failAt lets one call on the stores fail, before it has any effect: the nth,
// from 1; 0 lets all pass.
type failAt struct {
	mu       sync.Mutex
	n, calls int
	failed   string   // what failed
	log      []string // all calls
}

func (f *failAt) hit(op string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	f.log = append(f.log, op)
	if f.calls != f.n {
		return nil
	}
	f.failed = op
	return errTold
}

// arm has the nth call from now on fail; 0 lets all pass. It returns what has
// failed so far.
func (f *failAt) arm(n int) (failed string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.n = 0, n
	return f.failed
}

// took returns the calls since it was asked last.
func (f *failAt) took() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	log := f.log
	f.log = nil
	return log
}

// between puts the failure between a world and its stores.
func (f *failAt) between(w *world) {
	w.old, w.new = failingOld{w.old, f}, failingNew{w.new, f}
}

type failingOld struct {
	oldStore
	f *failAt
}

type failingNew struct {
	newStore
	f *failAt
}

func (o failingOld) Get(ctx context.Context, ids ...record.ID) (found, store.Fence, error) {
	if err := o.f.hit("old.Get"); err != nil {
		return nil, store.Fence{}, err
	}
	return o.oldStore.Get(ctx, ids...)
}

func (o failingOld) CompareAndSwap(ctx context.Context, epoch int64, rec store.Record, expect store.Pair) error {
	if err := o.f.hit("old.CompareAndSwap"); err != nil {
		return err
	}
	return o.oldStore.CompareAndSwap(ctx, epoch, rec, expect)
}

func (o failingOld) PutIfNewer(ctx context.Context, epoch int64, recs ...store.Record) error {
	if err := o.f.hit("old.PutIfNewer"); err != nil {
		return err
	}
	return o.oldStore.PutIfNewer(ctx, epoch, recs...)
}

func (o failingOld) List(ctx context.Context, filter record.Filter, after record.ID, limit int) (recordPage, store.Fence, error) {
	if err := o.f.hit("old.List"); err != nil {
		return recordPage{}, store.Fence{}, err
	}
	return o.oldStore.List(ctx, filter, after, limit)
}

func (o failingOld) Pending(ctx context.Context, after record.ID, limit int) (recordPage, store.Fence, error) {
	if err := o.f.hit("old.Pending"); err != nil {
		return recordPage{}, store.Fence{}, err
	}
	return o.oldStore.Pending(ctx, after, limit)
}

func (o failingOld) CountPending(ctx context.Context) (int64, error) {
	if err := o.f.hit("old.CountPending"); err != nil {
		return 0, err
	}
	return o.oldStore.CountPending(ctx)
}

func (o failingOld) ClearPending(ctx context.Context, marks ...store.Mark) error {
	if err := o.f.hit("old.ClearPending"); err != nil {
		return err
	}
	return o.oldStore.ClearPending(ctx, marks...)
}

func (o failingOld) Scan(ctx context.Context, after record.ID, limit int) (recordPage, store.Fence, error) {
	if err := o.f.hit("old.Scan"); err != nil {
		return recordPage{}, store.Fence{}, err
	}
	return o.oldStore.Scan(ctx, after, limit)
}

func (o failingOld) Count(ctx context.Context) (int64, error) {
	if err := o.f.hit("old.Count"); err != nil {
		return 0, err
	}
	return o.oldStore.Count(ctx)
}

func (o failingOld) Fence(ctx context.Context) (store.Fence, error) {
	if err := o.f.hit("old.Fence"); err != nil {
		return store.Fence{}, err
	}
	return o.oldStore.Fence(ctx)
}

func (o failingOld) MoveFence(ctx context.Context, from, to store.Fence) error {
	if err := o.f.hit("old.MoveFence"); err != nil {
		return err
	}
	return o.oldStore.MoveFence(ctx, from, to)
}

func (o failingOld) Guarded(ctx context.Context) error {
	if err := o.f.hit("old.Guarded"); err != nil {
		return err
	}
	return o.oldStore.Guarded(ctx)
}

func (o failingOld) Sweep(ctx context.Context) (int64, error) {
	if err := o.f.hit("old.Sweep"); err != nil {
		return 0, err
	}
	return o.oldStore.Sweep(ctx)
}

func (o failingOld) Isolate(ctx context.Context, epoch int64, mark store.Mark, reason string) error {
	if err := o.f.hit("old.Isolate"); err != nil {
		return err
	}
	return o.oldStore.Isolate(ctx, epoch, mark, reason)
}

func (o failingOld) Quarantine(ctx context.Context, limit int) ([]store.Quarantined, int64, error) {
	if err := o.f.hit("old.Quarantine"); err != nil {
		return nil, 0, err
	}
	return o.oldStore.Quarantine(ctx, limit)
}

func (o failingOld) Accepted(ctx context.Context) (int64, error) {
	if err := o.f.hit("old.Accepted"); err != nil {
		return 0, err
	}
	return o.oldStore.Accepted(ctx)
}

func (o failingOld) Filled(ctx context.Context) error {
	if err := o.f.hit("old.Filled"); err != nil {
		return err
	}
	return o.oldStore.Filled(ctx)
}

func (o failingOld) PutTogether(ctx context.Context, epoch int64, recs ...store.Record) error {
	if err := o.f.hit("old.PutTogether"); err != nil {
		return err
	}
	return o.oldStore.PutTogether(ctx, epoch, recs...)
}

func (o failingOld) Converted(ctx context.Context, limit int) ([]store.Quarantined, int64, error) {
	if err := o.f.hit("old.Converted"); err != nil {
		return nil, 0, err
	}
	return o.oldStore.Converted(ctx, limit)
}

func (n failingNew) Get(ctx context.Context, ids ...record.ID) (found, error) {
	if err := n.f.hit("new.Get"); err != nil {
		return nil, err
	}
	return n.newStore.Get(ctx, ids...)
}

func (n failingNew) CompareAndSwap(ctx context.Context, rec store.Record, expect store.Pair) error {
	if err := n.f.hit("new.CompareAndSwap"); err != nil {
		return err
	}
	return n.newStore.CompareAndSwap(ctx, rec, expect)
}

func (n failingNew) PutIfNewer(ctx context.Context, recs ...store.Record) error {
	if err := n.f.hit("new.PutIfNewer"); err != nil {
		return err
	}
	return n.newStore.PutIfNewer(ctx, recs...)
}

func (n failingNew) List(ctx context.Context, filter record.Filter, after record.ID, limit int) (recordPage, error) {
	if err := n.f.hit("new.List"); err != nil {
		return recordPage{}, err
	}
	return n.newStore.List(ctx, filter, after, limit)
}

func (n failingNew) Pending(ctx context.Context, after record.ID, limit int) (recordPage, error) {
	if err := n.f.hit("new.Pending"); err != nil {
		return recordPage{}, err
	}
	return n.newStore.Pending(ctx, after, limit)
}

func (n failingNew) CountPending(ctx context.Context) (int64, error) {
	if err := n.f.hit("new.CountPending"); err != nil {
		return 0, err
	}
	return n.newStore.CountPending(ctx)
}

func (n failingNew) ClearPending(ctx context.Context, marks ...store.Mark) error {
	if err := n.f.hit("new.ClearPending"); err != nil {
		return err
	}
	return n.newStore.ClearPending(ctx, marks...)
}

func (n failingNew) Scan(ctx context.Context, after record.ID, limit int) (recordPage, error) {
	if err := n.f.hit("new.Scan"); err != nil {
		return recordPage{}, err
	}
	return n.newStore.Scan(ctx, after, limit)
}

func (n failingNew) Prepare(ctx context.Context, migration string) error {
	if err := n.f.hit("new.Prepare"); err != nil {
		return err
	}
	return n.newStore.Prepare(ctx, migration)
}

func (n failingNew) Prepared(ctx context.Context) (string, error) {
	if err := n.f.hit("new.Prepared"); err != nil {
		return "", err
	}
	return n.newStore.Prepared(ctx)
}

func (o failingOld) Writable(ctx context.Context) error {
	if err := o.f.hit("old.Writable"); err != nil {
		return err
	}
	return o.oldStore.Writable(ctx)
}

func (n failingNew) Probe(ctx context.Context) error {
	if err := n.f.hit("new.Probe"); err != nil {
		return err
	}
	return n.newStore.Probe(ctx)
}

func (n failingNew) ProbeRecord(ctx context.Context) error {
	if err := n.f.hit("new.ProbeRecord"); err != nil {
		return err
	}
	return n.newStore.ProbeRecord(ctx)
}

func (n failingNew) Mirror(ctx context.Context) (store.Mirror, error) {
	if err := n.f.hit("new.Mirror"); err != nil {
		return store.Mirror{}, err
	}
	return n.newStore.Mirror(ctx)
}

func (n failingNew) RaiseMirror(ctx context.Context, m store.Mirror) error {
	if err := n.f.hit("new.RaiseMirror"); err != nil {
		return err
	}
	return n.newStore.RaiseMirror(ctx, m)
}

func (n failingNew) Register(ctx context.Context, r store.Registration) error {
	if err := n.f.hit("new.Register"); err != nil {
		return err
	}
	return n.newStore.Register(ctx, r)
}

func (n failingNew) Deregister(ctx context.Context, instance string) error {
	if err := n.f.hit("new.Deregister"); err != nil {
		return err
	}
	return n.newStore.Deregister(ctx, instance)
}

func (n failingNew) Registrations(ctx context.Context) ([]store.Registration, error) {
	if err := n.f.hit("new.Registrations"); err != nil {
		return nil, err
	}
	return n.newStore.Registrations(ctx)
}

func (n failingNew) Progress(ctx context.Context, epoch int64) (store.Progress, error) {
	if err := n.f.hit("new.Progress"); err != nil {
		return store.Progress{}, err
	}
	return n.newStore.Progress(ctx, epoch)
}

func (n failingNew) SaveCheckpoint(ctx context.Context, epoch int64, after record.ID, copied int64) error {
	if err := n.f.hit("new.SaveCheckpoint"); err != nil {
		return err
	}
	return n.newStore.SaveCheckpoint(ctx, epoch, after, copied)
}

func (n failingNew) MarkComplete(ctx context.Context, epoch int64) error {
	if err := n.f.hit("new.MarkComplete"); err != nil {
		return err
	}
	return n.newStore.MarkComplete(ctx, epoch)
}

func (n failingNew) SaveVerify(ctx context.Context, epoch int64, result store.VerifyResult) error {
	if err := n.f.hit("new.SaveVerify"); err != nil {
		return err
	}
	return n.newStore.SaveVerify(ctx, epoch, result)
}

func (n failingNew) SaveCompared(ctx context.Context, epoch int64, instance string, c map[string]store.Compared) error {
	if err := n.f.hit("new.SaveCompared"); err != nil {
		return err
	}
	return n.newStore.SaveCompared(ctx, epoch, instance, c)
}

func (n failingNew) Look() store.NewLook { return n }
