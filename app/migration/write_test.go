package migration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

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
	if e := got[w.ids[0]].Body; e != "0;0;1;2;3;4;" {
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
	page, _, err := w.old.Scan(t.Context(), "", 10)
	must(t, err)
	got := page.Records
	if len(got) != 1 || got[0].Body != "0;w0;w1;w2;w3;w4;w5;w6;" {
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
		"list":  func() error { _, err := s.List(t.Context(), record.Filter{}, "", 10); return err },
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
