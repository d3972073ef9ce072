package migration

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"migrate.invalid/migrate/app/store"
)

// An instance whose triggers are gone does not take traffic: programs that know
// nothing of us would write past the fence.
func TestReadinessNeedsTheTriggers(t *testing.T) {
	for _, step := range []Step{DeployNew, AddDAO, WriteBoth, ReadBoth, NewPrimary} {
		w := raisedTo(t, step, 0)
		s := w.at(t, step)
		if ready, reason, degraded := s.Ready(t.Context()); !ready || reason != "" || degraded != "" {
			t.Errorf("step %d, all is well: ready %v %q %q", step, ready, reason, degraded)
		}
		s.old = unguardedOld{offering(s.old)}
		if ready, reason, _ := s.Ready(t.Context()); ready || !strings.Contains(reason, "triggers are gone") {
			t.Errorf("step %d, without triggers: ready %v (%s)", step, ready, reason)
		}
	}
}

// The relay's last error is shown for as long as it is the last word.
func TestStatusShowsTheRelaysError(t *testing.T) {
	w := raisedTo(t, WriteBoth, 1)
	_, n := w.faulty()
	s := w.at(t, WriteBoth)
	n.put = errDown
	must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
	if err := s.relayPass(t.Context()); !errors.Is(err, errDown) {
		t.Fatalf("the relay says %v", err)
	}
	if st := s.Status(t.Context()); !strings.Contains(st.RelayError, errDown.Error()) || st.Relayed != 0 || st.Pending != 1 {
		t.Errorf("relay error %q, %d relayed, %d pending", st.RelayError, st.Relayed, st.Pending)
	}
	// A pass that somebody else gave up says nothing about the database.
	given, up := context.WithCancel(t.Context())
	up()
	if err := s.relayPass(given); err == nil {
		t.Fatal("a pass that was given up has found nothing wrong")
	}
	if st := s.Status(t.Context()); !strings.Contains(st.RelayError, errDown.Error()) {
		t.Errorf("after a pass that was given up: relay error %q", st.RelayError)
	}
	n.put = nil
	must(t, s.relayPass(t.Context()))
	if st := s.Status(t.Context()); st.RelayError != "" || st.Relayed != 1 {
		t.Errorf("after a success: relay error %q, %d relayed", st.RelayError, st.Relayed)
	}
}

// A request waits for a fence that does not open for as long as its patience
// lasts, by the clock, and then says that nothing was written.
func TestPatienceEnds(t *testing.T) {
	w := raisedTo(t, ReadBoth, 1)
	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	synctest.Test(t, func(t *testing.T) {
		const patience = time.Second
		s, err := New(Config{Step: ReadBoth, Old: w.old, New: w.new, Patience: patience})
		must(t, err)
		must(t, s.Start(t.Context()))
		f := fenceOf(t, w)
		closing := f
		closing.Closing, closing.Token, closing.Deadline = true, "tool", time.Now().Add(time.Hour)
		must(t, w.old.MoveFence(t.Context(), f, closing))
		began := time.Now()
		err = w.appendTo(t.Context(), s, w.ids[0], "x")
		waited := time.Since(began)
		if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "nothing was written") {
			t.Errorf("%v; want unavailable", err)
		}
		if waited < patience-50*time.Millisecond || waited > patience+50*time.Millisecond {
			t.Errorf("it waited for %v, want %v", waited, patience)
		}
		must(t, w.old.MoveFence(t.Context(), closing, f))
		must(t, w.appendTo(t.Context(), s, w.ids[0], "y"))
		if got := entries(t, s, w.ids[0]); got != "0;y;" {
			t.Errorf("afterwards %q", got)
		}
	})
}

// A client that leaves ends the wait.
func TestPatienceEndsWithTheClient(t *testing.T) {
	w := raisedTo(t, ReadBoth, 1)
	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	synctest.Test(t, func(t *testing.T) {
		s := w.at(t, ReadBoth)
		f := fenceOf(t, w)
		closing := f
		closing.Closing, closing.Token, closing.Deadline = true, "tool", time.Now().Add(time.Hour)
		must(t, w.old.MoveFence(t.Context(), f, closing))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := w.appendTo(ctx, s, w.ids[0], "x"); err == nil {
			t.Error("a write was acknowledged while the fence was closing")
		}
		if waited := time.Since(began); waited > 200*time.Millisecond {
			t.Errorf("it went on for %v after the client had left", waited-100*time.Millisecond)
		}
	})
}

// The backlog's age is how long there has been one without a break.
func TestTheBacklogsAge(t *testing.T) {
	w := raisedTo(t, WriteBoth, 2)
	_, n := w.faulty()
	synctest.Test(t, func(t *testing.T) {
		s := w.at(t, WriteBoth)
		age := func(pending int64, want time.Duration) {
			t.Helper()
			st := s.Status(t.Context())
			if got := time.Duration(st.PendingAge) * time.Millisecond; st.Pending != pending || got != want {
				t.Errorf("%d pending for %v; want %d for %v", st.Pending, got, pending, want)
			}
		}
		age(0, 0)
		time.Sleep(2 * countAge)
		n.put = errDown
		must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
		age(1, 0) // it was first seen now
		time.Sleep(2 * countAge)
		must(t, w.appendTo(t.Context(), s, w.ids[1], "x"))
		age(2, 2*countAge)
		time.Sleep(3 * countAge)
		age(2, 5*countAge)
		n.put = nil
		must(t, s.relayPass(t.Context()))
		time.Sleep(2 * countAge)
		age(0, 0)
		time.Sleep(2 * countAge)
		n.put = errDown
		s.newBreaker = breaker{}
		must(t, w.appendTo(t.Context(), s, w.ids[0], "y"))
		age(1, 0)
	})
}

// A count of the backlog is kept for a second, since it can cost a look at
// every record; but not into another epoch.
func TestTheBacklogIsCountedRarely(t *testing.T) {
	w := raisedTo(t, NewPrimary, 1)
	_, n := w.faulty()
	n.put = errDown
	synctest.Test(t, func(t *testing.T) {
		s := w.at(t, ReadBoth)
		pendingNow := func() int64 { return s.Status(t.Context()).Pending }
		if got := pendingNow(); got != 0 {
			t.Errorf("%d pending at first", got)
		}
		must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
		time.Sleep(countAge - time.Millisecond)
		if got := pendingNow(); got != 0 {
			t.Errorf("%d pending: it was counted again within %v", got, countAge)
		}
		time.Sleep(time.Millisecond)
		if got := pendingNow(); got != 1 {
			t.Errorf("%d pending after %v, want 1", got, countAge)
		}
		n.put = nil
		must(t, w.at(t, NewPrimary).Advance(t.Context()))
		if got := pendingNow(); got != 0 {
			t.Errorf("%d pending in the new primary, want 0 at once", got)
		}
	})
}

// An instance above step 5 that ends takes back its registration, so that the
// primary can return without a look for its process; one that only leaves its
// requests doesn't.
func TestAnInstanceThatEndsDeregisters(t *testing.T) {
	for _, step := range []Step{StopOldWrites, Backfill, RemoveOld} {
		w := raisedTo(t, step, 0)
		synctest.Test(t, func(t *testing.T) {
			s := w.at(t, step)
			ctx, end := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			time.Sleep(5 * settled)
			if rs, err := w.new.Registrations(t.Context()); err != nil || len(rs) != 1 || rs[0].Step != int(step) {
				t.Errorf("step %d, while it runs: registrations %+v (%v)", step, rs, err)
			}
			end()
			must(t, <-done)
			if rs, err := w.new.Registrations(t.Context()); err != nil || len(rs) != 0 {
				t.Errorf("step %d, after its end: registrations %+v (%v)", step, rs, err)
			}
		})
	}
}
