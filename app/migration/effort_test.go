package migration

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
)

// setTo is a change that sets a record's body.
func setTo(body string) Change {
	return func(cur store.Record, _ bool) (store.Record, bool, error) {
		cur.Body = record.Body(body)
		return cur, true, nil
	}
}

// What a write asks the databases for: under old nothing of new before it is
// committed, for an id made just now no record, and the write that moves the primary
// commits to new alone.
func TestWhatAWriteAsksFor(t *testing.T) {
	for _, c := range []struct {
		name         string
		raised, step Step
		fresh        bool
		want         []string
	}{
		{"under old", ReadBoth, ReadBoth, false, []string{"old.Get", "old.CompareAndSwap", "new.PutIfNewer", "old.ClearPending"}},
		{"under old, a new id", ReadBoth, ReadBoth, true, []string{"old.Fence", "old.CompareAndSwap", "new.PutIfNewer", "old.ClearPending"}},
		{"at step 1, a new id", DeployNew, DeployNew, true, []string{"old.Fence", "old.CompareAndSwap"}},
		{"under new", StopOldWrites, ReadBoth, false, []string{"new.Get", "old.Get", "new.CompareAndSwap", "old.PutIfNewer", "new.ClearPending"}},
		{"under new, a new id", StopOldWrites, NewPrimary, true, []string{"old.Fence", "new.CompareAndSwap", "old.PutIfNewer", "new.ClearPending"}},
		{"at step 6, a new id", StopOldWrites, StopOldWrites, true, []string{"new.CompareAndSwap"}},
	} {
		w := raisedTo(t, c.raised, 0)
		f := &failAt{}
		f.between(w)
		s := w.at(t, c.step)
		f.took()
		_, err := s.Apply(t.Context(), "a", c.fresh, setTo("x"))
		must(t, err)
		if calls := f.took(); !slices.Equal(calls, c.want) {
			t.Errorf("%s: it calls %v, want %v", c.name, calls, c.want)
		}
		if len(s.relay.wake) != 0 {
			t.Errorf("%s: the relay is woken for what was sent", c.name)
		}
	}
	w := raisedTo(t, NewPrimary, 0)
	f := &failAt{}
	f.between(w)
	s := w.at(t, NewPrimary)
	f.took()
	_, err := s.Apply(t.Context(), "a", false, setTo("x"))
	must(t, err)
	if calls := f.took(); slices.Contains(calls, "old.CompareAndSwap") || !s.newBreaker.well() {
		t.Errorf("the write that moves the primary calls %v; new is well: %v", calls, s.newBreaker.well())
	}
}

// A write whose copy does not get to new wakes the relay; so does one whose copy is
// not even sent, since new ails. A probe that fails before the primary moves makes
// the next writes not wait for another.
func TestWhatAWriteLeavesToTheRelay(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(s *service, n *faultyNew)
	}{
		{"new does not take it", func(_ *service, n *faultyNew) { n.put = errDown }},
		{"new ails", func(s *service, _ *faultyNew) { s.newBreaker.failed(errDown) }},
		{"new was never reached", func(s *service, _ *faultyNew) { s.prepared = false }},
	} {
		w := raisedTo(t, WriteBoth, 1)
		_, n := w.faulty()
		s := w.at(t, WriteBoth)
		c.fail(s, n)
		must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
		if old, _ := pending(t, w); old != 1 || len(s.relay.wake) != 1 {
			t.Errorf("%s: %d are pending, the relay is woken %d times", c.name, old, len(s.relay.wake))
		}
	}
	w := raisedTo(t, NewPrimary, 1)
	_, n := w.faulty()
	n.probe = errDown
	s := w.at(t, NewPrimary)
	must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
	if s.newBreaker.well() || fenceOf(t, w).Primary != store.PrimaryOld {
		t.Errorf("after a probe that failed: new is well %v, the fence is %+v", s.newBreaker.well(), fenceOf(t, w))
	}
}

// A record made just now is not written to another migration's database.
func TestNewRecordsKeepOutOfAStrangersDatabase(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 0)
	w.new = memory.NewNew()
	must(t, w.new.Prepare(t.Context(), "another"))
	w.put(t, store.PrimaryNew, copyOf("b", 1, 2, "theirs"))
	if rec, _, err := w.unstarted(t, ReadBoth).Get(t.Context(), "b"); err == nil && rec.Body == "theirs" {
		t.Error("the other migration's record is read")
	}
	s := w.unstarted(t, ReadBoth)
	s.wasNew.Store(true) // as after a request that saw the fence
	if rec, _, err := s.Get(t.Context(), "b"); !errors.Is(err, store.ErrStranger) {
		t.Errorf("read as %+v, %v", rec, err)
	}
	_, err := w.unstarted(t, ReadBoth).Apply(t.Context(), "a", true, setTo("x"))
	recs, gerr := w.new.Get(t.Context(), "a")
	must(t, gerr)
	if !errors.Is(err, store.ErrStranger) || len(recs) != 0 {
		t.Errorf("%v; the other database has %+v", err, recs)
	}
}

// An answer that writes nothing, such as a refusal, counts only under the epoch that
// it was made in.
func TestARefusalIsMadeAgainUnderAnotherEpoch(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 1)
	s := w.at(t, ReadBoth)
	errNo := errors.New("no")
	asked := 0
	_, err := s.Apply(t.Context(), w.ids[0], false, func(cur store.Record, _ bool) (store.Record, bool, error) {
		if asked++; asked == 1 {
			_, err := ReturnPrimary(t.Context(), w.old, w.new, quickReturn())
			must(t, err)
			must(t, w.appendTo(t.Context(), w.at(t, WriteBoth), w.ids[0], "x"))
			return cur, false, errNo
		}
		if cur.Body != "0;x;" {
			t.Errorf("it is asked again with %q", cur.Body)
		}
		return cur, false, errNo
	})
	if !errors.Is(err, errNo) || asked != 2 {
		t.Errorf("%v after %d questions", err, asked)
	}
}

// uncleared takes no mark back.
type uncleared struct{ newStore }

func (uncleared) ClearPending(context.Context, ...store.Mark) error { return errDown }

// Under new, a write is acknowledged although its copy does not get to old in time: the
// fence has time of its own to be asked. The relay is woken for the copy, and for a
// mark that could not be taken back.
func TestAWriteUnderNewWhoseCopyIsLate(t *testing.T) {
	for _, hangs := range []bool{true, false} {
		w := raisedTo(t, StopOldWrites, 1)
		synctest.Test(t, func(t *testing.T) {
			s := w.at(t, ReadBoth)
			if hangs {
				s.old = unansweringOld{w.old}
			} else {
				s.new = uncleared{w.new}
			}
			must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
			if _, left := pending(t, w); left != 1 || len(s.relay.wake) != 1 {
				t.Errorf("old hangs %v: %d are pending, the relay is woken %d times", hangs, left, len(s.relay.wake))
			}
		})
	}
}

// What was deleted has no content any more, whatever the change leaves in it.
func TestWhatIsDeletedHasNoContent(t *testing.T) {
	w := raisedTo(t, WriteBoth, 1)
	rec, err := w.at(t, WriteBoth).Apply(t.Context(), w.ids[0], false, func(cur store.Record, _ bool) (store.Record, bool, error) {
		cur.Deleted = true
		return cur, true, nil
	})
	must(t, err)
	recs, _, err := w.old.Get(t.Context(), w.ids[0])
	must(t, err)
	if got := recs[w.ids[0]]; rec.Body != "" || got.Body != "" || !got.Deleted {
		t.Errorf("answered %+v, stored %+v", rec, got)
	}
}

// A change that is refused, at whatever step, writes nothing.
func TestARefusalWritesNothing(t *testing.T) {
	for step := DeployNew; step <= RemoveOld; step++ {
		w := raisedTo(t, step, 1)
		f := &failAt{}
		f.between(w)
		s := w.at(t, step)
		f.took()
		for _, want := range []error{errors.New("no"), nil} {
			_, err := s.Apply(t.Context(), w.ids[0], false, func(cur store.Record, _ bool) (store.Record, bool, error) {
				cur.Body = "changed"
				return cur, false, want
			})
			if !errors.Is(err, want) {
				t.Errorf("step %d: %v, want %v", step, err, want)
			}
			for _, call := range f.took() {
				if strings.HasSuffix(call, ".CompareAndSwap") || strings.HasSuffix(call, ".PutIfNewer") {
					t.Errorf("step %d: a refused change calls %s", step, call)
				}
			}
		}
	}
}
