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

// unansweringNew takes no copy: it does not answer until the caller gives up.
type unansweringNew struct{ deafNew }

func (n unansweringNew) Look() store.NewLook { return n }

func (unansweringNew) PutIfNewer(ctx context.Context, _ ...store.Record) error {
	<-ctx.Done()
	return fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
}

// unansweringOld answers reads, and takes no write.
type unansweringOld struct{ oldStore }

func (unansweringOld) Writable(ctx context.Context) error { return pause(ctx, never) }

func (unansweringOld) PutIfNewer(ctx context.Context, _ int64, _ ...store.Record) error {
	return fmt.Errorf("%w: %w", store.ErrUnavailable, pause(ctx, never))
}

// A flush gives up soon once the database that is not the primary is known not to
// answer, and says which one is meant. What is pending stays so.
func TestAFlushGivesUpOnADatabaseThatHangs(t *testing.T) {
	for _, raised := range []Step{ReadBoth, StopOldWrites} {
		w := raisedTo(t, WriteBoth, 0)
		w.leave(t, 1)
		if raised > NewPrimary {
			must(t, w.at(t, NewPrimary).Advance(t.Context()))
			rec := copyOf("a", 1, 2, "x")
			rec.Pending = true
			must(t, w.new.CompareAndSwap(t.Context(), rec, store.Pair{}))
		}
		synctest.Test(t, func(t *testing.T) {
			s := w.at(t, ReadBoth)
			defer s.endWatches()
			s.Ready(t.Context())
			before, beforeNew := pending(t, w)
			if raised > NewPrimary {
				s.old = meteredOld{unansweringOld{w.old}, s.meter}
				s.Ready(t.Context()) // sees that new is primary
			} else {
				s.new = meteredNew{unansweringNew{deafNew{w.new}}, s.meter}
			}
			began := time.Now()
			err := s.Flush(t.Context())
			took := time.Since(began)
			if !errors.Is(err, ErrAway) || !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "answer") {
				t.Errorf("raised to %d: %v, want ErrAway", raised, err)
			}
			if took < away || took > 3*away {
				t.Errorf("raised to %d: it gave up after %v", raised, took)
			}
			if after, afterNew := pending(t, w); after != before || afterNew != beforeNew {
				t.Errorf("raised to %d: %d and %d were pending, now %d and %d", raised, before, beforeNew, after, afterNew)
			}
		})
	}
}

// A flush waits for as long as the other database answers at all, and its own error
// counts where that one answers.
func TestAFlushWaitsForADatabaseThatIsSlow(t *testing.T) {
	w := raisedTo(t, ReadBoth, 0)
	synctest.Test(t, func(t *testing.T) {
		s := w.at(t, ReadBoth)
		defer s.endWatches()
		began := time.Now()
		must(t, s.unlessAway(t.Context(), func(ctx context.Context) error { return pause(ctx, 10*away) }))
		if took := time.Since(began); took != 10*away {
			t.Errorf("it took %v", took)
		}
		if err := s.unlessAway(t.Context(), func(ctx context.Context) error {
			return errors.Join(pause(ctx, 3*away), store.ErrFenceMoved)
		}); !errors.Is(err, store.ErrFenceMoved) || errors.Is(err, ErrAway) {
			t.Errorf("an error of its own: %v", err)
		}
		s = w.at(t, ReadBoth)
		defer s.endWatches()
		s.new = meteredNew{unansweringNew{deafNew{w.new}}, s.meter}
		if err := s.unlessAway(t.Context(), func(ctx context.Context) error { <-ctx.Done(); return nil }); err != nil {
			t.Errorf("what succeeds all the same: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), away/20)
		defer cancel()
		if err := s.unlessAway(ctx, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrAway) {
			t.Errorf("a caller that gives up first: %v", err)
		}
	})
}

// A flush also leaves the report of what was compared; at steps that send nothing
// on there is nothing to do.
func TestAFlushLeavesTheReport(t *testing.T) {
	w := raisedTo(t, ReadBoth, 1)
	var reports []string
	w.new = reportedNew{w.new, &reports}
	s := w.at(t, ReadBoth)
	defer s.endWatches()
	must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
	_, _, err := s.Get(t.Context(), w.ids[0])
	must(t, err)
	s.compareQueued(t.Context())
	must(t, s.Flush(t.Context()))
	if len(reports) != 1 || reports[0] != "epoch 1: 1 equal, 0 different" {
		t.Errorf("reported %q", reports)
	}
	for _, step := range []Step{DeployNew, AddDAO, StopOldWrites, Backfill, RemoveOld} {
		w := raisedTo(t, step, 0)
		s := w.at(t, step)
		o, _ := w.faulty()
		o.fence = errDown
		if s.old != nil {
			s.old = w.old
		}
		if err := s.Flush(t.Context()); err != nil {
			t.Errorf("step %d: %v", step, err)
		}
	}
}

// Each call counts for the database that it went to. A refusal is an answer, but
// does not show that calls succeed.
func TestCallsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		m := newMeter(func(db store.Primary, op string, took time.Duration, err error) {
			seen = append(seen, fmt.Sprint(db, " ", op, " ", took, " ", err))
		})
		time.Sleep(time.Hour)
		began := time.Now()
		time.Sleep(20 * time.Millisecond)
		m.note(store.PrimaryNew, "get", began, nil)
		m.note(store.PrimaryOld, "list", began, nil)
		time.Sleep(time.Second)
		for _, err := range []error{store.ErrConflict, store.ErrUnknown, store.ErrUnavailable, context.Canceled} {
			m.note(store.PrimaryNew, "put", time.Now(), err)
		}
		time.Sleep(time.Second)
		m.note(store.PrimaryOld, "put", time.Now(), nil)
		if st := m.new.status(store.PrimaryNew); st.Store != store.PrimaryNew || st.Calls != 5 || st.Errors != 2 || st.P50 != 1 || st.P99 < 19_000 || st.P99 > 21_000 {
			t.Errorf("new: %+v", st)
		}
		if st := m.old.status(store.PrimaryOld); st.Calls != 2 || st.Errors != 0 {
			t.Errorf("old: %+v", st)
		}
		m.new.silence()
		if n, o := m.new.silence(), m.old.silence(); n != 2*time.Second || o != 0 {
			t.Errorf("new has been silent for %v, old for %v", n, o)
		}
		m.note(store.PrimaryOld, "list", time.Now().Add(-2*time.Minute), nil) // longer than what is recorded
		if st := m.old.status(store.PrimaryOld); st.Calls != 3 || st.P99 > 21_000 {
			t.Errorf("old, after a call of two minutes: %+v", st)
		}
		if len(seen) != 8 || seen[0] != "new get 20ms <nil>" {
			t.Errorf("observed %q", seen)
		}
		newMeter(nil).note(store.PrimaryOld, "get", time.Now(), nil) // nobody observes
	})
}

// Every call of a request is observed, with its database, its name and its error.
func TestEachCallIsObserved(t *testing.T) {
	w := raisedTo(t, ReadBoth, 1)
	o, n := w.faulty()
	seen := map[string]error{}
	s, err := New(Config{Step: ReadBoth, Old: w.old, New: w.new, Observe: func(db store.Primary, op string, _ time.Duration, err error) {
		seen[fmt.Sprint(db, " ", op)] = err
	}})
	must(t, err)
	rec := copyOf("a", 1, 1, "x")
	for _, down := range []error{nil, errDown} {
		o.get, o.put, n.get, n.put = down, down, down, down
		clear(seen)
		_, _, oerr := s.old.Get(t.Context(), "a")
		_, nerr := s.new.Get(t.Context(), "a")
		operr, nperr := s.old.PutIfNewer(t.Context(), 1, rec), s.new.PutIfNewer(t.Context(), rec)
		_, _, olerr := s.old.List(t.Context(), record.Filter{}, "", 1)
		_, nlerr := s.new.List(t.Context(), record.Filter{}, "", 1)
		rec.ID += "b"
		want := map[string]error{
			"old get": oerr, "new get": nerr, "old put_if_newer": operr, "new put_if_newer": nperr, "old list": olerr, "new list": nlerr,
			"old compare_and_swap": s.old.CompareAndSwap(t.Context(), 9, rec, store.Pair{}),
			"new compare_and_swap": s.new.CompareAndSwap(t.Context(), rec, store.Pair{Rev: 9}),
		}
		if fmt.Sprint(seen) != fmt.Sprint(want) {
			t.Errorf("observed %v, want %v", seen, want)
		}
		if !errors.Is(want["old get"], down) || want["old compare_and_swap"] == nil || want["new compare_and_swap"] == nil {
			t.Errorf("the calls say %v", want)
		}
	}
}
