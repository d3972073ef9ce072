package migration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// Schedules that have lost, forked or misplaced a write once.

// A write that the return of the primary has overtaken must not be built on by
// another such write: two revs of unknown outcome would outdo the one that old
// acknowledges next.
func TestLateWritesDoNotOutrunTheReturnedPrimary(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 1)
	id := w.ids[0]
	must(t, w.appendTo(t.Context(), w.at(t, NewPrimary), id, "base"))
	stalled := &stalledNew{newStore: w.new}
	real := w.new
	w.new = stalled
	a, b := w.at(t, ReadBoth), w.at(t, ReadBoth)
	for _, s := range []*service{a, b} {
		must(t, w.check(t.Context(), s, id))
	}
	// Both have seen an open fence; a commits after the primary has returned, b
	// reads what a has written.
	stalled.get = func() {
		stalled.get = nil
		stalled.cas = func() {
			stalled.cas = nil
			_, err := ReturnPrimary(t.Context(), w.old, real, ReturnOptions{Token: "t", Grace: time.Nanosecond,
				Gone: func(store.Registration) error { return nil }})
			must(t, err)
		}
		if err := w.appendTo(t.Context(), a, id, "late-a"); !errors.Is(err, store.ErrUnknown) || !strings.Contains(err.Error(), "the primary moved") {
			t.Errorf("a: %v, want an unknown outcome", err)
		}
	}
	if err := w.appendTo(t.Context(), b, id, "late-b"); err != nil && !errors.Is(err, store.ErrUnknown) {
		t.Fatal(err)
	}
	must(t, w.appendTo(t.Context(), w.at(t, WriteBoth), id, "acknowledged"))
	five := w.at(t, NewPrimary)
	must(t, five.Advance(t.Context()))
	must(t, w.check(t.Context(), five, id))
	for _, p := range w.problems {
		t.Error(p)
	}
}

// stalledNew lets others run just before a read of new, or a commit on it.
type stalledNew struct {
	newStore
	get, cas func()
}

func (n *stalledNew) Get(ctx context.Context, ids ...record.ID) (recs map[record.ID]store.Record, err error) {
	if n.get != nil {
		n.get()
	}
	return n.newStore.Get(ctx, ids...)
}

func (n *stalledNew) CompareAndSwap(ctx context.Context, rec store.Record, expect store.Pair) error {
	if n.cas != nil {
		n.cas()
	}
	return n.newStore.CompareAndSwap(ctx, rec, expect)
}

// An instance at step 6 may start, acknowledge a write and end, all between the
// drain and the second look at the registrations.
func TestReturnDrainsWhatAnEndedInstanceLeft(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 1)
	id := w.ids[0]
	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	n := &beforeMirror{newStore: w.new}
	n.before = func() { // the drain is over, the mirror not yet raised
		six := w.at(t, StopOldWrites)
		must(t, w.appendTo(t.Context(), six, id, "six"))
		must(t, w.new.Deregister(t.Context(), six.cfg.Instance.Instance))
	}
	_, err := ReturnPrimary(t.Context(), w.old, n, ReturnOptions{Token: "t", Grace: time.Nanosecond,
		Gone: func(store.Registration) error { return nil }})
	must(t, err)
	must(t, w.check(t.Context(), w.at(t, WriteBoth), id))
	for _, p := range w.problems {
		t.Error(p)
	}
}

type beforeMirror struct {
	newStore
	before func()
}

func (n *beforeMirror) RaiseMirror(ctx context.Context, m store.Mirror) error {
	if f := n.before; f != nil && m.Primary == store.PrimaryOld {
		n.before = nil
		f()
	}
	return n.newStore.RaiseMirror(ctx, m)
}

// New was out of reach at the start and turns out to be of another migration:
// nothing may be written to it, and the primary must not move to it.
func TestAStrangerThatComesLateIsLeftAlone(t *testing.T) {
	for _, step := range []Step{WriteBoth, ReadBoth, NewPrimary} {
		w := newWorld(t, 1)
		id, theirs := w.ids[0], store.Record{ID: "legacy-000", Pair: store.Pair{Rev: 1}, Body: record.Body("theirs")}
		must(t, w.new.Prepare(t.Context(), "another"))
		must(t, w.new.CompareAndSwap(t.Context(), theirs, store.Pair{}))
		n := &lateNew{newStore: w.new, down: true}
		s, err := New(Config{Step: step, Old: w.old, New: n})
		must(t, err)
		if err := s.Start(t.Context()); !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("step %d: start: %v", step, err)
		}
		n.down = false
		must(t, w.appendTo(t.Context(), s, id, "x"))
		_ = s.relayPass(t.Context())
		if got, _ := w.new.Get(t.Context(), id); got[id].Body != theirs.Body {
			t.Errorf("step %d: the other migration's record is %q now", step, got[id].Body)
		}
		if f, _ := w.old.Fence(t.Context()); f.Primary != store.PrimaryOld {
			t.Errorf("step %d: the primary moved to another migration's database", step)
		}
	}
}

// lateNew is out of reach for what an instance does first.
type lateNew struct {
	newStore
	down bool
}

func (n *lateNew) Prepare(ctx context.Context, migration string) error {
	if n.down {
		return errDown
	}
	return n.newStore.Prepare(ctx, migration)
}

// A client mends a record that new can't hold at the moment in which the
// backfill sets it aside: what was acknowledged stays, in both databases.
func TestIsolationYieldsToAChange(t *testing.T) {
	w := newWorld(t, 1)
	id := w.ids[0]
	w.new = pickyNew{w.new}
	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	o := &beforePut{oldStore: w.old}
	w.old = o
	s := w.at(t, NewPrimary)
	o.before = func() { // committed on new, its copy not yet in old
		_, err := CopyAll(t.Context(), w.old, w.new, BackfillOptions{})
		must(t, err)
	}
	must(t, w.appendTo(t.Context(), s, id, "mended"))
	olds, _, err := w.old.Get(t.Context(), id)
	must(t, err)
	news, err := w.new.Get(t.Context(), id)
	must(t, err)
	if r := relate(news[id], true, olds[id], true); r != equal {
		t.Errorf("new has %q at %v; old %q at %v, deleted %v", news[id].Body, news[id].Pair, olds[id].Body, olds[id].Pair, olds[id].Deleted)
	}
}

// pickyNew can't hold a record as it was at first.
type pickyNew struct{ newStore }

func (n pickyNew) PutIfNewer(ctx context.Context, recs ...store.Record) error {
	for _, r := range recs {
		if r.Body == "0;" {
			return fmt.Errorf("%w: %q", store.ErrUnfit, r.ID)
		}
	}
	return n.newStore.PutIfNewer(ctx, recs...)
}

type beforePut struct {
	oldStore
	before func()
}

func (o *beforePut) PutIfNewer(ctx context.Context, epoch int64, recs ...store.Record) error {
	if f := o.before; f != nil {
		o.before = nil
		f()
	}
	return o.oldStore.PutIfNewer(ctx, epoch, recs...)
}

// An old database that was put back from a time before the primary moved must
// not become primary again by itself.
func TestAnOldCopyOfTheOldDatabaseIsRefused(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 1)
	restored := newWorld(t, 1) // the same migration, at epoch 1, primary old
	s, err := New(Config{Step: ReadBoth, Old: restored.old, New: w.new})
	must(t, err)
	if err := s.Start(t.Context()); !errors.Is(err, store.ErrStranger) {
		t.Errorf("start: %v", err)
	}
	s, err = New(Config{Step: NewPrimary, Old: restored.old, New: w.new})
	must(t, err)
	if err := s.Advance(t.Context()); !errors.Is(err, store.ErrStranger) {
		t.Errorf("advance: %v", err)
	}
}

// The answer to the last move of a return is lost: it was made all the same.
func TestReturnWhoseLastAnswerIsLost(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 1)
	tool := &deafMove{oldStore: w.old}
	res, err := ReturnPrimary(t.Context(), tool, w.new, quickReturn())
	if err != nil || res.Epoch != 3 {
		t.Errorf("got %+v, %v; want the return found out to be made", res, err)
	}
	w = raisedTo(t, StopOldWrites, 1)
	_, err = ReturnPrimary(t.Context(), &deafMove{oldStore: w.old, blind: true}, w.new, quickReturn())
	if !errors.Is(err, store.ErrUnknown) || errors.Is(err, ErrGaveUp) {
		t.Errorf("with the fence out of reach: %v; want an unknown outcome", err)
	}
}

// deafMove makes the last move and loses the answer; blind, it then can't read
// the fence either.
type deafMove struct {
	oldStore
	blind, moved bool
}

func (o *deafMove) MoveFence(ctx context.Context, from, to store.Fence) error {
	err := o.oldStore.MoveFence(ctx, from, to)
	if err == nil && to.Primary == store.PrimaryOld {
		o.moved = true
		return fmt.Errorf("%w: the answer was lost", store.ErrUnknown)
	}
	return err
}

func (o *deafMove) Fence(ctx context.Context) (store.Fence, error) {
	if o.blind && o.moved {
		return store.Fence{}, errDown
	}
	return o.oldStore.Fence(ctx)
}
