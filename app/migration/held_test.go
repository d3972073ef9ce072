package migration

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// heldOld has one thing in the way of the flip.
type heldOld struct {
	oldStore
	guarded, filled error
	rows, accepted  int64
}

func (o *heldOld) Guarded(context.Context) error { return o.guarded }
func (o *heldOld) Filled(context.Context) error  { return o.filled }
func (o *heldOld) Quarantine(context.Context, int) ([]store.Quarantined, int64, error) {
	return nil, o.rows, nil
}
func (o *heldOld) Accepted(context.Context) (int64, error) { return o.accepted, nil }

// Before every flip, also the one that the first write at step 5 makes, guards,
// filling and quarantine are looked at: while one of them is in the way, old stays
// primary and takes the write.
func TestWhatHoldsTheFlipUp(t *testing.T) {
	for name, c := range map[string]struct {
		hold func(o *heldOld)
		says string
	}{
		"the triggers are gone": {func(o *heldOld) { o.guarded = errors.New("the triggers are gone") }, "the triggers are gone"},
		"a record is not known": {func(o *heldOld) { o.filled = errors.New("7 of 9 records are known") }, "7 of 9"},
		"rows are undecided":    {func(o *heldOld) { o.rows = 3 }, "3 rows of the old database are undecided, 0 are accepted"},
		"more than accepted":    {func(o *heldOld) { o.rows, o.accepted = 3, 2 }, "3 rows of the old database are undecided, 2 are accepted"},
		"as many as accepted":   {func(o *heldOld) { o.rows, o.accepted = 3, 3 }, ""},
		"nothing":               {func(*heldOld) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := raisedTo(t, NewPrimary, 1)
			o := &heldOld{oldStore: w.old}
			w.old = o
			s := w.at(t, NewPrimary)
			c.hold(o)
			must(t, w.appendTo(t.Context(), s, w.ids[0], "first"))
			fence := fenceOf(t, w)
			if held := fence.Primary == store.PrimaryOld; held != (c.says != "") {
				t.Errorf("after the first write: %+v", fence)
			}
			err := s.Advance(t.Context())
			if c.says == "" {
				must(t, err)
			} else if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("an advance says %v, want %s", err, c.says)
			}
			if got := entries(t, s, w.ids[0]); got != "0;first;" {
				t.Errorf("read back: %s", got)
			}
			*o = heldOld{oldStore: o.oldStore}
			must(t, s.Advance(t.Context()))
			if fence := fenceOf(t, w); fence.Primary != store.PrimaryNew {
				t.Errorf("afterwards: %+v", fence)
			}
		})
	}
}

// Nothing is sent to new, by a request, the relay or a backfill, before the protocol
// knows every record of old; and no verify says anything.
func TestNothingIsSentBeforeAllIsKnown(t *testing.T) {
	w := raisedTo(t, WriteBoth, 2)
	o := &heldOld{oldStore: w.old, filled: errors.New("1 of 2 records are known")}
	w.old = o
	s := w.at(t, WriteBoth)
	must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
	_, cerr := CopyAll(t.Context(), w.old, w.new, BackfillOptions{})
	_, verr := Verify(t.Context(), w.old, w.new, VerifyOptions{})
	_, lerr := Compare(t.Context(), w.old, w.new, VerifyOptions{})
	for what, err := range map[string]error{"flush": s.Flush(t.Context()), "backfill": cerr, "verify": verr, "comparison": lerr} {
		if !errors.Is(err, ErrNotFilled) || !strings.Contains(err.Error(), "1 of 2") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if recs, err := w.new.Get(t.Context(), w.ids...); err != nil || len(recs) > 0 {
		t.Errorf("new has %+v (%v)", recs, err)
	}
	o.filled = nil
	must(t, s.Flush(t.Context()))
	must(t, w.appendTo(t.Context(), s, w.ids[0], "y"))
	recs, err := w.new.Get(t.Context(), w.ids...)
	must(t, err)
	if got := recs[w.ids[0]].Body; got != "0;x;y;" {
		t.Errorf("afterwards new has %q", got)
	}
}

// A record that new can't hold is neither answered nor listed, at any step that
// reads old; a deletion or a whole replacement decides.
func TestUnfitRecordsAreRefusedUntilDecided(t *testing.T) {
	for _, step := range []Step{DeployNew, WriteBoth, ReadBoth, NewPrimary, StopOldWrites, Backfill} {
		w := raisedTo(t, min(step, ReadBoth), 2)
		bad, good := w.ids[0], w.ids[1]
		if step >= WriteBoth { // an older copy, from when it was fit
			w.put(t, store.PrimaryNew, copyOf(bad, 1, 0, "0;"))
		}
		must(t, w.old.CompareAndSwap(t.Context(), 1, copyOf(bad, 2, 1, "unfit"), store.Pair{Rev: 1}))
		must(t, w.old.Isolate(t.Context(), 1, store.Mark{ID: bad, Pair: store.Pair{Rev: 2, Epoch: 1}}, "it holds a NUL"))
		if step > ReadBoth {
			must(t, w.old.Accept(t.Context(), 1))
			must(t, w.at(t, NewPrimary).Advance(t.Context()))
		}
		s := w.at(t, step)
		refused := func(what string, err error) {
			t.Helper()
			if !errors.Is(err, store.ErrQuarantined) || !strings.Contains(err.Error(), "it holds a NUL") {
				t.Errorf("step %d: %s says %v", step, what, err)
			}
		}
		_, _, err := s.Get(t.Context(), bad)
		refused("a read", err)
		_, err = s.Apply(t.Context(), bad, false, func(cur store.Record, found bool) (store.Record, bool, error) {
			if !found || cur.Unfit == "" {
				t.Errorf("step %d: a change sees %+v", step, cur)
			}
			return cur, false, nil
		})
		refused("a change of nothing", err)
		page, err := s.List(t.Context(), record.Filter{}, "", 10)
		must(t, err)
		if len(page.Records) != 1 || page.Records[0].ID != good {
			t.Errorf("step %d: it lists %+v", step, page.Records)
		}
		rec, err := s.Apply(t.Context(), bad, false, func(store.Record, bool) (store.Record, bool, error) {
			return store.Record{Body: "whole"}, true, nil
		})
		must(t, err)
		if rec.Rev != 3 || rec.Unfit != "" {
			t.Errorf("step %d: decided as %+v", step, rec)
		}
		if got := entries(t, s, bad); got != "whole" {
			t.Errorf("step %d: read back %q", step, got)
		}
		if step <= NewPrimary {
			if _, n, err := w.old.Quarantine(t.Context(), 0); err != nil || n != 0 {
				t.Errorf("step %d: %d rows are left in quarantine (%v)", step, n, err)
			}
		}
	}
}

// The gate to 5 sweeps; the flip doesn't: a writer would wait for it.
func TestTheGateSweeps(t *testing.T) {
	w := raisedTo(t, NewPrimary, 1)
	s, f := w.watched(t, NewPrimary)
	_, err := s.LookAtGates(t.Context(), NewPrimary)
	must(t, err)
	if calls := f.took(); slices.Contains(calls, "old.Sweep") {
		t.Errorf("a look calls %v", calls)
	}
	_, err = s.Gates(t.Context(), NewPrimary)
	must(t, err)
	if calls := f.took(); !slices.Contains(calls, "old.Sweep") {
		t.Errorf("the gates call %v", calls)
	}
	must(t, s.Advance(t.Context()))
	calls := f.took()
	for _, first := range []string{"old.Guarded", "old.Filled", "old.Quarantine", "new.Probe"} {
		if n := slices.Index(calls, first); n < 0 || n > slices.Index(calls, "old.MoveFence") {
			t.Errorf("%s does not come before the flip: %v", first, calls)
		}
	}
	if slices.Contains(calls, "old.Sweep") {
		t.Errorf("the flip sweeps: %v", calls)
	}
}
