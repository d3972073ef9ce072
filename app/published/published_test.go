package published_test

import (
	"context"
	"database/sql"
	"log/slog"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite"

	"migrate.invalid/migrate/app"
	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/published"
	"migrate.invalid/migrate/app/store/embeddedmongo"
	"migrate.invalid/migrate/app/task"
	"migrate.invalid/migrate/app/todo"
)

// databases returns an original's file with no tasks and an embedded server.
func databases(t *testing.T) app.Databases {
	t.Helper()
	path := filepath.Join(t.TempDir(), "todo.sqlite")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE tasks(id text, assignee text, description text, done boolean)`); err != nil {
		t.Fatal(err)
	}
	server, err := embeddedmongo.Start(t.Context(), embeddedmongo.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return app.Databases{Old: "sqlite:" + path, New: server.URI(), Name: "todo"}
}

func at(t *testing.T, db app.Databases, step migration.Step) *published.Tasks {
	t.Helper()
	tasks, err := published.Open(t.Context(), db, step, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tasks.Close(); err != nil {
			t.Error(err)
		}
	})
	return tasks
}

type record = todo.Record

func put(t *testing.T, tasks *published.Tasks, id string, body task.Task) {
	t.Helper()
	apply(t, tasks, id, func(r record) record { r.Body = body; return r })
}

func remove(t *testing.T, tasks *published.Tasks, id string) {
	t.Helper()
	apply(t, tasks, id, func(r record) record { r.Deleted = true; return r })
}

func apply(t *testing.T, tasks *published.Tasks, id string, change func(record) record) {
	t.Helper()
	_, err := tasks.Apply(context.WithoutCancel(t.Context()), id, false, func(r record, _ bool) (record, bool, error) {
		return change(r), true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// found returns what is answered for an id, by itself and in the list of its assignee.
func found(t *testing.T, tasks *published.Tasks, id, assignee string) (alone, listed task.Task) {
	t.Helper()
	r, _, err := tasks.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	page, err := tasks.List(t.Context(), task.Filter{Assignee: &assignee, Done: new(false)}, nil, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range page.Records {
		if l.ID == id {
			listed = l.Body
		}
	}
	return r.Body, listed
}

// It is honest: a record that was made at one step is right at each later one,
// if all that happens to it happens in between is an update that both see.
func TestItDoesItsJob(t *testing.T) {
	db := databases(t)
	put(t, at(t, db, 1), "early", task.Task{Assignee: "Bill", Description: "0"})
	for step := migration.DeployNew; step <= migration.RemoveOld; step++ {
		tasks := at(t, db, step)
		body := task.Task{Assignee: "Bill", Description: step.Name()}
		put(t, tasks, "early", body)
		put(t, tasks, step.Name(), body)
		for _, id := range []string{"early", step.Name()} {
			if alone, listed := found(t, tasks, id, "Bill"); alone != body || listed != body {
				t.Errorf("step %d: %s is %+v, listed as %+v", step, id, alone, listed)
			}
		}
		if step != migration.StopOldWrites && step != migration.Backfill {
			remove(t, tasks, step.Name())
			if alone, listed := found(t, tasks, step.Name(), "Bill"); alone != (task.Task{}) || listed != alone {
				t.Errorf("step %d: deleted, and yet %+v, listed as %+v", step, alone, listed)
			}
		}
		if step == migration.Backfill {
			if _, err := tasks.Backfill(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The holes that the pattern, as published, has, each by itself.
func TestItsHoles(t *testing.T) {
	db := databases(t)
	undone := task.Task{Assignee: "Bill", Description: "x"}
	both := at(t, db, migration.WriteBoth)
	put(t, both, "deleted", undone)
	put(t, both, "moved", undone)

	tasks := at(t, db, migration.Backfill) // 6 is the same
	remove(t, tasks, "deleted")
	if alone, listed := found(t, tasks, "deleted", "Bill"); alone != undone || listed != undone {
		t.Errorf("a deletion without a tombstone was not undone by the old copy: %+v, listed as %+v", alone, listed)
	}
	put(t, tasks, "moved", task.Task{Assignee: "Jane", Description: "x"})
	if alone, listed := found(t, tasks, "moved", "Bill"); alone.Assignee != "Jane" || listed.Assignee != "Bill" {
		t.Errorf("a list did not believe the old copy: %+v, listed as %+v", alone, listed)
	}
	if n, err := tasks.Backfill(t.Context()); n != 1 || err != nil {
		t.Errorf("the backfill copied %d rows (%v), want the one that was deleted", n, err)
	}
	if alone, _ := found(t, at(t, db, migration.RemoveOld), "deleted", "Bill"); alone != undone {
		t.Errorf("the backfill did not bring a deleted record back for good: %+v", alone)
	}
}
