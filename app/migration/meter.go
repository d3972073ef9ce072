package migration

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// meter keeps how both databases have been answering.
type meter struct {
	observe  func(db store.Primary, op string, took time.Duration, err error)
	old, new gauge
}

type gauge struct {
	mu            sync.Mutex
	hist          *hdrhistogram.Histogram // microseconds
	calls, errors int64
	answered      time.Time // when the last call succeeded
}

func newMeter(observe func(store.Primary, string, time.Duration, error)) *meter {
	const longest = int64(time.Minute / time.Microsecond)
	return &meter{
		observe: observe,
		old:     gauge{hist: hdrhistogram.New(1, longest, 2)},
		new:     gauge{hist: hdrhistogram.New(1, longest, 2)},
	}
}

func (m *meter) note(db store.Primary, op string, start time.Time, err error) {
	took := time.Since(start)
	g := &m.old
	if db == store.PrimaryNew {
		g = &m.new
	}
	g.mu.Lock()
	g.calls++
	if errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknown) {
		g.errors++
	}
	if err == nil {
		g.answered = time.Now()
	}
	_ = g.hist.RecordValue(max(1, took.Microseconds())) // beyond a minute it is not recorded
	g.mu.Unlock()
	if m.observe != nil {
		m.observe(db, op, took, err)
	}
}

// silence is how long no call has succeeded.
func (g *gauge) silence() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Since(g.answered)
}

func (g *gauge) status(db store.Primary) StoreStatus {
	g.mu.Lock()
	defer g.mu.Unlock()
	return StoreStatus{Store: db, Calls: g.calls, Errors: g.errors,
		P50: g.hist.ValueAtQuantile(50), P99: g.hist.ValueAtQuantile(99)}
}

type meteredOld struct {
	store.Old
	m *meter
}

// Unwrap returns the database that is metered.
func (o meteredOld) Unwrap() store.Old { return o.Old }

func (o meteredOld) Get(ctx context.Context, ids ...record.ID) (recs map[record.ID]store.Record, f store.Fence, err error) {
	defer func(t time.Time) { o.m.note(store.PrimaryOld, "get", t, err) }(time.Now())
	return o.Old.Get(ctx, ids...)
}

func (o meteredOld) CompareAndSwap(ctx context.Context, epoch int64, rec store.Record, expect store.Pair) (err error) {
	defer func(t time.Time) { o.m.note(store.PrimaryOld, "compare_and_swap", t, err) }(time.Now())
	return o.Old.CompareAndSwap(ctx, epoch, rec, expect)
}

func (o meteredOld) PutIfNewer(ctx context.Context, epoch int64, recs ...store.Record) (err error) {
	defer func(t time.Time) { o.m.note(store.PrimaryOld, "put_if_newer", t, err) }(time.Now())
	return o.Old.PutIfNewer(ctx, epoch, recs...)
}

func (o meteredOld) List(ctx context.Context, filter record.Filter, after record.ID, limit int) (page store.Page, f store.Fence, err error) {
	defer func(t time.Time) { o.m.note(store.PrimaryOld, "list", t, err) }(time.Now())
	return o.Old.List(ctx, filter, after, limit)
}

type meteredNew struct {
	store.New
	m *meter
}

func (n meteredNew) Get(ctx context.Context, ids ...record.ID) (recs map[record.ID]store.Record, err error) {
	defer func(t time.Time) { n.m.note(store.PrimaryNew, "get", t, err) }(time.Now())
	return n.New.Get(ctx, ids...)
}

func (n meteredNew) CompareAndSwap(ctx context.Context, rec store.Record, expect store.Pair) (err error) {
	defer func(t time.Time) { n.m.note(store.PrimaryNew, "compare_and_swap", t, err) }(time.Now())
	return n.New.CompareAndSwap(ctx, rec, expect)
}

func (n meteredNew) PutIfNewer(ctx context.Context, recs ...store.Record) (err error) {
	defer func(t time.Time) { n.m.note(store.PrimaryNew, "put_if_newer", t, err) }(time.Now())
	return n.New.PutIfNewer(ctx, recs...)
}

func (n meteredNew) List(ctx context.Context, filter record.Filter, after record.ID, limit int) (page store.Page, err error) {
	defer func(t time.Time) { n.m.note(store.PrimaryNew, "list", t, err) }(time.Now())
	return n.New.List(ctx, filter, after, limit)
}
