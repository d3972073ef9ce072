package migration

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
)

// running runs an instance for as long as during lasts.
func running(t *testing.T, s *service, during func()) {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	synctest.Wait()
	during()
	select {
	case err := <-done:
		t.Fatalf("step %d ended by itself: %v", s.step, err)
	default:
	}
	end()
	must(t, <-done)
}

// An instance goes on until it is ended, relays at steps 3 to 5, and compares at 4
// and 5.
func TestWhatAnInstanceDoesBesideRequests(t *testing.T) {
	for step := DeployNew; step <= RemoveOld; step++ {
		w := raisedTo(t, NewPrimary, 1)
		must(t, w.appendTo(t.Context(), w.at(t, WriteBoth), w.ids[0], "x"))
		if step > NewPrimary {
			must(t, w.at(t, NewPrimary).Advance(t.Context()))
		}
		synctest.Test(t, func(t *testing.T) {
			s := w.at(t, step)
			running(t, s, func() {
				_, _, err := s.Get(t.Context(), w.ids[0])
				must(t, err)
				_, err = s.List(t.Context(), record.Filter{}, "", 1)
				must(t, err)
				if step <= NewPrimary {
					w.leave(t, 1)
				}
				time.Sleep(relayPoll)
				synctest.Wait()
				s.Status(t.Context())
			})
			if left, _ := pending(t, w); step <= NewPrimary && (left == 0) != (step >= WriteBoth) {
				t.Errorf("step %d: %d are pending", step, left)
			}
			want := int64(0)
			if step == ReadBoth || step == NewPrimary {
				want = 2
			}
			if c, _, _ := s.counted(); c[""].Equal != want {
				t.Errorf("step %d: %d compared, want %d", step, c[""].Equal, want)
			}
		})
	}
}

// An instance that has ended looks at no database any more.
func TestTheEndOfAnInstanceEndsItsLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o, _ := slowed(t, WriteBoth, WriteBoth)
		running(t, s, func() {
			o.fence = never
			s.watchOld.look()
		})
		if s.watchOld.underWay() != nil {
			t.Error("a look goes on")
		}
	})
}

// unpreparedNew does not answer what an instance asks it first.
type unpreparedNew struct{ newStore }

func (unpreparedNew) Prepare(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

func (unpreparedNew) Prepared(ctx context.Context) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

// While old is primary an instance waits for new at its start for a second, since it
// can serve without; while new is, for as long as its caller does.
func TestTheStartWaitsForThePrimary(t *testing.T) {
	for raised, want := range map[Step]time.Duration{ReadBoth: startWait, StopOldWrites: 4 * startWait} {
		w := raisedTo(t, raised, 0)
		w.new = unpreparedNew{w.new}
		synctest.Test(t, func(t *testing.T) {
			s := w.unstarted(t, ReadBoth)
			ctx, cancel := context.WithTimeout(t.Context(), 4*startWait)
			defer cancel()
			began := time.Now()
			if err := s.Start(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != want {
				t.Errorf("raised to %d: %v after %v, want %v", raised, err, time.Since(began), want)
			}
		})
	}
}

// What was in the way once is not told when something else is.
func TestWhatIsNoLongerInTheWay(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 0)
	f := &failAt{n: 1}
	f.between(w)
	s := w.unstarted(t, StopOldWrites)
	defer s.endWatches()
	if err := s.settle(t.Context()); err == nil {
		t.Fatal("it is in place although a call failed")
	} else if said, _ := readiness(t, s); !strings.HasSuffix(said, ": "+err.Error()) {
		t.Errorf("it says %s, want %v", said, err)
	}
	must(t, s.settle(t.Context()))
	must(t, w.new.RaiseMirror(t.Context(), store.Mirror{Migration: "m", Epoch: 3, Primary: store.PrimaryOld}))
	must(t, s.settle(t.Context()))
	if said, _ := readiness(t, s); !strings.HasPrefix(said, "false ") || !strings.HasSuffix(said, "primary old at epoch 3") {
		t.Errorf("it says %s", said)
	}
}

// An instance is made with the databases of its step, no more and no fewer.
func TestAnInstanceHasTheDatabasesOfItsStep(t *testing.T) {
	w := newWorld(t, 0)
	for step := DeployNew - 1; step <= RemoveOld+1; step++ {
		for _, c := range []struct{ old, new bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
			cfg := Config{Step: step}
			if c.old {
				cfg.Old = w.old
			}
			if c.new {
				cfg.New = w.new
			}
			s, err := New(cfg)
			right := step.Valid() && c.old == step.HasOld() && c.new == step.HasNew()
			if (err == nil) != right || (s != nil) != right {
				t.Errorf("step %d, %+v: %v", step, c, err)
			}
			if !step.Valid() && (err == nil || !strings.Contains(err.Error(), "there is no step")) {
				t.Errorf("step %d: %v", step, err)
			}
		}
	}
}

// A try that must start again does so at once twice, since a neighbour was only
// faster; then after pauses that grow. It gives up when these come to more than
// patience, by whichever clock.
func TestTriesStartAgain(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name     string
		patience time.Duration
		again    int // how many tries must start again
		tick     time.Duration
		left     error // of the first pause
		tries    int
		pauses   []time.Duration
		want     string
	}{
		{"a neighbour was faster", time.Second, 2, 0, nil, 3, nil, ""},
		{"some neighbours were", time.Second, 5, 0, nil, 6, []time.Duration{2 * ms, 3 * ms, 4 * ms}, ""},
		{"the pauses come to just as much", 9 * ms, 5, 0, nil, 6, []time.Duration{2 * ms, 3 * ms, 4 * ms}, ""},
		{"the pauses come to more", 9 * ms, 99, 0, nil, 6, []time.Duration{2 * ms, 3 * ms, 4 * ms}, "gave up after 6 tries, nothing was written"},
		{"the tries take time", 9 * ms, 99, 3 * ms, nil, 4, []time.Duration{2 * ms}, "gave up after 4 tries, nothing was written"},
		{"the client leaves", time.Second, 99, 0, context.Canceled, 3, []time.Duration{2 * ms}, "given up after 3 tries, nothing was written"},
	} {
		w := raisedTo(t, DeployNew, 0)
		now := time.Unix(1_000_000, 0)
		var pauses []time.Duration
		s, err := New(Config{Step: DeployNew, Old: w.old, Patience: c.patience, Now: func() time.Time { return now },
			Pause: func(_ context.Context, d time.Duration) error { pauses = append(pauses, d); return c.left }})
		must(t, err)
		tries := 0
		err = s.persist(t.Context(), func(context.Context) error {
			now = now.Add(c.tick)
			if tries++; tries <= c.again {
				return again(store.ErrConflict)
			}
			return nil
		})
		if tries != c.tries || len(pauses) != len(c.pauses) {
			t.Errorf("%s: %d tries, pauses %v; want %d, %v", c.name, tries, pauses, c.tries, c.pauses)
		}
		for i := range min(len(pauses), len(c.pauses)) {
			if pauses[i] != c.pauses[i] {
				t.Errorf("%s: pauses %v, want %v", c.name, pauses, c.pauses)
			}
		}
		if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// An instance waits two seconds for a write that does not end; its registration stays
// then, since it vouches for that write.
func TestTheEndDoesNotWaitForAWriteForEver(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 0)
	synctest.Test(t, func(t *testing.T) {
		s := w.at(t, StopOldWrites)
		s.commits.begin()
		began := time.Now()
		running(t, s, func() { began = time.Now() })
		if took := time.Since(began); took != endWait {
			t.Errorf("it waited for %v, want %v", took, endWait)
		}
		if rs, err := w.new.Registrations(t.Context()); err != nil || len(rs) != 1 {
			t.Errorf("registrations %+v (%v)", rs, err)
		}
	})
}

// An instance whose step has no place under the present primary does not start, and
// one above step 5 lists nothing from an old database of another migration.
func TestInstancesOutOfPlace(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 1)
	for _, step := range []Step{DeployNew, AddDAO, WriteBoth} {
		if err := w.unstarted(t, step).Start(t.Context()); !errors.Is(err, ErrRefused) {
			t.Errorf("step %d under new: %v", step, err)
		}
	}
	s := w.at(t, StopOldWrites)
	s.old = memory.NewOld("another")
	if page, err := s.List(t.Context(), record.Filter{}, "", 10); !errors.Is(err, store.ErrStranger) {
		t.Errorf("another's old database: %+v, %v", page, err)
	}
}
