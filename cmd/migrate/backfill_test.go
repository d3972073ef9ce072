package main

import (
	"fmt"
	"reflect"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
)

func TestPlanOfABackfill(t *testing.T) {
	const epoch = 1
	for _, c := range []struct {
		name     string
		after    string // the checkpoint of an interrupted run
		complete bool
		primary  store.Primary
		o        backfillOptions
		want     actions
	}{
		{"a first one", "", false, store.PrimaryOld, backfillOptions{}, actions{"copy about 3 records under epoch 1"}},
		{"one that was interrupted", "b", false, store.PrimaryOld, backfillOptions{},
			actions{"go on after the 2 records that an earlier run has copied, and copy about 1 more under epoch 1"}},
		{"from the start nevertheless", "b", false, store.PrimaryOld, backfillOptions{rescan: true}, actions{"copy about 3 records under epoch 1"}},
		{"under new", "", false, store.PrimaryNew, backfillOptions{},
			actions{"copy about 3 records under epoch 1", "leave the completion mark of epoch 1, which the gates to step 8 ask for"}},
		{"complete", "", true, store.PrimaryNew, backfillOptions{}, actions{}},
		{"complete, and again", "", true, store.PrimaryNew, backfillOptions{rescan: true},
			actions{"copy about 3 records under epoch 1", "leave the completion mark of epoch 1, which the gates to step 8 ask for"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := t.Context()
			old, to := memory.NewOld("m"), memory.NewNew()
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(to.Prepare(ctx, "m"))
			before, err := old.Fence(ctx)
			must(err)
			for _, id := range []record.ID{"a", "b", "c"} {
				must(old.CompareAndSwap(ctx, before.Epoch, store.Record{ID: id, Pair: store.Pair{Rev: 1, Epoch: 1}}, store.Pair{}))
			}
			if c.primary == store.PrimaryNew {
				after := before
				after.Primary = c.primary
				must(old.MoveFence(ctx, before, after))
			}
			if c.after != "" {
				must(to.SaveCheckpoint(ctx, epoch, record.ID(c.after), 2))
			}
			if c.complete {
				must(to.MarkComplete(ctx, epoch))
			}
			look := func() string {
				fence, err := old.Fence(ctx)
				must(err)
				progress, err := to.Progress(ctx, epoch)
				must(err)
				copied, err := to.Count(ctx)
				must(err)
				return fmt.Sprintf("%+v, %+v, %d records in new", fence, progress, copied)
			}
			was := look()
			p, err := planBackfill(ctx, &stores{old: old, new: to}, c.o)
			must(err)
			if !reflect.DeepEqual(p.Actions, c.want) {
				t.Errorf("%q, want %q", p.Actions, c.want)
			}
			if p.Epoch != epoch || p.Primary != c.primary || p.Complete != c.complete || !p.DryRun {
				t.Errorf("%+v", p)
			}
			if is := look(); is != was {
				t.Errorf("the look has changed %s to %s", was, is)
			}
		})
	}
}

func TestNoPlanAcrossMigrations(t *testing.T) {
	s := &stores{old: memory.NewOld("m"), new: memory.NewNew()}
	if err := s.new.Prepare(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	if p, err := planBackfill(t.Context(), s, backfillOptions{}); err == nil {
		t.Errorf("a backfill from one migration to another is planned: %v", p.Actions)
	}
}
