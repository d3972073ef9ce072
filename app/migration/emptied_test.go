package migration

import (
	"errors"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
)

// replacedNew is a new database that can be emptied while instances run.
type replacedNew struct{ newStore }

func (n *replacedNew) Look() store.NewLook { return n }

// A new database that is emptied while old is primary has lost no more than copies:
// each instance that sends to it notices, sends nothing before it is prepared anew,
// and prepares it; a backfill brings the copies back.
func TestANewDatabaseThatIsEmptiedUnderOld(t *testing.T) {
	for _, step := range []Step{WriteBoth, ReadBoth} {
		w := raisedTo(t, step, 2)
		n := &replacedNew{w.new}
		w.new = n
		s := w.at(t, step)
		must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
		if step >= ReadBoth {
			_, _, err := s.Get(t.Context(), w.ids[0])
			must(t, err)
			s.compareQueued(t.Context())
			s.reportCompared(t.Context())
		}
		n.newStore = memory.NewNew()
		if _, err := s.lookAtNew(t.Context()); !errors.Is(err, store.ErrStranger) {
			t.Errorf("step %d: a look says %v", step, err)
		}
		must(t, w.appendTo(t.Context(), s, w.ids[0], "y"))
		if err := s.relayPass(t.Context()); !errors.Is(err, store.ErrStranger) {
			t.Errorf("step %d: the relay says %v", step, err)
		}
		if count, err := n.Count(t.Context()); err != nil || count != 0 {
			t.Errorf("step %d: %d records were sent to a database that is not prepared (%v)", step, count, err)
		}
		must(t, s.settle(t.Context()))
		must(t, s.Flush(t.Context()))
		_, err := CopyAll(t.Context(), w.old, w.new, BackfillOptions{})
		must(t, err)
		rep, err := Verify(t.Context(), w.old, w.new, VerifyOptions{})
		must(t, err)
		if !rep.Clean || rep.Equal != 2 {
			t.Errorf("step %d: afterwards %+v", step, rep)
		}
		if p, err := w.new.Progress(t.Context(), 1); err != nil || p.Compared[""].Equal != 0 {
			t.Errorf("step %d: what was compared before counts: %+v (%v)", step, p.Compared, err)
		}
		// It is noticed also where nobody looks at readiness.
		n.newStore = memory.NewNew()
		must(t, s.settle(t.Context()))
		must(t, s.Flush(t.Context()))
	}
}

// One that is emptied while it is primary is not prepared anew: it holds what nobody
// else has.
func TestANewDatabaseThatIsEmptiedUnderNew(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 1)
	n := &replacedNew{w.new}
	w.new = n
	s := w.at(t, ReadBoth)
	must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
	n.newStore = memory.NewNew()
	for range 2 {
		if err := s.settle(t.Context()); !errors.Is(err, store.ErrStranger) {
			t.Errorf("it settles: %v", err)
		}
	}
	if _, _, err := s.Get(t.Context(), w.ids[0]); !errors.Is(err, store.ErrStranger) {
		t.Errorf("a read: %v", err)
	}
	if err := w.unstarted(t, NewPrimary).Start(t.Context()); !errors.Is(err, store.ErrStranger) {
		t.Errorf("another instance starts: %v", err)
	}
	if id, err := n.Prepared(t.Context()); err == nil {
		t.Errorf("it was prepared for %q", id)
	}
}

// Steps 4 and 5 refuse while new is primary and its mirror has gone back: it was put
// back from a backup, and lacks what it had acknowledged.
func TestStepsFourAndFiveNoticeThatNewWentBack(t *testing.T) {
	for _, step := range []Step{ReadBoth, NewPrimary} {
		w := raisedTo(t, StopOldWrites, 1)
		n := &backNew{newStore: w.new}
		w.new = n
		s := w.at(t, step)
		must(t, s.settle(t.Context()))
		n.mirror = &store.Mirror{Migration: "m", Epoch: 1, Primary: store.PrimaryOld}
		putBack(t, "settling", s.settle(t.Context()), "new", 1, 2)
		_, _, err := s.Get(t.Context(), w.ids[0])
		putBack(t, "a read", err, "new", 1, 2)
		putBack(t, "a write", w.appendTo(t.Context(), s, w.ids[0], "x"), "new", 1, 2)
		if ready, reason, _ := s.Ready(t.Context()); ready || !strings.Contains(reason, "put back from a backup") {
			t.Errorf("step %d: ready %v: %s", step, ready, reason)
		}
		s.endWatches()
		n.mirror = nil
		must(t, s.settle(t.Context()))
		must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
	}
}
