package migration

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"migrate/app/store"
)

// slowNew answers reads when the caller gives up.
type slowNew struct {
	newStore
	asked int
}

func (n *slowNew) Get(ctx context.Context, _ ...string) (map[string]store.Record[journal], error) {
	n.asked++
	<-ctx.Done()
	return nil, store.ErrUnavailable
}

// While old is primary, new's answers only serve comparison: a read waits for
// it no longer than the budget, and not at all once it has failed three times,
// but for one try each half second.
func TestReadsUnderOldDoNotWaitForNew(t *testing.T) {
	w := raisedTo(t, ReadBoth, 1)
	slow := &slowNew{newStore: w.new}
	w.new = slow
	s := w.at(t, ReadBoth)
	synctest.Test(t, func(t *testing.T) {
		for n, c := range []struct {
			took  time.Duration
			asked int
		}{{s.cfg.Budget, 1}, {s.cfg.Budget, 2}, {s.cfg.Budget, 3}, {0, 3}, {0, 3}} {
			began := time.Now()
			rec, found, err := s.Get(t.Context(), w.ids[0])
			if err != nil || !found || rec.Body.Entries != "0;" {
				t.Errorf("read %d: %+v, %v, %v", n, rec, found, err)
			}
			if took := time.Since(began); took != c.took || slow.asked != c.asked {
				t.Errorf("read %d took %v, new was asked %d times; want %v, %d", n, took, slow.asked, c.took, c.asked)
			}
		}
		time.Sleep(breakerPause)
		for range 2 {
			_, _, err := s.Get(t.Context(), w.ids[0])
			must(t, err)
		}
		if slow.asked != 4 {
			t.Errorf("half a second later new was asked %d times, want one more", slow.asked)
		}
	})
	if got := s.compared.counts; got.Errors != 7 || got.Equal != 0 {
		t.Errorf("counted %+v", got)
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
	}
	if !s.newBreaker.closed() {
		t.Error("it has opened")
	}
}
