package storetest

import (
	"context"
	"flag"
	"os"
	"runtime"
	"slices"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/task"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Broken stores fail their properties; no record of that is wanted.
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// dawdle lets the others run: what a broken store leaves open between two steps.
func dawdle() {
	for range 100 {
		runtime.Gosched()
	}
}

// altered is a new database in memory with some of its calls replaced.
type altered struct {
	New
	get      func(ctx context.Context, ids ...record.ID) (map[record.ID]Record, error)
	swap     func(ctx context.Context, r Record, expect store.Pair) error
	put      func(ctx context.Context, r Record) error
	page     func(Page) Page // of List and Scan
	scan     func(ctx context.Context, after record.ID, limit int) (Page, error)
	list     func(ctx context.Context, f record.Filter, after record.ID, limit int) (Page, error)
	clear    func(ctx context.Context, m store.Mark) error
	raise    func(ctx context.Context, m store.Mirror) error
	mirror   func() store.Mirror
	prepare  func(ctx context.Context, migration string) error
	epoch    func(epoch int64) int64 // that progress is kept by
	compared func(ctx context.Context, epoch int64, instance string, c map[string]store.Compared) error
	probe    func(ctx context.Context) error
}

func (a *altered) Get(ctx context.Context, ids ...record.ID) (map[record.ID]Record, error) {
	if a.get != nil {
		return a.get(ctx, ids...)
	}
	return a.New.Get(ctx, ids...)
}

func (a *altered) CompareAndSwap(ctx context.Context, r Record, expect store.Pair) error {
	if a.swap != nil {
		return a.swap(ctx, r, expect)
	}
	return a.New.CompareAndSwap(ctx, r, expect)
}

func (a *altered) PutIfNewer(ctx context.Context, recs ...Record) error {
	if a.put == nil {
		return a.New.PutIfNewer(ctx, recs...)
	}
	for _, r := range recs {
		if err := a.put(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (a *altered) List(ctx context.Context, f record.Filter, after record.ID, limit int) (Page, error) {
	if a.list != nil {
		return a.list(ctx, f, after, limit)
	}
	page, err := a.New.List(ctx, f, after, limit)
	if a.page != nil {
		page = a.page(page)
	}
	return page, err
}

func (a *altered) Scan(ctx context.Context, after record.ID, limit int) (Page, error) {
	if a.scan != nil {
		return a.scan(ctx, after, limit)
	}
	page, err := a.New.Scan(ctx, after, limit)
	if a.page != nil {
		page = a.page(page)
	}
	return page, err
}

func (a *altered) ClearPending(ctx context.Context, marks ...store.Mark) error {
	if a.clear == nil {
		return a.New.ClearPending(ctx, marks...)
	}
	for _, m := range marks {
		if err := a.clear(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (a *altered) RaiseMirror(ctx context.Context, m store.Mirror) error {
	if a.raise != nil {
		return a.raise(ctx, m)
	}
	return a.New.RaiseMirror(ctx, m)
}

func (a *altered) Mirror(ctx context.Context) (store.Mirror, error) {
	m, err := a.New.Mirror(ctx)
	if a.mirror != nil {
		m = a.mirror()
	}
	return m, err
}

func (a *altered) Prepare(ctx context.Context, migration string) error {
	if a.prepare != nil {
		return a.prepare(ctx, migration)
	}
	return a.New.Prepare(ctx, migration)
}

func (a *altered) at(epoch int64) int64 {
	if a.epoch != nil {
		return a.epoch(epoch)
	}
	return epoch
}

func (a *altered) Progress(ctx context.Context, epoch int64) (store.Progress, error) {
	p, err := a.New.Progress(ctx, a.at(epoch))
	p.Epoch = epoch
	return p, err
}

func (a *altered) SaveCheckpoint(ctx context.Context, epoch int64, after record.ID, copied int64) error {
	return a.New.SaveCheckpoint(ctx, a.at(epoch), after, copied)
}

func (a *altered) SaveCompared(ctx context.Context, epoch int64, instance string, c map[string]store.Compared) error {
	if a.compared != nil {
		return a.compared(ctx, epoch, instance, c)
	}
	return a.New.SaveCompared(ctx, epoch, instance, c)
}

func (a *altered) ProbeRecord(ctx context.Context) error {
	if a.probe != nil {
		return a.probe(ctx)
	}
	return a.New.ProbeRecord(ctx)
}

// held returns the stored copy, the zero Record if there is none.
func (a *altered) held(ctx context.Context, id record.ID) Record {
	found, _ := a.New.Get(ctx, id)
	return found[id]
}

// force stores r whatever is there.
func (a *altered) force(ctx context.Context, r Record) error {
	return a.New.CompareAndSwap(ctx, r, a.held(ctx, r.ID).Pair)
}

// putWhen is a PutIfNewer that applies r when newer says so.
func (a *altered) putWhen(newer func(r, held Record) bool) func(context.Context, Record) error {
	return func(ctx context.Context, r Record) error {
		if held := a.held(ctx, r.ID); newer(r, held) {
			r.Pending = false
			return a.force(ctx, r)
		}
		return ctx.Err()
	}
}

// alterText is a store that keeps texts other than it was given them.
func (a *altered) alterText(f func(string) string) {
	change := func(r Record) Record {
		return with(r, func(t *task.Task) { t.Description = f(t.Description) })
	}
	a.swap = func(ctx context.Context, r Record, expect store.Pair) error {
		return a.New.CompareAndSwap(ctx, change(r), expect)
	}
	a.put = func(ctx context.Context, r Record) error { return a.New.PutIfNewer(ctx, change(r)) }
}

// reordered is a store whose pages follow another order of ids.
func (a *altered) reordered(less func(x, y string) int) {
	all := func(ctx context.Context, after record.ID, limit int, keep func(Record) bool) (Page, error) {
		page, err := a.New.Scan(ctx, "", 1<<20)
		recs := page.Records
		slices.SortStableFunc(recs, func(x, y Record) int { return less(x.ID.String(), y.ID.String()) })
		recs = slices.DeleteFunc(recs, func(r Record) bool { return !keep(r) || after != "" && less(r.ID.String(), after.String()) <= 0 })
		return store.PageOf(recs[:min(limit, len(recs))], limit), err
	}
	a.scan = func(ctx context.Context, after record.ID, limit int) (Page, error) {
		return all(ctx, after, limit, func(Record) bool { return true })
	}
	a.list = func(ctx context.Context, f record.Filter, after record.ID, limit int) (Page, error) {
		return all(ctx, after, limit, func(r Record) bool { return !r.Deleted && f.Match(r.ID, r.Body) })
	}
}

// forceUnchecked stores r even when another got in between.
func (a *altered) forceUnchecked(ctx context.Context, r Record) error {
	for {
		if err := a.force(ctx, r); err == nil || ctx.Err() != nil {
			return err
		}
	}
}
