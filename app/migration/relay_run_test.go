package migration

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// leave puts another pending record into old, as a program that knows nothing
// of us does: nothing wakes the relay.
func (w *world) leave(t *testing.T, n int) {
	t.Helper()
	rec := copyOf(record.ID(fmt.Sprintf("left-%d", n)), 1, 1, "x")
	rec.Pending = true
	must(t, w.old.CompareAndSwap(t.Context(), 1, rec, store.Pair{}))
}

// refusingNew takes no copy while it refuses.
type refusingNew struct {
	newStore
	refuses atomic.Bool
	refused atomic.Int64 // how often
}

func (n *refusingNew) PutIfNewer(ctx context.Context, recs ...store.Record) error {
	if n.refuses.Load() {
		n.refused.Add(1)
		return errDown
	}
	return n.newStore.PutIfNewer(ctx, recs...)
}

// The relay looks now and then, and at once when it is woken; while new does
// not take what it sends, the back-off decides, and no write wakes it.
func TestTheRelayRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := raisedTo(t, WriteBoth, 0)
		n := &refusingNew{newStore: w.new}
		w.new = n
		s := w.at(t, WriteBoth)
		want := func(left int64, when string) {
			t.Helper()
			synctest.Wait()
			if got, _ := pending(t, w); got != left {
				t.Errorf("%s: %d are pending, want %d", when, got, left)
			}
		}
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.runRelay(ctx) }()
		synctest.Wait()
		w.leave(t, 1)
		time.Sleep(relayPoll - time.Millisecond)
		want(1, "before it looks")
		time.Sleep(time.Millisecond)
		want(0, "once it has looked")
		w.leave(t, 2)
		s.relay.nudge()
		want(0, "woken")
		time.Sleep(relayPoll / 2)
		n.refuses.Store(true)
		w.leave(t, 3)
		s.relay.nudge()
		want(1, "new does not take it")
		n.refuses.Store(false)
		s.relay.nudge()
		s.relay.nudge()
		want(1, "woken while it backs off")
		time.Sleep(100 * time.Millisecond)
		want(0, "after the first back-off")
		n.refuses.Store(true)
		w.leave(t, 4)
		s.relay.nudge()
		before := n.refused.Load()
		time.Sleep(time.Minute) // it backs off for longer and longer, up to 5 s and jitter
		synctest.Wait()
		if tries := n.refused.Load() - before; tries < 10 || tries > 60 {
			t.Errorf("it tried %d times in a minute", tries)
		}
		n.refuses.Store(false)
		time.Sleep(10 * time.Second)
		want(0, "after a long outage")
		w.leave(t, 5)
		s.relay.nudge()
		want(0, "woken after the outage")
		n.refuses.Store(true)
		w.leave(t, 6)
		s.relay.nudge()
		want(1, "another outage")
		n.refuses.Store(false)
		time.Sleep(100 * time.Millisecond)
		want(0, "after the first back-off of another outage")
		end()
		must(t, <-done)
	})
}

// An instance that can't get into place tries again; one that is in place sees
// a greater epoch and the completion mark.
func TestAnInstanceGetsIntoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := raisedTo(t, StopOldWrites, 0)
		f := &failAt{n: 1}
		f.between(w)
		s := w.unstarted(t, StopOldWrites)
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		if ready, reason, _ := s.Ready(t.Context()); ready || reason == "" {
			t.Errorf("ready %v (%s) before it is in place", ready, reason)
		}
		time.Sleep(5 * settlePoll)
		synctest.Wait()
		if fence, _, err := s.view(); err != nil || fence.Epoch != 2 || s.final(2) {
			t.Errorf("in place: %+v (%v), all is final: %v", fence, err, s.final(2))
		}
		if ready, reason, _ := s.Ready(t.Context()); !ready {
			t.Errorf("not ready in place: %s", reason)
		}
		must(t, w.new.RaiseMirror(t.Context(), store.Mirror{Migration: "m", Epoch: 4, Primary: store.PrimaryNew}))
		must(t, w.new.MarkComplete(t.Context(), 4))
		time.Sleep(settled)
		synctest.Wait()
		if fence, _, err := s.view(); err != nil || fence.Epoch != 4 || !s.final(4) {
			t.Errorf("later: %+v (%v), all is final: %v", fence, err, s.final(4))
		}
		end()
		must(t, <-done)
	})
}

// An instance at step 4 or 5 leaves the report of its compared reads by itself.
func TestReportsAreLeftInTime(t *testing.T) {
	for _, step := range []Step{ReadBoth, NewPrimary} {
		t.Run(step.Name(), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { reportsInTime(t, step) }) })
	}
}

func reportsInTime(t *testing.T, step Step) {
	t.Helper()
	w := raisedTo(t, ReadBoth, 1)
	must(t, w.appendTo(t.Context(), w.at(t, WriteBoth), w.ids[0], "x"))
	var reports []string
	w.new = reportedNew{w.new, &reports}
	s := w.at(t, step)
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	_, _, err := s.Get(t.Context(), w.ids[0])
	must(t, err)
	time.Sleep(3 * settled)
	synctest.Wait()
	if len(reports) == 0 || reports[0] != "epoch 1: 1 equal, 0 different" {
		t.Errorf("reported %q", reports)
	}
	end()
	must(t, <-done)
}
