package migration

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// raisedTo walks a fresh world until an instance at step would find its place.
func raisedTo(t *testing.T, step Step, legacy int) *world {
	t.Helper()
	w := newWorld(t, legacy)
	must(t, w.at(t, AddDAO).Prepare(t.Context()))
	if step > NewPrimary {
		must(t, w.at(t, NewPrimary).Advance(t.Context()))
	}
	return w
}

// Two versions of the service at neighbouring steps, both writing and reading
// the same few records: nothing acknowledged is lost, forked or hidden.
func TestNeighboursLoseNothing(t *testing.T) {
	for step := DeployNew; step < RemoveOld; step++ {
		for _, flip := range []bool{false, true} {
			if flip && step != ReadBoth && step != NewPrimary {
				continue
			}
			t.Run(fmt.Sprintf("%d and %d, flip %v", step, step+1, flip), func(t *testing.T) {
				w := raisedTo(t, step+1, 4)
				if step == Backfill {
					_, err := CopyAll(t.Context(), w.old, w.new, BackfillOptions{})
					must(t, err)
				}
				w.old, w.new = yieldingOld{oldStore: w.old}, yieldingNew{newStore: w.new}
				services := []*service{w.at(t, step), w.at(t, step+1)}
				w.busy(t, 150, services, func(ctx context.Context) {
					if flip {
						if err := w.at(t, NewPrimary).Advance(ctx); err != nil && !errors.Is(err, store.ErrFenceMoved) {
							w.problem("advance: %v", err)
						}
					}
					if step >= WriteBoth {
						if _, err := CopyAll(ctx, w.old, w.new, BackfillOptions{Batch: 2}); err != nil {
							w.problem("backfill: %v", err)
						}
					}
				})
				for _, p := range w.conclude(t) {
					t.Error(p)
				}
			})
		}
	}
}

// Schedules in which one rule alone saves the write, each with that rule in
// place and taken out: with it nothing is lost, without it the check must see it.
func TestOneRuleAlone(t *testing.T) {
	cases := []struct {
		name   string
		run    func(t *testing.T, w *world)
		broken func(w *world)
	}{
		{
			name: "a commit on old that was planned before the flip",
			run: func(t *testing.T, w *world) {
				flipper := w.at(t, NewPrimary)
				sound := w.old
				w.old = yieldingOld{oldStore: w.old, put: func() error { return fmt.Errorf("%w: as if", store.ErrUnavailable) }}
				other := w.at(t, ReadBoth) // its copies don't get through to old
				w.old = sound
				w.old = yieldingOld{oldStore: w.old, cas: once(func() {
					must(t, flipper.Advance(t.Context()))
					must(t, w.appendTo(t.Context(), other, w.ids[0], "second"))
				})}
				must(t, w.appendTo(t.Context(), w.at(t, ReadBoth), w.ids[0], "first"))
			},
			broken: func(w *world) { w.old = epochBlind{w.old} },
		},
		{
			name: "a copy for new that arrives after a newer one",
			run: func(t *testing.T, w *world) {
				other := w.at(t, WriteBoth)
				late := once(func() { must(t, w.appendTo(t.Context(), other, w.ids[0], "second")) })
				w.new = yieldingNew{newStore: w.new, put: func(next func(...store.Record) error, recs []store.Record) error {
					return late(func() error { return next(recs...) }, 0)
				}}
				must(t, w.appendTo(t.Context(), w.at(t, WriteBoth), w.ids[0], "first"))
				must(t, w.at(t, NewPrimary).Advance(t.Context()))
				must(t, w.appendTo(t.Context(), w.at(t, NewPrimary), w.ids[0], "third"))
			},
			broken: func(w *world) { w.new = blindPut{w.new}; w.old = forgetful{w.old} },
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := raisedTo(t, NewPrimary, 1)
			c.run(t, w)
			for _, p := range w.conclude(t) {
				t.Error(p)
			}
		})
		t.Run(c.name+", without the rule", func(t *testing.T) {
			w := raisedTo(t, NewPrimary, 1)
			c.broken(w)
			c.run(t, w)
			problems := w.conclude(t)
			if len(problems) == 0 {
				t.Fatal("nobody noticed")
			}
			t.Logf("caught: %s", problems[0])
		})
	}
}

// once is a store call before which something else happens the first time.
func once(before func()) func(next func() error, epoch int64) error {
	first := true
	return func(next func() error, _ int64) error {
		if first {
			first = false
			before()
		}
		return next()
	}
}

// forgetful is an old store whose reads under "new" find nothing: it stands for
// a reader that believes new by presence.
type forgetful struct{ oldStore }

func (o forgetful) Get(ctx context.Context, ids ...record.ID) (map[record.ID]store.Record, store.Fence, error) {
	recs, f, err := o.oldStore.Get(ctx, ids...)
	if f.Primary == store.PrimaryNew {
		recs = nil
	}
	return recs, f, err
}

// epochBlind is an old store that lets a commit pass whatever became of the
// fence it was planned under.
type epochBlind struct{ oldStore }

func (o epochBlind) CompareAndSwap(ctx context.Context, _ int64, rec store.Record, expect store.Pair) error {
	fence, err := o.Fence(ctx)
	if err != nil {
		return err
	}
	return o.oldStore.CompareAndSwap(ctx, fence.Epoch, rec, expect)
}

// blindPut is a new store that replicates by overwriting.
type blindPut struct{ newStore }

func (n blindPut) PutIfNewer(ctx context.Context, recs ...store.Record) error {
	for _, rec := range recs {
		for {
			have, err := n.Get(ctx, rec.ID)
			if err != nil {
				return err
			}
			rec.Pending = false
			err = n.CompareAndSwap(ctx, rec, have[rec.ID].Pair)
			if err == nil {
				break
			}
			if !errors.Is(err, store.ErrConflict) {
				return err
			}
		}
	}
	return nil
}
