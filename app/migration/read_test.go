package migration

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// slowNew answers reads when the caller gives up.
type slowNew struct {
	newStore
	asked int
}

func (n *slowNew) Get(ctx context.Context, _ ...record.ID) (map[record.ID]store.Record, error) {
	n.asked++
	<-ctx.Done()
	return nil, store.ErrUnavailable
}

// While old is primary, new's copies only serve comparison, and no read waits
// for one. After a comparison that failed none is tried until the relay has
// found new well again.
func TestReadsUnderOldDoNotWaitForNew(t *testing.T) {
	w := raisedTo(t, ReadBoth, 1)
	slow := &slowNew{newStore: w.new}
	w.new = slow
	s := w.at(t, ReadBoth)
	synctest.Test(t, func(t *testing.T) {
		read := func() {
			t.Helper()
			began := time.Now()
			rec, found, err := s.Get(t.Context(), w.ids[0])
			if err != nil || !found || rec.Body != "0;" {
				t.Errorf("%+v, %v, %v", rec, found, err)
			}
			if took := time.Since(began); took != 0 {
				t.Errorf("the read waited %v", took)
			}
		}
		for range 3 {
			read()
		}
		began := time.Now()
		s.compareQueued(t.Context())
		if took := time.Since(began); took != s.cfg.Budget || slow.asked != 1 {
			t.Errorf("three comparisons took %v, new was asked %d times; want %v, 1", took, slow.asked, s.cfg.Budget)
		}
		time.Sleep(time.Hour)
		read()
		s.compareQueued(t.Context())
		if slow.asked != 1 {
			t.Errorf("new was asked %d times, want 1", slow.asked)
		}
		must(t, s.relayPass(t.Context()))
		read()
		s.compareQueued(t.Context())
		if slow.asked != 2 {
			t.Errorf("once new is well, it was asked %d times, want 2", slow.asked)
		}
	})
	if got := s.compared.counts[""]; got.Errors != 5 || got.Equal != 0 {
		t.Errorf("counted %+v", got)
	}
}

// hangingNew takes writes and answers when the caller gives up.
type hangingNew struct {
	newStore
	hangs bool
	asked atomic.Int64
}

func (n *hangingNew) PutIfNewer(ctx context.Context, recs ...store.Record) error {
	if n.asked.Add(1); !n.hangs {
		return n.newStore.PutIfNewer(ctx, recs...)
	}
	<-ctx.Done()
	return store.ErrUnknown
}

// A write under old waits for new no longer than the budget, those that come
// while it waits don't join it, and after that none waits until the relay has
// found new well again.
func TestWritesUnderOldDoNotWaitForNew(t *testing.T) {
	w := raisedTo(t, ReadBoth, 1)
	hanging := &hangingNew{newStore: w.new, hangs: true}
	w.new = hanging
	s := w.at(t, ReadBoth)
	synctest.Test(t, func(t *testing.T) {
		defer s.endWatches()
		write := func(entry string, want time.Duration, tries int64) {
			t.Helper()
			began := time.Now()
			must(t, w.appendTo(t.Context(), s, w.ids[0], entry))
			if took := time.Since(began); took != want || hanging.asked.Load() != tries {
				t.Errorf("%s took %v, new was asked %d times; want %v, %d", entry, took, hanging.asked.Load(), want, tries)
			}
		}
		first := make(chan struct{})
		go func() { write("w0", s.cfg.Budget, 1); close(first) }()
		time.Sleep(slowCall)
		write("w1", 0, 1)
		<-first
		time.Sleep(time.Hour)
		write("w2", 0, 1)
		hanging.hangs = false
		must(t, s.relayPass(t.Context()))
		write("w3", 0, 3)
	})
	if old, _ := pending(t, w); old != 0 {
		t.Errorf("%d are still pending", old)
	}
}

// A client that goes away says nothing of the database's health.
func TestClientsThatLeaveDoNotOpenTheBreaker(t *testing.T) {
	w := raisedTo(t, ReadBoth, 1)
	slow := &slowNew{newStore: w.new}
	w.new = slow
	s := w.at(t, ReadBoth)
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _, _ = s.Get(ctx, w.ids[0])
		s.compareQueued(ctx)
	}
	if !s.newBreaker.well() {
		t.Error("it has opened")
	}
}

// An instance that has not yet seen who is primary must not answer with old's copy
// under new, and one that saw new as primary before not with new's copy under old.
func TestReadsFollowThePrimary(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 0)
	w.put(t, store.PrimaryOld, copyOf("a", 1, 1, "old"))
	w.put(t, store.PrimaryNew, copyOf("a", 2, 2, "new"))
	s := w.unstarted(t, ReadBoth)
	if got := entries(t, s, "a"); got != "new" {
		t.Errorf("under new: %q", got)
	}
	five := w.at(t, NewPrimary)
	_, err := ReturnPrimary(t.Context(), w.old, w.new, quickReturn())
	must(t, err)
	must(t, w.appendTo(t.Context(), w.at(t, WriteBoth), "a", "+"))
	want := entries(t, w.at(t, WriteBoth), "a")
	w.put(t, store.PrimaryNew, copyOf("a", 9, 2, "late")) // a command of unknown outcome
	listing := w.at(t, ReadBoth)
	listing.wasNew.Store(true) // as it was when new was primary
	for _, s := range []*service{s, listing} {
		if page, err := s.List(t.Context(), record.Filter{}, "", 10); err != nil || len(page.Records) != 1 || page.Records[0].Body != record.Body(want) {
			t.Errorf("under old: %+v, %v, want %q", page, err, want)
		}
	}
	s.wasNew.Store(true)
	if got := entries(t, s, "a"); got != want {
		t.Errorf("under old: %q, want %q", got, want)
	}
	five.wasNew.Store(true)
	if rec, _, err := five.Get(t.Context(), "a"); !errors.Is(err, ErrRefused) {
		t.Errorf("step 5, whose time is over, reads %+v, %v", rec, err)
	}
	if err := w.appendTo(t.Context(), five, "a", "late"); !errors.Is(err, ErrRefused) {
		t.Errorf("step 5, whose time is over, writes: %v", err)
	}
	five.wasNew.Store(true)
	if page, err := five.List(t.Context(), record.Filter{}, "", 10); !errors.Is(err, ErrRefused) {
		t.Errorf("step 5, whose time is over, lists %+v, %v", page, err)
	}
}

// An instance above step 5 answers nothing before it is registered.
func TestNothingIsReadBeforeTheRegistration(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 0)
	w.put(t, store.PrimaryNew, copyOf("a", 2, 2, "new"))
	for _, step := range []Step{StopOldWrites, Backfill, RemoveOld} {
		s := w.unstarted(t, step)
		if rec, _, err := s.Get(t.Context(), "a"); !errors.Is(err, ErrRefused) {
			t.Errorf("step %d reads %+v, %v", step, rec, err)
		}
		if page, err := s.List(t.Context(), record.Filter{}, "", 10); !errors.Is(err, ErrRefused) {
			t.Errorf("step %d lists %+v, %v", step, page, err)
		}
	}
}
