package migration

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"migrate.invalid/migrate/app/store"
)

// deafNew takes calls and never answers them.
type deafNew struct{ newStore }

func (n deafNew) Look() store.NewLook { return n }

func (deafNew) Prepared(ctx context.Context) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

func (deafNew) CountPending(ctx context.Context) (int64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

func (deafNew) Progress(ctx context.Context, _ int64) (store.Progress, error) {
	<-ctx.Done()
	return store.Progress{}, ctx.Err()
}

// Whoever asks how things are while a database does not answer is told what
// the other one knows, before he gives up.
func TestStatusOutlivesADeafDatabase(t *testing.T) {
	for _, c := range []struct {
		step    Step
		primary store.Primary
		ready   bool
		pending int64
	}{
		{WriteBoth, store.PrimaryOld, true, 1},
		{ReadBoth, store.PrimaryOld, true, 1},
		{NewPrimary, store.PrimaryNew, false, -1},
		{StopOldWrites, store.PrimaryNew, false, -1},
	} {
		t.Run(c.step.Name(), func(t *testing.T) {
			w := raisedTo(t, c.step, 1)
			if c.primary == store.PrimaryOld {
				_, n := w.faulty()
				n.put = errDown
				must(t, w.appendTo(t.Context(), w.at(t, c.step), w.ids[0], "x")) // which leaves it pending
			}
			s := w.at(t, c.step)
			if c.step == NewPrimary {
				must(t, s.Advance(t.Context()))
			}
			s.new = deafNew{w.new}
			synctest.Test(t, func(t *testing.T) {
				defer s.endWatches()
				ctx, cancel := context.WithTimeout(t.Context(), 2900*time.Millisecond)
				defer cancel()
				st := s.Status(ctx)
				if ctx.Err() != nil {
					t.Error("it took longer than anybody waits")
				}
				if st.Primary != c.primary || st.Epoch == 0 || st.Ready != c.ready || st.Pending != c.pending || st.Reason+st.Degraded == "" {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// A probe touches each database that the step has, and no other.
func TestProbeTouchesBothDatabases(t *testing.T) {
	for step := DeployNew; step <= RemoveOld; step++ {
		w := raisedTo(t, step, 0)
		o, n := w.faulty()
		s := w.at(t, step)
		must(t, s.Probe(t.Context()))
		o.fence = errDown
		if err := s.Probe(t.Context()); errors.Is(err, errDown) != step.HasOld() {
			t.Errorf("step %d, old out of reach: %v", step, err)
		}
		o.fence, n.probe = nil, errDown
		if err := s.Probe(t.Context()); errors.Is(err, errDown) != step.HasNew() {
			t.Errorf("step %d, new out of reach: %v", step, err)
		}
	}
}

// An instance above step 5 leaves nothing in a new database of another
// migration, not even its registration.
func TestStrangersAreNotRegisteredWith(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 0)
	var calls []string
	w.new = &orderedNew{newStore: w.new, calls: &calls}
	s, err := New(Config{Step: StopOldWrites, Old: w.old, New: w.new, Migration: "another"})
	must(t, err)
	if err := s.Start(t.Context()); err != nil && !errors.Is(err, store.ErrStranger) {
		t.Fatal(err)
	}
	if err := s.adopt(t.Context()); !errors.Is(err, store.ErrStranger) || len(calls) > 0 {
		t.Errorf("%v after %q; want ErrStranger before any call", err, calls)
	}
}

// Under old, status says when no write can begin; it asks for that once a second,
// or at once where the last answer was bad, and not at all once new is primary.
func TestStatusTellsOfALockedDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o, _ := slowed(t, ReadBoth, ReadBoth)
		defer s.endWatches()
		degraded := func(want string, locks int64) {
			t.Helper()
			if st := s.Status(t.Context()); !st.Ready || st.Degraded != want || o.locks.Load() != locks {
				t.Errorf("ready %v, degraded %q after %d questions; want %q after %d", st.Ready, st.Degraded, o.locks.Load(), want, locks)
			}
		}
		const locked = "old database: no write can begin, perhaps some program holds its lock: "
		degraded("", 1)
		time.Sleep(lockAge)
		degraded("", 1)
		time.Sleep(time.Nanosecond)
		o.locked = errDown
		degraded(locked+errDown.Error(), 2)
		degraded(locked+errDown.Error(), 3)
		s.newBreaker.failed(errDown)
		degraded(locked+errDown.Error()+"; new database: nothing that was sent to it in the last 1 s was taken: "+errDown.Error(), 4)
		s.newBreaker.note(nil)
		o.locked = nil
		degraded("", 5)
		time.Sleep(2 * lockAge)
		o.lock = never
		began := time.Now()
		degraded(locked+"database unavailable: no answer for 1.5 s", 6)
		if took := time.Since(began); took != primaryPatience {
			t.Errorf("it took %v, want %v", took, primaryPatience)
		}
	})
	s, o, _ := slowed(t, StopOldWrites, ReadBoth)
	defer s.endWatches()
	o.locked = errDown
	s.Ready(t.Context()) // which sees that new is primary
	if st := s.Status(t.Context()); o.locks.Load() != 0 || st.Degraded != "" {
		t.Errorf("under new: %d questions, degraded %q", o.locks.Load(), st.Degraded)
	}
	six, o, _ := slowed(t, StopOldWrites, StopOldWrites)
	defer six.endWatches()
	if st := six.Status(t.Context()); o.locks.Load() != 0 || !st.Ready {
		t.Errorf("at step 6: %d questions; %+v", o.locks.Load(), st)
	}
}

// Status shows each database that the step has, what was compared and what was
// found out under the present epoch.
func TestStatusShowsWhatItKnows(t *testing.T) {
	w := raisedTo(t, ReadBoth, 2)
	s := w.at(t, ReadBoth)
	defer s.endWatches()
	must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
	_, _, err := s.Get(t.Context(), w.ids[0])
	must(t, err)
	s.compareQueued(t.Context())
	s.Status(t.Context()) // sees the epoch
	must(t, s.new.SaveVerify(t.Context(), 1, store.VerifyResult{Equal: 7, Clean: true}))
	st := s.Status(t.Context())
	if st.Step != ReadBoth || st.StepName != ReadBoth.Name() || st.Primary != store.PrimaryOld || st.Epoch != 1 || st.Closing || st.Migration != "m" {
		t.Errorf("%+v", st)
	}
	if st.Compared[""].Equal != 1 || st.Pending != 0 || st.PendingAge != 0 {
		t.Errorf("%+v", st)
	}
	if st.Progress == nil || st.Progress.Epoch != 1 || st.Progress.Verify == nil || st.Progress.Verify.Equal != 7 {
		t.Errorf("progress: %+v", st.Progress)
	}
	if len(st.Stores) != 2 || st.Stores[0].Store != store.PrimaryOld || st.Stores[1].Store != store.PrimaryNew || st.Stores[0].Calls < 3 || st.Stores[1].Calls < 2 || st.Stores[0].P99 == 0 {
		t.Errorf("stores: %+v", st.Stores)
	}
	if st := w.at(t, DeployNew).Status(t.Context()); len(st.Stores) != 1 || st.Stores[0].Store != store.PrimaryOld || st.Progress != nil {
		t.Errorf("at step 1: %+v", st)
	}
	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	if st := s.Status(t.Context()); st.Epoch != 2 || st.Progress != nil && st.Progress.Epoch != 2 {
		t.Errorf("under new: epoch %d, progress %+v", st.Epoch, st.Progress)
	}
	if st := w.at(t, RemoveOld).Status(t.Context()); len(st.Stores) != 1 || st.Stores[0].Store != store.PrimaryNew {
		t.Errorf("at step 8: %+v", st.Stores)
	}
}

// What is shown without waiting is what was seen last.
func TestTheEpochThatIsKnown(t *testing.T) {
	known := func(s *service, primary store.Primary, epoch int64, when string) {
		t.Helper()
		if p, e := s.Known(t.Context()); p != primary || e != epoch {
			t.Errorf("%s: %s at %d, want %s at %d", when, p, e, primary, epoch)
		}
	}
	w := raisedTo(t, StopOldWrites, 0)
	never := w.unstarted(t, ReadBoth)
	o := &faultyOld{oldStore: w.old, fence: errDown}
	never.old = o
	known(never, "", 0, "nothing was ever seen")
	if e := never.epoch(); e != 0 {
		t.Errorf("nothing was ever seen: epoch %d", e)
	}
	never.endWatches()
	known(w.at(t, StopOldWrites), store.PrimaryNew, 2, "at step 6")
	s := w.at(t, ReadBoth)
	defer s.endWatches()
	s.Ready(t.Context())
	_, err := ReturnPrimary(t.Context(), w.old, w.new, ReturnOptions{Token: "t", Grace: time.Nanosecond, Gone: func(store.Registration) error { return nil }})
	must(t, err)
	known(s, store.PrimaryOld, 3, "the primary has returned")
	if e := s.epoch(); e != 2 {
		t.Errorf("before a request has seen it: epoch %d, want 2", e)
	}
	s.watchOld.end()
	inReach := s.old
	s.old = o
	known(s, store.PrimaryNew, 2, "old is out of reach") // what a request saw last
	s.watchOld.end()
	s.old = inReach
	s.Ready(t.Context())
	s.watchOld.end()
	s.old = o
	known(s, store.PrimaryOld, 3, "old was seen to be primary, and is out of reach")
}

// The backlog is counted in the primary; a count that fails is no count.
func TestTheBacklogIsThePrimarys(t *testing.T) {
	for _, c := range []struct {
		raised, step Step
		want         int64
	}{{WriteBoth, WriteBoth, 2}, {StopOldWrites, ReadBoth, 1}, {StopOldWrites, StopOldWrites, 1}, {RemoveOld, RemoveOld, 1}} {
		w := raisedTo(t, WriteBoth, 0)
		w.leave(t, 1)
		w.leave(t, 2)
		rec := copyOf("a", 1, 2, "x")
		rec.Pending = true
		must(t, w.new.CompareAndSwap(t.Context(), rec, store.Pair{}))
		if c.raised > NewPrimary {
			must(t, w.at(t, NewPrimary).Advance(t.Context()))
		}
		s := w.at(t, c.step)
		v, err := s.lookAtBacklog(t.Context())
		if err != nil || v.n != c.want {
			t.Errorf("raised to %d, step %d: %d pending (%v), want %d", c.raised, c.step, v.n, err, c.want)
		}
	}
	w := raisedTo(t, StopOldWrites, 0)
	if v, err := w.unstarted(t, StopOldWrites).lookAtBacklog(t.Context()); err == nil {
		t.Errorf("not in place: %+v", v)
	}
	s := w.unstarted(t, ReadBoth)
	s.old = &faultyOld{oldStore: w.old, fence: errDown}
	if v, err := s.lookAtBacklog(t.Context()); !errors.Is(err, errDown) {
		t.Errorf("without the fence: %+v (%v)", v, err)
	}
}

// What was found out under another epoch is not shown, nor a count that is awaited.
func TestStatusShowsNothingOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o, n := slowed(t, ReadBoth, ReadBoth)
		defer s.endWatches()
		s.Status(t.Context())
		if st := s.Status(t.Context()); st.Progress == nil || st.Pending != 0 {
			t.Errorf("all is well: %+v", st)
		}
		time.Sleep(2 * countAge)
		o.count = never
		if st := s.Status(t.Context()); st.Pending != -1 || !st.Ready {
			t.Errorf("while nothing is counted: %+v", st)
		}
		n.prepared = never
		f, err := o.oldStore.Fence(t.Context())
		must(t, err)
		next := f
		next.Epoch += 2
		must(t, o.oldStore.MoveFence(t.Context(), f, next))
		if st := s.Status(t.Context()); st.Epoch != next.Epoch || st.Progress != nil {
			t.Errorf("under another epoch: %+v, progress %+v", st, st.Progress)
		}
	})
}

// oddOld has a fence that names neither database.
type oddOld struct{ oldStore }

func (oddOld) Fence(context.Context) (store.Fence, error) {
	return store.Fence{Migration: "m", Epoch: 1, Primary: "neither"}, nil
}

// Nothing is counted for a primary that is not known.
func TestTheBacklogOfNoPrimary(t *testing.T) {
	w := raisedTo(t, ReadBoth, 0)
	s := w.at(t, ReadBoth)
	s.old = oddOld{w.old}
	if v, err := s.lookAtBacklog(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("%+v, %v", v, err)
	}
}
