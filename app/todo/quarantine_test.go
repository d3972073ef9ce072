package todo

import (
	"errors"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
	"migrate.invalid/migrate/app/task"
)

// A task that new can't hold can be deleted, or given all of its fields anew; a
// change of some fields, or of none, is refused with the reason, and so is a read.
func TestATaskInQuarantine(t *testing.T) {
	ctx := t.Context()
	whole := task.Task{Assignee: "Bill", Description: "walk the dog", Done: true}
	for _, c := range []struct {
		name    string
		change  Change
		refused bool
		want    Record
	}{
		{"it is marked done", func(cur Record, _ bool) (Record, bool, error) {
			cur.Body.Done = true
			return cur, true, nil
		}, true, Record{}},
		{"nothing of it is changed", func(cur Record, _ bool) (Record, bool, error) { return cur, false, nil }, true, Record{}},
		{"it is replaced", func(cur Record, _ bool) (Record, bool, error) {
			return Record{Whole: true, Body: whole}, true, nil
		}, false, Record{ID: "a", Rev: 2, Body: whole}},
		{"it is deleted", func(cur Record, _ bool) (Record, bool, error) { return Record{Deleted: true}, true, nil }, false, Record{ID: "a", Rev: 2, Deleted: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := memory.NewOld("m")
			id, err := ID("a")
			if err != nil {
				t.Fatal(err)
			}
			body, err := Body(task.Task{Assignee: "Bill", Description: "too long"})
			if err != nil {
				t.Fatal(err)
			}
			rec := store.Record{ID: id, Pair: store.Pair{Rev: 1, Epoch: 1}, Body: body}
			err = errors.Join(old.CompareAndSwap(ctx, 1, rec, store.Pair{}), old.Isolate(ctx, 1, rec.Mark(), "description is too long"))
			if err != nil {
				t.Fatal(err)
			}
			service, err := migration.New(migration.Config{Step: migration.DeployNew, Old: old})
			if err != nil {
				t.Fatal(err)
			}
			tasks := New(service)
			refuses := func(what string, err error) {
				t.Helper()
				if !errors.Is(err, store.ErrQuarantined) || !strings.Contains(err.Error(), "description is too long") {
					t.Errorf("%s: %v", what, err)
				}
			}
			_, _, err = tasks.Get(ctx, "a")
			refuses("a read", err)
			got, err := tasks.Apply(ctx, "a", false, func(cur Record, found bool) (Record, bool, error) {
				if !found || cur.Unfit != "description is too long" {
					t.Errorf("the change sees %+v", cur)
				}
				return c.change(cur, found)
			})
			if c.refused {
				refuses("the change", err)
				_, _, err = tasks.Get(ctx, "a")
				refuses("a read afterwards", err)
				return
			}
			if err != nil || got != c.want {
				t.Errorf("%+v, %v; want %+v", got, err, c.want)
			}
			if _, n, err := old.Quarantine(ctx, 0); err != nil || n != 0 {
				t.Errorf("%d rows are left in quarantine (%v)", n, err)
			}
		})
	}
}
