package migration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"migrate/app/store"
)

var errDown = fmt.Errorf("%w: down", store.ErrUnavailable)

// faultyNew is a new store that fails by name.
type faultyNew struct {
	newStore
	get, put, probe error
	cas             func(do func() error) error
}

func (n *faultyNew) Get(ctx context.Context, ids ...string) (map[string]store.Record[journal], error) {
	if n.get != nil {
		return nil, n.get
	}
	return n.newStore.Get(ctx, ids...)
}

func (n *faultyNew) PutIfNewer(ctx context.Context, recs ...store.Record[journal]) error {
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

func (n *faultyNew) CompareAndSwap(ctx context.Context, rec store.Record[journal], expect store.Pair) error {
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

func (o *faultyOld) Get(ctx context.Context, ids ...string) (map[string]store.Record[journal], store.Fence, error) {
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

func (o *faultyOld) PutIfNewer(ctx context.Context, epoch int64, recs ...store.Record[journal]) error {
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

func entries(t *testing.T, s *service, id string) string {
	t.Helper()
	rec, _, err := s.Get(t.Context(), id)
	must(t, err)
	return rec.Body.Entries
}

func TestWriteIsAcknowledgedWhileNewIsDownAndRelayedLater(t *testing.T) {
	w := raisedTo(t, WriteBoth, 1)
	_, n := w.faulty()
	s := w.at(t, WriteBoth)
	n.put = errDown
	for i := range 5 { // past the breaker's threshold
		must(t, w.appendTo(t.Context(), s, w.ids[0], fmt.Sprint(i)))
	}
	if o, _ := pending(t, w); o != 1 {
		t.Fatalf("%d pending, want the one record", o)
	}
	if err := s.Flush(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("flush while new is down: %v", err)
	}
	n.put = nil
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if o, _ := pending(t, w); o != 0 {
		t.Errorf("%d still pending", o)
	}
	got, err := w.new.Get(t.Context(), w.ids[0])
	must(t, err)
	if e := got[w.ids[0]].Body.Entries; e != "0;0;1;2;3;4;" {
		t.Errorf("new has %q", e)
	}
}

func TestUnknownOutcomeIsNeitherRepeatedNorPassedOn(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 1)
	_, n := w.faulty()
	s := w.at(t, ReadBoth)
	calls := 0
	n.cas = func(do func() error) error {
		calls++
		if err := do(); err != nil {
			return err
		}
		return fmt.Errorf("%w: the answer was lost", store.ErrUnknown)
	}
	if err := w.appendTo(t.Context(), s, w.ids[0], "x"); !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("got %v, want an unknown outcome", err)
	}
	if calls != 1 {
		t.Errorf("the write was tried %d times", calls)
	}
	n.cas = nil
	if got := entries(t, s, w.ids[0]); strings.Count(got, "x;") != 1 {
		t.Errorf("afterwards: %q", got)
	}
}

// A write at 4 or 5 is acknowledged under new only if its copy got to old or
// the fence, asked afterwards, still shows the same epoch and open.
func TestTheFenceComesLastBeforeAWriteIsAcknowledged(t *testing.T) {
	closing := func(f store.Fence) store.Fence {
		f.Closing, f.Token, f.Deadline = true, "tool", time.Now().Add(time.Hour)
		return f
	}
	returned := func(f store.Fence) store.Fence {
		return store.Fence{Migration: f.Migration, Epoch: f.Epoch + 1, Primary: store.PrimaryOld}
	}
	cases := []struct {
		name   string
		put    error // of the copy to old
		move   func(store.Fence) store.Fence
		down   bool // the fence can't be read afterwards
		skip   bool // old is known to ail, and is not asked to take the copy
		accept bool
	}{
		{"the copy got there", nil, nil, false, false, true},
		{"the copy got there while the fence was closing", nil, closing, false, false, true},
		{"the copy failed, the fence stands", errDown, nil, false, false, true},
		{"the copy failed and the fence is closing", errDown, closing, false, false, false},
		{"the primary has returned", nil, returned, false, false, false},
		{"the copy failed and the primary has returned", errDown, returned, false, false, false},
		{"old can't be asked", errDown, nil, true, false, false},
		{"the copy was skipped, the fence stands", nil, nil, false, true, true},
		{"the copy was skipped, and got there once the fence was closing", nil, closing, false, true, true},
		{"the copy was skipped, and fails once the fence is closing", errDown, closing, false, true, false},
		{"the copy was skipped and the primary has returned", nil, returned, false, true, false},
		{"the copy was skipped and old can't be asked", nil, nil, true, true, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := raisedTo(t, StopOldWrites, 1)
			o, n := w.faulty()
			s := w.at(t, NewPrimary)
			o.put = c.put
			then := func() {
				if c.move != nil {
					f, err := o.oldStore.Fence(t.Context())
					must(t, err)
					must(t, o.MoveFence(t.Context(), f, c.move(f)))
				}
				if c.down {
					o.fence = errDown
				}
			}
			if c.skip {
				s.oldBreaker.failures, s.oldBreaker.retryAt = breakerThreshold, time.Now().Add(time.Hour)
				n.cas = func(do func() error) error { err := do(); then(); return err }
			} else {
				o.onPut = func() { o.onPut = nil; then() }
			}
			err := w.appendTo(t.Context(), s, w.ids[0], "x")
			if c.accept && err != nil {
				t.Errorf("not acknowledged: %v", err)
			}
			if !c.accept && !errors.Is(err, store.ErrUnknown) {
				t.Errorf("got %v, want an unknown outcome", err)
			}
		})
	}
}

// While new is primary, old's copy is kept up for the way back: a write waits
// for it no longer than the budget, and not at all once it has failed three
// times, but for one try each half second. What old lacks stays pending.
func TestWritesUnderNewDoNotWaitForOld(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 1)
	o, n := w.faulty()
	s := w.at(t, ReadBoth)
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		o.onPut, o.put = func() { asked++; time.Sleep(s.cfg.Budget) }, context.DeadlineExceeded // locked by somebody
		write := func(entry string, took time.Duration, tries int) {
			t.Helper()
			began := time.Now()
			must(t, w.appendTo(t.Context(), s, w.ids[0], entry))
			if got := time.Since(began); got != took || asked != tries {
				t.Errorf("%s took %v, old was asked %d times; want %v, %d", entry, got, asked, took, tries)
			}
		}
		for n := range 3 {
			write(fmt.Sprint("w", n), s.cfg.Budget, n+1)
		}
		write("w3", 0, 3)
		time.Sleep(breakerPause)
		write("w4", s.cfg.Budget, 4)
		write("w5", 0, 4)
		if got, err := n.CountPending(t.Context()); got != 1 || err != nil {
			t.Errorf("%d pending, %v; want the one record", got, err)
		}
		o.onPut, o.put = func() { asked++ }, nil
		must(t, s.Flush(t.Context()))
		write("w6", 0, 6) // the flush has found old well again
	})
	got, _, err := w.old.Scan(t.Context(), "", 10)
	must(t, err)
	if len(got) != 1 || got[0].Body.Entries != "0;w0;w1;w2;w3;w4;w5;w6;" {
		t.Errorf("old has %+v", got)
	}
}

// Reads, and writes that commit nothing, wait while the fence is closing, and a
// fence whose closer has died is reopened past its deadline.
func TestClosingIsWaitedForAndReopened(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 1)
	s := w.at(t, ReadBoth)
	open, err := w.old.Fence(t.Context())
	must(t, err)
	closed := open
	closed.Closing, closed.Token, closed.Deadline = true, "tool", time.Now().Add(time.Hour)
	must(t, w.old.MoveFence(t.Context(), open, closed))
	s.cfg.Patience = 30 * time.Millisecond
	for name, try := range map[string]func() error{
		"read":  func() error { _, _, err := s.Get(t.Context(), w.ids[0]); return err },
		"list":  func() error { _, err := s.List(t.Context(), any_{}, "", 10); return err },
		"write": func() error { return w.appendTo(t.Context(), s, w.ids[0], "x") },
	} {
		if err := try(); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s while closing: %v", name, err)
		}
	}
	dead := closed
	dead.Deadline = time.Now().Add(-time.Second)
	must(t, w.old.MoveFence(t.Context(), closed, dead))
	must(t, w.appendTo(t.Context(), s, w.ids[0], "y"))
	if f, _ := w.old.Fence(t.Context()); f.Closing || f.Epoch != open.Epoch {
		t.Errorf("the fence is %+v, want it reopened as it was", f)
	}
}

func TestStepFiveGoesOnAsFourWhileTheProbeFails(t *testing.T) {
	w := raisedTo(t, NewPrimary, 1)
	_, n := w.faulty()
	s := w.at(t, NewPrimary)
	n.probe, n.put = errDown, errDown
	must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
	if f, _ := w.old.Fence(t.Context()); f.Primary != store.PrimaryOld || f.Epoch != 1 {
		t.Fatalf("the fence moved to %+v although new takes no write", f)
	}
	n.probe, n.put = nil, nil
	s.newBreaker = breaker{}
	must(t, w.appendTo(t.Context(), s, w.ids[0], "y"))
	if f, _ := w.old.Fence(t.Context()); f.Primary != store.PrimaryNew || f.Epoch != 2 {
		t.Errorf("the first write did not make new primary: %+v", f)
	}
	if m, _ := w.new.Mirror(t.Context()); m.Epoch != 2 || m.Primary != store.PrimaryNew {
		t.Errorf("the mirror shows %+v", m)
	}
	if got := entries(t, w.at(t, ReadBoth), w.ids[0]); got != "0;x;y;" {
		t.Errorf("afterwards %q", got)
	}
}

// At 6 and 7 a final copy answers alone; what is not final needs old, and is
// never "not found" for want of it.
func TestOldOutOfReachAtSix(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 2)
	must(t, w.appendTo(t.Context(), w.at(t, NewPrimary), w.ids[0], "x"))
	o, _ := w.faulty()
	s := w.at(t, StopOldWrites)
	o.get, o.fence = errDown, errDown
	if got := entries(t, s, w.ids[0]); got != "0;x;" {
		t.Errorf("the final record: %q", got)
	}
	must(t, w.appendTo(t.Context(), s, w.ids[0], "y"))
	for name, id := range map[string]string{"a legacy record": w.ids[1], "an unknown id": "nobody"} {
		if _, found, err := s.Get(t.Context(), id); !errors.Is(err, store.ErrUnavailable) || found {
			t.Errorf("%s: found %v, %v; want unavailable", name, found, err)
		}
	}
	if ready, reason, degraded := s.Ready(t.Context()); !ready || degraded == "" {
		t.Errorf("ready %v (%s), degraded %q; want ready and degraded", ready, reason, degraded)
	}
	o.get, o.fence = nil, nil
	_, err := CopyAll(t.Context(), w.old, w.new, BackfillOptions{})
	must(t, err)
	must(t, s.adopt(t.Context())) // sees the completion mark
	o.get, o.fence = errDown, errDown
	if got := entries(t, s, w.ids[1]); got != "0;" {
		t.Errorf("the legacy record after the backfill: %q", got)
	}
	if _, found, err := s.Get(t.Context(), "nobody"); found || err != nil {
		t.Errorf("absence is final after the backfill: found %v, %v", found, err)
	}
}

func TestSixRegistersBeforeItReadsTheMirror(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 0)
	var calls []string
	w.new = &orderedNew{newStore: w.new, calls: &calls}
	w.at(t, StopOldWrites)
	reg, mirror := -1, -1
	for i, c := range calls {
		if c == "register" && reg < 0 {
			reg = i
		}
		if c == "mirror" && mirror < 0 {
			mirror = i
		}
	}
	if reg < 0 || mirror < reg {
		t.Errorf("calls in order: %v; want the registration first", calls)
	}
	rs, err := w.new.Registrations(t.Context())
	must(t, err)
	if len(rs) != 1 || rs[0].Step != 6 {
		t.Errorf("registrations: %+v", rs)
	}
}

type orderedNew struct {
	newStore
	calls *[]string
}

func (n *orderedNew) Register(ctx context.Context, r store.Registration) error {
	*n.calls = append(*n.calls, "register")
	return n.newStore.Register(ctx, r)
}

func (n *orderedNew) Mirror(ctx context.Context) (store.Mirror, error) {
	*n.calls = append(*n.calls, "mirror")
	return n.newStore.Mirror(ctx)
}

func TestTheMirrorDecidesAtSixAndNotTheFence(t *testing.T) {
	w := newWorld(t, 0)
	must(t, w.at(t, AddDAO).Prepare(t.Context()))
	cfg := Config[journal, any_]{Step: StopOldWrites, Old: w.old, New: w.new}
	s, err := New(cfg)
	must(t, err)
	must(t, s.Start(t.Context()))
	if ready, reason, _ := s.Ready(t.Context()); ready {
		t.Errorf("ready under a mirror of old (%s)", reason)
	}
	if err := w.appendTo(t.Context(), s, "a", "x"); !errors.Is(err, ErrRefused) {
		t.Errorf("a write under a mirror of old: %v", err)
	}
	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	must(t, s.settle(t.Context()))
	must(t, w.appendTo(t.Context(), s, "a", "x"))
}

func TestAlignPassesAMirrorThatIsAhead(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 1)
	m, err := w.new.Mirror(t.Context())
	must(t, err)
	must(t, w.new.RaiseMirror(t.Context(), store.Mirror{Migration: m.Migration, Epoch: m.Epoch + 1, Primary: store.PrimaryOld}))
	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	f, err := w.old.Fence(t.Context())
	must(t, err)
	m, err = w.new.Mirror(t.Context())
	must(t, err)
	if f.Epoch != 4 || m.Epoch != 4 || m.Primary != store.PrimaryNew || f.Primary != store.PrimaryNew {
		t.Errorf("fence %+v, mirror %+v; want both at epoch 4, new", f, m)
	}
}

func TestDatabasesOfAnotherMigrationAreRefused(t *testing.T) {
	w, other := raisedTo(t, NewPrimary, 0), newWorld(t, 0)
	must(t, other.new.Prepare(t.Context(), "another"))
	s, err := New(Config[journal, any_]{Step: ReadBoth, Old: w.old, New: other.new})
	must(t, err)
	if err := s.Start(t.Context()); !errors.Is(err, store.ErrStranger) {
		t.Errorf("start: %v", err)
	}
	s, err = New(Config[journal, any_]{Step: DeployNew, Old: w.old, Migration: "remembered"})
	must(t, err)
	if _, _, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrStranger) {
		t.Errorf("a read: %v", err)
	}
}

// The switch asks for the flip at the moment at which the first write makes it.
func TestAdvanceThatComesSecondIsNoError(t *testing.T) {
	w := raisedTo(t, NewPrimary, 1)
	first := w.at(t, NewPrimary)
	n := &racingProbe{newStore: w.new}
	second, err := New(Config[journal, any_]{Step: NewPrimary, Old: w.old, New: n})
	must(t, err)
	must(t, second.Start(t.Context()))
	n.before = func() { must(t, first.Advance(t.Context())) }
	must(t, second.Advance(t.Context()))
	if f, _ := w.old.Fence(t.Context()); f.Epoch != 2 || f.Primary != store.PrimaryNew {
		t.Errorf("the fence is %+v; want one flip", f)
	}
}

// racingProbe lets somebody else be faster between the probe and the flip.
type racingProbe struct {
	newStore
	before func()
}

func (n *racingProbe) Probe(ctx context.Context) error {
	if n.before != nil {
		n.before()
	}
	return n.newStore.Probe(ctx)
}
