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

// backOld is an old database whose file can be put back from a backup.
type backOld struct {
	oldStore
	fence *store.Fence // what it shows; nil: what it has
}

func (o *backOld) shown(f store.Fence) store.Fence {
	if o.fence != nil {
		return *o.fence
	}
	return f
}

func (o *backOld) Get(ctx context.Context, ids ...record.ID) (found, store.Fence, error) {
	recs, f, err := o.oldStore.Get(ctx, ids...)
	return recs, o.shown(f), err
}

func (o *backOld) List(ctx context.Context, filter record.Filter, after record.ID, limit int) (recordPage, store.Fence, error) {
	page, f, err := o.oldStore.List(ctx, filter, after, limit)
	return page, o.shown(f), err
}

func (o *backOld) Fence(ctx context.Context) (store.Fence, error) {
	f, err := o.oldStore.Fence(ctx)
	return o.shown(f), err
}

// backNew is a new database that can be put back.
type backNew struct {
	newStore
	mirror *store.Mirror
}

func (n *backNew) Mirror(ctx context.Context) (store.Mirror, error) {
	if n.mirror != nil {
		return *n.mirror, nil
	}
	return n.newStore.Mirror(ctx)
}

func (n *backNew) Look() store.NewLook { return n }

// putBack checks that an error names the database, both epochs, and what to do.
func putBack(t *testing.T, what string, err error, database string, shown, seen int64) {
	t.Helper()
	want := fmt.Sprintf("%s database is at epoch %d, and this process has seen epoch %d", database, shown, seen)
	if !errors.Is(err, store.ErrStranger) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "bring the newer one back") {
		t.Errorf("%s: %v; want %s", what, err, want)
	}
}

// An instance acts on no fence whose epoch is lower than one that it has seen: the
// file was put back from a backup. Once the newer one is back, it goes on.
func TestAFenceThatWentBack(t *testing.T) {
	for _, step := range []Step{ReadBoth, NewPrimary} {
		w := raisedTo(t, StopOldWrites, 1)
		o := &backOld{oldStore: w.old}
		w.old = o
		s := w.at(t, step)
		must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
		o.fence = &store.Fence{Migration: "m", Epoch: 1, Primary: store.PrimaryOld}
		_, _, err := s.Get(t.Context(), w.ids[0])
		putBack(t, "a read", err, "old", 1, 2)
		_, err = s.List(t.Context(), record.Filter{}, "", 10)
		putBack(t, "a list", err, "old", 1, 2)
		putBack(t, "a write", w.appendTo(t.Context(), s, w.ids[0], "y"), "old", 1, 2)
		putBack(t, "the relay", s.relayPass(t.Context()), "old", 1, 2)
		if ready, reason, _ := s.Ready(t.Context()); ready || !strings.Contains(reason, "put back from a backup") {
			t.Errorf("step %d: ready %v: %s", step, ready, reason)
		}
		o.fence = nil
		must(t, w.appendTo(t.Context(), s, w.ids[0], "z"))
		if got := entries(t, s, w.ids[0]); got != "0;x;z;" {
			t.Errorf("step %d: afterwards %s", step, got)
		}
	}
}

// The tool's passes, too, refuse a fence that goes back while they run.
func TestAFenceThatGoesBackUnderATool(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 2)
	o := &backOld{oldStore: w.old}
	back := func() { o.fence = &store.Fence{Migration: "m", Epoch: 1, Primary: store.PrimaryOld} }
	_, err := CopyAll(t.Context(), o, w.new, BackfillOptions{Batch: 1, Throttle: func(context.Context, int) error { back(); return store.ErrFenceMoved }})
	putBack(t, "a backfill", err, "old", 1, 2)
	o.fence = nil
	_, err = ReturnPrimary(t.Context(), o, w.new, ReturnOptions{Token: "t", Gone: func(store.Registration) error { return nil },
		Pause: func(context.Context, time.Duration) error { back(); return errDown }})
	if err == nil || !strings.Contains(err.Error(), "put back from a backup") {
		t.Errorf("a return: %v", err)
	}
}

// Steps 6 to 8 act on no mirror whose epoch is lower than one that they have seen.
// What was committed meanwhile is of unknown outcome.
func TestAMirrorThatWentBack(t *testing.T) {
	for _, step := range []Step{StopOldWrites, Backfill, RemoveOld} {
		w := raisedTo(t, step, 1)
		n := &backNew{newStore: w.new}
		w.new = n
		s, clock := w.clocked(t, step)
		n.mirror = &store.Mirror{Migration: "m", Epoch: 1, Primary: store.PrimaryOld}
		*clock = clock.Add(lookAge + time.Millisecond)
		_, _, err := s.Get(t.Context(), w.ids[0])
		putBack(t, "a read", err, "new", 1, 2)
		if err := w.appendTo(t.Context(), s, w.ids[0], "x"); !errors.Is(err, ErrRefused) {
			t.Errorf("step %d: a write without a place: %v", step, err)
		}
		n.mirror = nil
		must(t, s.settle(t.Context()))
		must(t, w.appendTo(t.Context(), s, w.ids[0], "y"))
	}
}

// clocked is an instance in place whose clock the test moves.
func (w *world) clocked(t *testing.T, step Step) (*service, *time.Time) {
	t.Helper()
	s := w.unstarted(t, step)
	now := time.Now()
	s.cfg.Now = func() time.Time { return now }
	must(t, s.Start(t.Context()))
	return s, &now
}

// At steps 6 to 8 no answer stands on a look that is older than a second: a new one
// comes after the read or the commit. An instance that was declared gone learns of
// it there: what it has committed is of unknown outcome, and it answers nothing
// before it has registered anew.
func TestAnswersStandOnAFreshLook(t *testing.T) {
	for _, step := range []Step{StopOldWrites, Backfill, RemoveOld} {
		w := raisedTo(t, step, 1)
		f := &failAt{}
		f.between(w)
		s, clock := w.clocked(t, step)
		looks := func() (n int) {
			for _, call := range f.took() {
				if call == "new.Registrations" {
					n++
				}
			}
			return n
		}
		*clock = clock.Add(lookAge)
		looks()
		must(t, w.appendTo(t.Context(), s, w.ids[0], "young"))
		if n := looks(); n != 0 {
			t.Errorf("step %d: %d looks although the last one is a second old", step, n)
		}
		*clock = clock.Add(time.Millisecond)
		must(t, w.appendTo(t.Context(), s, w.ids[0], "old"))
		if calls := f.took(); len(calls) < 3 || strings.Join(calls[len(calls)-3:], " ") != "new.CompareAndSwap new.Registrations new.Mirror" {
			t.Errorf("step %d: it calls %v; want the look after the commit", step, calls)
		}

		must(t, w.new.Deregister(t.Context(), s.cfg.Instance.Instance))
		*clock = clock.Add(lookAge + time.Millisecond)
		if err := w.appendTo(t.Context(), s, w.ids[0], "unknown"); !errors.Is(err, store.ErrUnknown) || !strings.Contains(err.Error(), "was taken away") {
			t.Errorf("step %d: a write of an instance that was declared gone: %v", step, err)
		}
		_, _, err := s.Get(t.Context(), w.ids[0])
		_, lerr := s.List(t.Context(), record.Filter{}, "", 10)
		if !errors.Is(err, ErrRefused) || !errors.Is(lerr, ErrRefused) {
			t.Errorf("step %d: it reads %v, lists %v", step, err, lerr)
		}
		must(t, s.settle(t.Context()))
		must(t, w.appendTo(t.Context(), s, w.ids[0], "again"))
		f.arm(0)
	}
}

// A look that fails leaves a commit of unknown outcome and a read unanswered.
func TestALookThatFails(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 1)
	f := &failAt{}
	f.between(w)
	s, clock := w.clocked(t, StopOldWrites)
	*clock = clock.Add(2 * lookAge)
	f.arm(4) // new.Get, old.Get, new.CompareAndSwap
	if err := w.appendTo(t.Context(), s, w.ids[0], "x"); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("a write: %v after %v", err, f.took())
	}
	f.arm(2)
	if _, _, err := s.Get(t.Context(), w.ids[0]); !errors.Is(err, errTold) || errors.Is(err, store.ErrUnknown) {
		t.Errorf("a read: %v after %v", err, f.took())
	}
}

// A return that takes a registration away on the operator's word alone waits, after
// the mirror has moved, until nothing can stand on what that instance had seen.
func TestAReturnOnTheOperatorsWordWaits(t *testing.T) {
	for _, word := range []bool{false, true} {
		w := raisedTo(t, StopOldWrites, 1)
		w.at(t, StopOldWrites)
		var waited []time.Duration
		_, err := ReturnPrimary(t.Context(), w.old, w.new, ReturnOptions{
			Token: "t", Gone: func(store.Registration) error { return nil }, OnWord: func(store.Registration) bool { return word },
			Pause: func(_ context.Context, d time.Duration) error {
				m, err := w.new.Mirror(t.Context())
				must(t, err)
				if d == wordWait && m.Primary != store.PrimaryOld {
					t.Error("it waits before the mirror has moved")
				}
				if d == wordWait {
					f := fenceOf(t, w)
					if left := time.Until(f.Deadline); !f.Closing || left < wordWait {
						t.Errorf("it waits under %+v", f)
					}
				}
				waited = append(waited, d)
				return nil
			},
		})
		must(t, err)
		if got := len(waited) == 2 && waited[1] == wordWait; got != word {
			t.Errorf("on the operator's word %v: it waits %v", word, waited)
		}
	}
}

// A restart of step 5 keeps the epoch of its spawn, and flips no later one.
func TestARestartedStep5KeepsItsEpoch(t *testing.T) {
	w := raisedTo(t, NewPrimary, 1)
	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	_, err := ReturnPrimary(t.Context(), w.old, w.new, ReturnOptions{Token: "t", Gone: func(store.Registration) error { return nil }})
	must(t, err)
	for _, from := range []int64{1, 3} {
		refused := from == 1
		s, err := New(Config{Step: NewPrimary, Old: w.old, New: w.new, FromEpoch: from})
		must(t, err)
		if err := s.Start(t.Context()); errors.Is(err, ErrRefused) != refused {
			t.Errorf("spawned under epoch %d, started under 3: %v", from, err)
		}
		if err := w.appendTo(t.Context(), s, w.ids[0], "x"); errors.Is(err, ErrRefused) != refused {
			t.Errorf("spawned under epoch %d: a write under 3: %v", from, err)
		}
	}
}
