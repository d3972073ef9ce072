package migration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
)

// lateOld and lateNew answer the questions about an instance late, or never.
type lateOld struct {
	oldStore
	fence, lock, guard time.Duration
	count              time.Duration
	locked             error
	locks              atomic.Int64 // how often it was asked whether a write can begin
}

func (o *lateOld) Fence(ctx context.Context) (store.Fence, error) {
	if err := pause(ctx, o.fence); err != nil {
		return store.Fence{}, err
	}
	return o.oldStore.Fence(ctx)
}

func (o *lateOld) Writable(ctx context.Context) error {
	o.locks.Add(1)
	return errors.Join(pause(ctx, o.lock), o.locked)
}

func (o *lateOld) Guarded(ctx context.Context) error { return pause(ctx, o.guard) }

func (o *lateOld) CountPending(ctx context.Context) (int64, error) {
	if err := pause(ctx, o.count); err != nil {
		return 0, err
	}
	return o.oldStore.CountPending(ctx)
}

type lateLooks struct {
	newStore
	prepared, progress time.Duration
}

func (n *lateLooks) Look() store.NewLook { return n }

func (n *lateLooks) Prepared(ctx context.Context) (string, error) {
	if err := pause(ctx, n.prepared); err != nil {
		return "", err
	}
	return n.newStore.Prepared(ctx)
}

func (n *lateLooks) Progress(ctx context.Context, epoch int64) (store.Progress, error) {
	if err := pause(ctx, n.progress); err != nil {
		return store.Progress{}, err
	}
	return n.newStore.Progress(ctx, epoch)
}

// slowed returns an instance whose databases can be made late.
func slowed(t *testing.T, raised, step Step) (*service, *lateOld, *lateLooks) {
	t.Helper()
	w := raisedTo(t, raised, 1)
	s := w.at(t, step)
	o, n := &lateOld{oldStore: w.old}, &lateLooks{newStore: w.new}
	if s.old != nil {
		s.old = o
	}
	if s.new != nil {
		s.new = n
	}
	return s, o, n
}

const never = time.Hour

// readiness is what an instance says, and how long it took to say it.
func readiness(t *testing.T, s *service) (said string, took time.Duration) {
	t.Helper()
	began := time.Now()
	ready, reason, degraded := s.Ready(t.Context())
	if ready && reason != "" || !ready && degraded != "" {
		t.Errorf("ready %v, for the reason %q, degraded %q", ready, reason, degraded)
	}
	return fmt.Sprint(ready, " ", reason, degraded), time.Since(began)
}

// Readiness waits for the primary, and hardly for the other database.
func TestReadinessWaitsForThePrimary(t *testing.T) {
	for _, c := range []struct {
		name         string
		raised, step Step
		old, new     time.Duration // how late they are
		first        string        // what the instance says when it is asked at first
		within       time.Duration
		later        string // and ten seconds later
		laterWithin  time.Duration
	}{
		{"all is well", ReadBoth, ReadBoth, 0, 0, "true ", 0, "true ", 0},
		{"both are slow, and asked at the same time", ReadBoth, ReadBoth, 400 * time.Millisecond, 600 * time.Millisecond, "true ", 600 * time.Millisecond, "true ", 400*time.Millisecond + otherPatience},
		{"old hangs", ReadBoth, ReadBoth, never, 0, "false old database: database unavailable: it has not answered yet", primaryPatience, "false old database: database unavailable: no answer for 1.5 s", primaryPatience},
		{"new hangs under old", ReadBoth, ReadBoth, 0, never, "true new database: database unavailable: it has not answered yet", firstPatience, "true new database: context deadline exceeded", ailingPatience},
		{"new hangs under new", StopOldWrites, NewPrimary, 0, never, "false new database: database unavailable: it has not answered yet", primaryPatience, "false new database: database unavailable: no answer for 1.5 s", primaryPatience},
		{"new hangs, which step 1 does not have", DeployNew, DeployNew, 0, never, "true ", 0, "true ", 0},
		{"old hangs at step 6", StopOldWrites, StopOldWrites, never, 0, "true old database: database unavailable: it has not answered yet", firstPatience, "true old database: context deadline exceeded", ailingPatience},
		{"new hangs at step 6", StopOldWrites, StopOldWrites, 0, never, "false new database: database unavailable: it has not answered yet", primaryPatience, "false new database: database unavailable: no answer for 1.5 s", primaryPatience},
		{"new is slow at step 8", RemoveOld, RemoveOld, never, time.Second, "true ", time.Second, "true ", time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, o, n := slowed(t, c.raised, c.step)
				defer s.endWatches()
				o.fence, n.prepared = c.old, c.new
				if said, took := readiness(t, s); said != c.first || took != c.within {
					t.Errorf("at first after %v: %s", took, said)
				}
				time.Sleep(10 * time.Second)
				if said, took := readiness(t, s); said != c.later || took != c.laterWithin {
					t.Errorf("later after %v: %s", took, said)
				}
			})
		})
	}
}

// A database that has answered and then hangs counts as one that does not answer
// after a while: the primary sooner than the other one, if that has been slow.
func TestReadinessOfADatabaseThatStops(t *testing.T) {
	for _, c := range []struct {
		name         string
		raised, step Step
		stop         func(o *lateOld, n *lateLooks)
		notYet, then time.Duration
		want         string
	}{
		{"new under old", ReadBoth, ReadBoth, func(_ *lateOld, n *lateLooks) { n.prepared = never }, 1900 * time.Millisecond, 2600 * time.Millisecond, "true new database: database unavailable: no answer for"},
		{"new under new", StopOldWrites, NewPrimary, func(_ *lateOld, n *lateLooks) { n.prepared = never }, 0, lately - time.Second - away - primaryPatience - 1, "true new database: database unavailable: no answer for"},
		{"new under new, for long", StopOldWrites, NewPrimary, func(_ *lateOld, n *lateLooks) { n.prepared = never }, 0, lately, "false new database: database unavailable: no answer for"},
		{"new at step 6", StopOldWrites, StopOldWrites, func(_ *lateOld, n *lateLooks) { n.prepared = never }, 0, time.Second, "true new database: database unavailable: no answer for"},
		{"old under old", ReadBoth, ReadBoth, func(o *lateOld, _ *lateLooks) { o.fence = never }, 0, time.Second, "true old database: database unavailable: no answer for"},
		{"old under old, for long", ReadBoth, ReadBoth, func(o *lateOld, _ *lateLooks) { o.fence = never }, 0, lately, "false old database: database unavailable: no answer for"},
		{"old at step 6", StopOldWrites, StopOldWrites, func(o *lateOld, _ *lateLooks) { o.fence = never }, 4 * time.Second, 6 * time.Second, "true old database: context deadline exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, o, n := slowed(t, c.raised, c.step)
				defer s.endWatches()
				o.fence, n.prepared = away, away // slow, but well
				if said, _ := readiness(t, s); said != "true " {
					t.Errorf("slow: %s", said)
				}
				time.Sleep(time.Second)
				began := time.Now()
				c.stop(o, n)
				if c.notYet > 0 {
					s.Ready(t.Context())
					time.Sleep(time.Until(began.Add(c.notYet)))
					if said, _ := readiness(t, s); said != "true " {
						t.Errorf("%v after it has stopped: %s", c.notYet, said)
					}
				}
				time.Sleep(time.Until(began.Add(c.then)))
				if said, _ := readiness(t, s); !strings.HasPrefix(said, c.want) {
					t.Errorf("%v after it has stopped: %s, want %s", c.then, said, c.want)
				}
			})
		})
	}
}

// What the requests have found out about new counts as well, under old.
func TestReadinessTellsOfFailedCopies(t *testing.T) {
	for raised, want := range map[Step]string{ReadBoth: "true new database: nothing that was sent to it", StopOldWrites: "true "} {
		s, _, _ := slowed(t, raised, ReadBoth)
		s.newBreaker.failed(errDown)
		if said, _ := readiness(t, s); !strings.HasPrefix(said, want) || want == "true " && said != want {
			t.Errorf("raised to %d: %s, want %s", raised, said, want)
		}
		s.endWatches()
	}
}

// An instance above step 5 that is not in place says why.
func TestReadinessTellsWhatIsInTheWay(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 0)
	s := w.unstarted(t, StopOldWrites)
	defer s.endWatches()
	if said, _ := readiness(t, s); !strings.HasPrefix(said, "false ") || !strings.HasSuffix(said, "has not yet registered and read the mirror") {
		t.Errorf("before it has tried: %s", said)
	}
	s = w.unstarted(t, StopOldWrites)
	defer s.endWatches()
	s.new = deafNew{s.new}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := s.Start(ctx); err == nil {
		t.Fatal("it is in place without a new database")
	}
	if said, _ := readiness(t, s); !strings.HasSuffix(said, "read the mirror: "+context.DeadlineExceeded.Error()) {
		t.Errorf("once it has tried: %s", said)
	}
}

// New's database may turn out to be another migration's: no step is ready with it,
// not even those that could serve without it.
func TestStrangersAreNotReady(t *testing.T) {
	for _, step := range []Step{AddDAO, ReadBoth, NewPrimary} {
		w := newWorld(t, 0)
		must(t, w.new.Prepare(t.Context(), "another"))
		s := w.unstarted(t, step)
		if said, _ := readiness(t, s); !strings.HasPrefix(said, "false new database") || !strings.Contains(said, `found "another"`) {
			t.Errorf("step %d: %s", step, said)
		}
		s.endWatches()
		w = raisedTo(t, StopOldWrites, 0)
		w.new = memory.NewNew()
		must(t, w.new.Prepare(t.Context(), "another"))
		s = w.unstarted(t, step)
		if said, _ := readiness(t, s); step >= ReadBoth && (!strings.HasPrefix(said, "false new database") || !strings.Contains(said, `found "another"`)) {
			t.Errorf("step %d, under new: %s", step, said)
		}
		s.endWatches()
	}
}

// A primary that answered well lately is late when it lets the next answer wait; after
// that, or once it has failed, it is in trouble.
func TestAPrimaryThatIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		for _, c := range []struct {
			name          string
			f             sight[int]
			late, trouble bool
		}{
			{"it answers", sight[int]{at: time.Now()}, false, false},
			{"it lets wait", sight[int]{at: time.Now().Add(1 - lately), overdue: away + 1}, true, false},
			{"it lets wait for long", sight[int]{at: time.Now().Add(-lately), overdue: away + 1}, false, true},
			{"it has failed", sight[int]{at: time.Now(), err: errDown}, false, true},
			{"it has failed and lets wait", sight[int]{at: time.Now(), err: errDown, overdue: away + 1}, false, true},
			{"it has never answered", sight[int]{overdue: away + 1}, false, true},
		} {
			if late, trouble := c.f.ofPrimary(); (late != nil) != c.late || (trouble != nil) != c.trouble {
				t.Errorf("%s: late %v, trouble %v", c.name, late, trouble)
			}
		}
	})
}

// A look at new asks both of its questions at the same time, and fails if either
// does.
func TestALookAtNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, n := slowed(t, ReadBoth, ReadBoth)
		n.prepared, n.progress = time.Second, 2*time.Second
		began := time.Now()
		v, err := s.lookAtNew(t.Context())
		if err != nil || v.migration != "m" || v.epoch != 1 || time.Since(began) != 2*time.Second {
			t.Errorf("%+v (%v) after %v", v, err, time.Since(began))
		}
		n.progress = 10 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := s.lookAtNew(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without an answer to one question: %v", err)
		}
	})
}

// An instance that could not prepare new at its start sends it copies at once when
// readiness has seen that it is the right one.
func TestReadinessFindsTheRightDatabase(t *testing.T) {
	w := raisedTo(t, WriteBoth, 1)
	s := w.unstarted(t, WriteBoth)
	defer s.endWatches()
	if said, _ := readiness(t, s); said != "true " {
		t.Errorf("it says %s", said)
	}
	must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
	if recs, err := w.new.Get(t.Context(), w.ids[0]); err != nil || recs[w.ids[0]].Body != "0;x;" {
		t.Errorf("new has %+v (%v)", recs, err)
	}
}

// An instance above step 5 asks for the progress of the epoch that it adopted last.
func TestTheEpochThatWasAdopted(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 0)
	s := w.at(t, StopOldWrites)
	if _, _, err := s.view(); err != nil {
		t.Fatal(err)
	}
	must(t, w.new.RaiseMirror(t.Context(), store.Mirror{Migration: "m", Epoch: 4, Primary: store.PrimaryNew}))
	must(t, s.adopt(t.Context()))
	if e := s.epoch(); e != 4 {
		t.Errorf("epoch %d, want 4", e)
	}
}

// Nothing asks a database any more once an instance has ended.
func TestNoLookOutlivesItsInstance(t *testing.T) {
	for _, look := range []func(s *service, late func(context.Context) error){
		func(s *service, late func(context.Context) error) {
			s.watchOld.ask = func(ctx context.Context) (oldView, error) { return oldView{}, late(ctx) }
			s.watchOld.look()
		},
		func(s *service, late func(context.Context) error) {
			s.watchLock.ask = func(ctx context.Context) (struct{}, error) { return struct{}{}, late(ctx) }
			s.watchLock.look()
		},
		func(s *service, late func(context.Context) error) {
			s.watchNew.ask = func(ctx context.Context) (newView, error) { return newView{}, late(ctx) }
			s.watchNew.look()
		},
		func(s *service, late func(context.Context) error) {
			s.watchBacklog.ask = func(ctx context.Context) (backlogView, error) { return backlogView{}, late(ctx) }
			s.watchBacklog.look()
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, _, _ := slowed(t, ReadBoth, ReadBoth)
			left := false
			look(s, func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Second) // a driver that lets go late
				left = true
				return ctx.Err()
			})
			if s.endWatches(); !left {
				t.Error("a look goes on")
			}
		})
	}
}
