package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// deed is something that is done with both databases, and the calls whose
// failure it may pass over, since something else makes good for it.
type deed struct {
	name     string
	from     Step // the world is raised to it
	prepare  func(t *testing.T, w *world)
	do       func(ctx context.Context, w *world, s *service) error
	at       Step // of the instance that does it; 0: a tool does
	fresh    bool // the instance has not looked for its place
	tolerate string
}

// mixed leaves records of all kinds: in old alone, in both, newer in either,
// and a tombstone of each.
func mixed(t *testing.T, w *world) {
	w.put(t, store.PrimaryOld, copyOf("a-old", 1, 1, "x"))
	w.put(t, store.PrimaryOld, copyOf("b-both", 1, 1, "x"))
	w.put(t, store.PrimaryNew, copyOf("b-both", 1, 1, "x"))
	w.put(t, store.PrimaryOld, copyOf("c-newer", 2, 1, "y"))
	w.put(t, store.PrimaryNew, copyOf("c-newer", 1, 1, "x"))
	w.put(t, store.PrimaryOld, copyOf("d-gone", 2, 1, ""))
	w.put(t, store.PrimaryNew, copyOf("d-gone", 1, 1, "x"))
	if f := fenceOf(t, w); f.Primary == store.PrimaryNew {
		w.put(t, store.PrimaryNew, copyOf("e-new", 1, f.Epoch, "x"))
	}
}

// waiting leaves a record pending in the primary.
func waiting(t *testing.T, w *world) {
	f := fenceOf(t, w)
	rec := copyOf("w-waiting", 1, f.Epoch, "x")
	rec.Pending = true
	if f.Primary == store.PrimaryNew {
		must(t, w.new.CompareAndSwap(t.Context(), rec, store.Pair{}))
	} else {
		must(t, w.old.CompareAndSwap(t.Context(), f.Epoch, rec, store.Pair{}))
	}
}

func all(fs ...func(*testing.T, *world)) func(*testing.T, *world) {
	return func(t *testing.T, w *world) {
		for _, f := range fs {
			f(t, w)
		}
	}
}

func backfill(ctx context.Context, w *world, _ *service) error {
	_, err := CopyAll(ctx, w.old, w.new, BackfillOptions{Batch: 2})
	return err
}

func verify(ctx context.Context, w *world, _ *service) error {
	_, err := Verify(ctx, w.old, w.new, VerifyOptions{Batch: 2, Repair: true})
	return err
}

func giveBack(ctx context.Context, w *world, _ *service) error {
	opt := quickReturn()
	opt.Gone = func(store.Registration) error { return nil }
	opt.Pause = func(context.Context, time.Duration) error { return nil }
	_, err := ReturnPrimary(ctx, w.old, w.new, opt)
	return err
}

func get(id record.ID) func(context.Context, *world, *service) error {
	return func(ctx context.Context, _ *world, s *service) error {
		_, _, err := s.Get(ctx, id)
		return err
	}
}

func list(ctx context.Context, _ *world, s *service) error {
	_, err := s.List(ctx, record.Filter{}, "", 10)
	return err
}

func change(ctx context.Context, w *world, s *service) error {
	_, err := s.Apply(ctx, "c-newer", false, func(cur store.Record, _ bool) (store.Record, bool, error) {
		cur.Body += "z;"
		return cur, true, nil
	})
	return err
}

func look(ctx context.Context, w *world, s *service) error {
	_, err := s.Apply(ctx, "c-newer", false, func(cur store.Record, _ bool) (store.Record, bool, error) {
		return cur, false, nil
	})
	return err
}

// gatesTo is an error that is errTold as soon as a gate refuses.
func gatesTo(step Step) func(context.Context, *world, *service) error {
	return func(ctx context.Context, _ *world, s *service) error {
		gates, err := s.Gates(ctx, step)
		for _, g := range gates {
			if !g.OK && strings.Contains(g.Detail, errTold.Error()) && g.Remedy != "" {
				return errTold
			}
		}
		return err
	}
}

func ready(ctx context.Context, _ *world, s *service) error {
	if ok, reason, degraded := s.Ready(ctx); strings.Contains(reason+degraded, errTold.Error()) && ok == (degraded != "") {
		return errTold
	}
	return nil
}

func deeds() []deed {
	registered := func(t *testing.T, w *world) {
		must(t, w.new.Register(t.Context(), store.Registration{Instance: "six", Step: 6}))
	}
	left := func(closing bool, deadline time.Duration, ahead int64) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			f := fenceOf(t, w)
			to := f
			if closing {
				to.Closing, to.Token, to.Deadline = true, "dead", time.Now().Add(deadline)
			}
			must(t, w.old.MoveFence(t.Context(), f, to))
			if ahead > 0 {
				must(t, w.new.RaiseMirror(t.Context(), store.Mirror{Migration: f.Migration, Epoch: f.Epoch + ahead, Primary: store.PrimaryOld}))
			}
		}
	}
	unfit := func(t *testing.T, w *world) {
		rec := copyOf("u-unfit", 1, 1, "unfit")
		rec.Pending = true
		must(t, w.old.CompareAndSwap(t.Context(), 1, rec, store.Pair{}))
		w.new = picky{w.new}
	}
	noMirror := func(t *testing.T, w *world) {
		f := fenceOf(t, w)
		to := store.Fence{Migration: f.Migration, Epoch: f.Epoch + 1, Primary: store.PrimaryNew}
		must(t, w.old.MoveFence(t.Context(), f, to))
	}
	ds := []deed{
		{name: "backfill under old", from: WriteBoth, prepare: all(mixed, unfit), do: backfill},
		{name: "backfill under new", from: StopOldWrites, prepare: mixed, do: backfill},
		{name: "verify under old", from: WriteBoth, prepare: mixed, do: verify},
		{name: "verify under new", from: StopOldWrites, prepare: mixed, do: verify},
		{name: "return", from: StopOldWrites, prepare: all(mixed, waiting, registered), do: giveBack},
		{name: "return after one that died", from: StopOldWrites, prepare: all(waiting, left(true, -time.Second, 1)), do: giveBack},
		{name: "return while another closes", from: StopOldWrites, prepare: all(waiting, left(true, 50*time.Millisecond, 0)), do: giveBack},
		{name: "prepare at 2", from: DeployNew, at: AddDAO, do: func(ctx context.Context, _ *world, s *service) error { return s.Prepare(ctx) }},
		{name: "prepare at 4 under new", from: StopOldWrites, at: ReadBoth, do: func(ctx context.Context, _ *world, s *service) error { return s.Prepare(ctx) }},
		{name: "prepare at 6", from: StopOldWrites, at: StopOldWrites, do: func(ctx context.Context, _ *world, s *service) error { return s.Prepare(ctx) }},
		{name: "start at 3", from: WriteBoth, at: WriteBoth, fresh: true, do: func(ctx context.Context, _ *world, s *service) error { return s.Start(ctx) }},
		{name: "start at 6", from: StopOldWrites, at: StopOldWrites, fresh: true, do: func(ctx context.Context, _ *world, s *service) error { return s.Start(ctx) }},
		{name: "advance", from: NewPrimary, at: NewPrimary, do: func(ctx context.Context, _ *world, s *service) error { return s.Advance(ctx) }},
		{name: "advance, mirror behind", from: NewPrimary, at: NewPrimary, prepare: noMirror, do: func(ctx context.Context, _ *world, s *service) error { return s.Advance(ctx) }},
		{name: "advance, mirror ahead", from: StopOldWrites, at: NewPrimary, prepare: left(false, 0, 1), do: func(ctx context.Context, _ *world, s *service) error { return s.Advance(ctx) }},
		{name: "flush at 3", from: WriteBoth, at: WriteBoth, prepare: waiting, do: func(ctx context.Context, _ *world, s *service) error { return s.Flush(ctx) }},
		{name: "flush of an unfit record", from: WriteBoth, at: WriteBoth, prepare: unfit, do: func(ctx context.Context, _ *world, s *service) error { return s.Flush(ctx) }},
		{name: "flush at 4 under new", from: StopOldWrites, at: ReadBoth, prepare: waiting, do: func(ctx context.Context, _ *world, s *service) error { return s.Flush(ctx) }},
		{name: "get at 1", from: DeployNew, at: DeployNew, do: get("legacy-000")},
		{name: "get at 3", from: WriteBoth, at: WriteBoth, prepare: mixed, do: get("c-newer")},
		{name: "get at 4 under old", from: ReadBoth, at: ReadBoth, prepare: mixed, do: get("c-newer"), tolerate: "new.Prepared new.Get"},
		{name: "get at 4 under new", from: StopOldWrites, at: ReadBoth, prepare: mixed, do: get("c-newer")},
		{name: "list at 3", from: WriteBoth, at: WriteBoth, prepare: mixed, do: list},
		{name: "list at 4 under new", from: StopOldWrites, at: ReadBoth, prepare: mixed, do: list},
		{name: "change at 1", from: DeployNew, at: DeployNew, prepare: nil, do: change},
		{name: "change at 3", from: WriteBoth, at: WriteBoth, prepare: mixed, do: change, tolerate: "new.PutIfNewer old.ClearPending"},
		{name: "change at 4 under new", from: StopOldWrites, at: ReadBoth, prepare: mixed, do: change, tolerate: "old.PutIfNewer new.ClearPending"},
		{name: "look at 4 under new", from: StopOldWrites, at: ReadBoth, prepare: mixed, do: look},
		{name: "gates to 2", from: AddDAO, at: AddDAO, do: gatesTo(AddDAO)},
		{name: "gates to 3", from: WriteBoth, at: WriteBoth, do: gatesTo(WriteBoth)},
		{name: "gates to 4", from: ReadBoth, at: ReadBoth, prepare: waiting, do: gatesTo(ReadBoth)},
		{name: "gates to 5", from: NewPrimary, at: NewPrimary, prepare: waiting, do: gatesTo(NewPrimary)},
		{name: "gates to 6", from: StopOldWrites, at: StopOldWrites, prepare: waiting, do: gatesTo(StopOldWrites)},
		{name: "gates to 7", from: Backfill, at: Backfill, do: gatesTo(Backfill)},
		{name: "gates to 8", from: RemoveOld, at: RemoveOld, do: gatesTo(RemoveOld)},
		{name: "probe at 4", from: ReadBoth, at: ReadBoth, do: func(ctx context.Context, _ *world, s *service) error { return s.Probe(ctx) }},
	}
	for _, step := range []Step{StopOldWrites, Backfill} {
		ds = append(ds,
			deed{name: fmt.Sprintf("get at %d", step), from: step, at: step, prepare: mixed, do: get("c-newer")},
			deed{name: fmt.Sprintf("list at %d", step), from: step, at: step, prepare: mixed, do: list},
			deed{name: fmt.Sprintf("change at %d", step), from: step, at: step, prepare: mixed, do: change},
		)
	}
	for step := DeployNew; step <= RemoveOld; step++ {
		ds = append(ds, deed{name: fmt.Sprintf("readiness at %d", step), from: step, at: step, do: ready})
	}
	return ds
}

// No failure of a database is passed over in silence: whatever call fails, the
// deed says so, but where something else makes good for it; and the same deed
// succeeds afterwards.
func TestNoFailureIsSwallowed(t *testing.T) {
	for _, d := range deeds() {
		t.Run(d.name, func(t *testing.T) {
			seen := 0
			for n := 1; ; n++ {
				failed, err := d.tryFailing(t, n)
				if failed == "" {
					break
				}
				seen++
				tolerated := slices.Contains(strings.Fields(d.tolerate), failed)
				switch {
				case errors.Is(err, errTold):
					continue
				case err != nil:
					t.Errorf("call %d, %s, fails: %v; want the failure itself", n, failed, err)
				case !tolerated:
					t.Errorf("call %d, %s, fails, and nobody says so", n, failed)
				}
			}
			if seen == 0 {
				t.Error("it made no call that could fail")
			}
		})
	}
}

// tryFailing does the deed with one call that fails, then once more, which must
// succeed.
func (d deed) tryFailing(t *testing.T, n int) (failed string, err error) {
	t.Helper()
	w := raisedTo(t, d.from, 1)
	if d.prepare != nil {
		d.prepare(t, w)
	}
	f := &failAt{}
	f.between(w)
	var s *service
	if d.at > 0 {
		s = w.unstarted(t, d.at)
		if !d.fresh {
			must(t, s.Start(t.Context()))
		}
	}
	f.arm(n)
	err = d.do(t.Context(), w, s)
	if failed = f.arm(0); failed == "" && err != nil {
		t.Fatalf("without any failure: %v", err)
	}
	if s != nil {
		s.newBreaker, s.oldBreaker = breaker{}, breaker{}
	}
	if again := d.do(t.Context(), w, s); again != nil {
		t.Errorf("once more, after call %d (%s) had failed: %v", n, failed, again)
	}
	return failed, err
}

// unstarted is an instance that has not looked for its place yet.
func (w *world) unstarted(t *testing.T, step Step) *service {
	t.Helper()
	cfg := Config{Step: step, Instance: store.Registration{Instance: fmt.Sprintf("i%d", step)}, CompareMin: 1}
	if step.HasOld() {
		cfg.Old = w.old
	}
	if step.HasNew() {
		cfg.New = w.new
	}
	s, err := New(cfg)
	must(t, err)
	return s
}
