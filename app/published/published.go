// Package published is the ToDo service with the migration as it is usually
// built: Aviran Mordo's eight steps, read as an article is read, by somebody
// who knows both databases and takes care. It exists so that `migrate demo
// --as-published` can show what that costs; nothing else uses it.
//
// Nothing in it is made worse than need be: both writes are made in the order
// of the step, a record is read from the new database and else from the old
// one, the copy of the remaining data never overwrites, and HTTP, drain and
// instances are the project's own. What it lacks is what the pattern, as
// published, doesn't mention: a fence, an order among copies, tombstones, an
// outbox, and a look at the other database before a list is believed.
package published

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/task"
	"migrate.invalid/migrate/app/todo"
	"migrate.invalid/migrate/app/web"
)

// Tasks is the store at one step. It implements web.Tasks.
type Tasks struct {
	step migration.Step
	old  *oldTasks // nil at step 8
	new  *newTasks // nil at steps 1 and 2
	log  *slog.Logger
}

var _ web.Tasks = (*Tasks)(nil)

// dao is what the two data access objects have in common.
type dao interface {
	get(ctx context.Context, id string) (record, bool, error)
	put(ctx context.Context, r record) error
	delete(ctx context.Context, id string) error
	list(ctx context.Context, f task.Filter, after string, limit int) ([]record, error)
}

// writes are the databases that a change goes to, the primary first.
func (t *Tasks) writes() []dao {
	switch {
	case t.step <= migration.AddDAO:
		return []dao{t.old}
	case t.step <= migration.ReadBoth:
		return []dao{t.old, t.new}
	case t.step == migration.NewPrimary:
		return []dao{t.new, t.old}
	}
	return []dao{t.new}
}

// reads are the databases that are looked at, the one that is believed first.
func (t *Tasks) reads() []dao {
	switch {
	case t.step <= migration.ReadBoth: // step 4 compares, see Get
		return []dao{t.old}
	case t.step < migration.RemoveOld:
		return []dao{t.new, t.old}
	}
	return []dao{t.new}
}

// Apply reads, changes and writes. A second write that fails is logged.
func (t *Tasks) Apply(ctx context.Context, id string, _ bool, change web.Change) (record, error) {
	cur, found, err := t.read(ctx, id)
	if err != nil {
		return record{}, err
	}
	next, commit, err := change(cur, found)
	if err != nil || !commit {
		return cur, err
	}
	next.ID, next.Rev = id, cur.Rev+1
	for i, db := range t.writes() {
		write := func() error { return db.put(ctx, next) }
		if next.Deleted {
			write = func() error { return db.delete(ctx, id) }
		}
		if err := write(); err != nil {
			if i == 0 {
				return record{}, err
			}
			t.log.Warn("the second write failed", "id", id, "error", err)
		}
	}
	return next, nil
}

// Get returns the record of the first database that has it.
func (t *Tasks) Get(ctx context.Context, id string) (record, bool, error) {
	r, found, err := t.read(ctx, id)
	if err == nil && t.step == migration.ReadBoth {
		if twin, there, err := t.new.get(ctx, id); err != nil || there && twin.Body != r.Body {
			t.log.Warn("the databases differ", "id", id, "error", err)
		}
	}
	return r, found, err
}

func (t *Tasks) read(ctx context.Context, id string) (record, bool, error) {
	for _, db := range t.reads() {
		r, found, err := db.get(ctx, id)
		if err != nil || found {
			return r, found, err
		}
	}
	return record{}, false, nil
}

// List merges what the databases list; where both have an id, the first is believed.
func (t *Tasks) List(ctx context.Context, f task.Filter, after *string, limit int) (todo.Page, error) {
	var merged []record
	from := "" // before every id that the original makes
	if after != nil {
		from = *after
	}
	for _, db := range t.reads() {
		list, err := db.list(ctx, f, from, limit)
		if err != nil {
			return todo.Page{}, err
		}
		merged = append(merged, list...)
	}
	slices.SortStableFunc(merged, func(a, b record) int { return strings.Compare(a.ID, b.ID) })
	merged = slices.CompactFunc(merged, func(a, b record) bool { return a.ID == b.ID })
	if len(merged) < limit {
		return todo.Page{Records: merged, End: true}, nil
	}
	return todo.Page{Records: merged[:limit], Next: merged[limit-1].ID}, nil
}

// Backfill copies what the new database lacks, and returns how many those were.
func (t *Tasks) Backfill(ctx context.Context) (copied int, err error) {
	const page = 500
	for after := ""; ; {
		rows, err := t.old.list(ctx, task.Filter{}, after, page)
		if err != nil {
			return copied, fmt.Errorf("backfill: %w", err)
		}
		for _, r := range rows {
			inserted, err := t.new.insert(ctx, r)
			if err != nil {
				return copied, fmt.Errorf("backfill: %w", err)
			}
			if inserted {
				copied++
			}
			after = r.ID
		}
		if len(rows) < page {
			return copied, nil
		}
	}
}

// Known is the primary: the step decides. There are no epochs.
func (t *Tasks) Known(context.Context) (store.Primary, int64) {
	if t.step >= migration.NewPrimary {
		return store.PrimaryNew, 0
	}
	return store.PrimaryOld, 0
}

// Status says at which step this is; there is nothing else to know.
func (t *Tasks) Status(ctx context.Context) migration.Status {
	primary, _ := t.Known(ctx)
	return migration.Status{Step: t.step, StepName: t.step.Name(), Ready: true, Primary: primary}
}

// Ready is always true.
func (t *Tasks) Ready(context.Context) (ready bool, reason, degraded string) { return true, "", "" }

// Gates are none: the pattern has no conditions that a program could check.
func (t *Tasks) Gates(context.Context, migration.Step) ([]migration.Gate, error) { return nil, nil }

// LookAtGates is Gates.
func (t *Tasks) LookAtGates(context.Context, migration.Step) ([]migration.Gate, error) {
	return nil, nil
}

// Prepare has nothing to do.
func (t *Tasks) Prepare(context.Context) error { return nil }

// Probe has nothing to do.
func (t *Tasks) Probe(context.Context) error { return nil }

// Advance has nothing to do: the step decides which database is primary.
func (t *Tasks) Advance(context.Context) error { return nil }

// Flush has nothing to do: no outbox remembers what the other database lacks.
func (t *Tasks) Flush(context.Context) error { return nil }
