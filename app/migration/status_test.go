package migration

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"migrate/app/store"
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
	s, err := New(Config[journal, any_]{Step: StopOldWrites, Old: w.old, New: w.new, Migration: "another"})
	must(t, err)
	if err := s.Start(t.Context()); err != nil && !errors.Is(err, store.ErrStranger) {
		t.Fatal(err)
	}
	if err := s.adopt(t.Context()); !errors.Is(err, store.ErrStranger) || len(calls) > 0 {
		t.Errorf("%v after %q; want ErrStranger before any call", err, calls)
	}
}
