package sqlite_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/store/sqlite"
)

// TestMovedRowsOfAnAlteredTable: a column that came since has its default in rows
// that are put back, and one that went is asked about.
func TestMovedRowsOfAnAlteredTable(t *testing.T) {
	ctx := context.Background()
	begin := func() (*sqlite.Store, string) {
		path := legacy(t, abc, `INSERT INTO tasks VALUES('a','B','again',0)`)
		s := open(t, sqlite.Config{Path: path})
		contact(t, s)
		run(t, path, `ALTER TABLE tasks ADD COLUMN note TEXT NOT NULL DEFAULT 'none'`)
		return s, path
	}
	s, path := begin()
	if list, _, err := s.Quarantine(ctx, 0); err != nil || len(list) != 1 || !strings.Contains(list[0].Row, "again") {
		t.Errorf("quarantine: %+v, %v", list, err)
	}
	run(t, path, `DROP INDEX "migrate_tasks.id"`, `INSERT INTO tasks VALUES('b','B','twice',0,'mine')`)
	contact(t, s) // adopts again, and moves another row
	if list, _, err := s.Quarantine(ctx, 0); err != nil || len(list) != 2 {
		t.Errorf("quarantine: %+v, %v", list, err)
	}
	if _, err := s.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if got, want := rows(t, plain(t, path), `SELECT id||note FROM tasks WHERE description IN ('again','twice') ORDER BY id`), "string:anone\nstring:bmine"; got != want {
		t.Errorf("%s, want %s", got, want)
	}

	s, path = begin()
	if _, err := s.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if got, want := rows(t, plain(t, path), `SELECT note FROM tasks WHERE description='again'`), "string:none"; got != want {
		t.Errorf("%s, want %s", got, want)
	}

	s, path = begin()
	run(t, path, `ALTER TABLE tasks RENAME COLUMN description TO title`)
	if _, err := s.Release(ctx); err == nil || !strings.Contains(err.Error(), `ALTER TABLE "migrate_tasks.repeated" RENAME COLUMN "description"`) {
		t.Errorf("undone: %v", err)
	}
	run(t, path, `ALTER TABLE "migrate_tasks.repeated" RENAME COLUMN "description" TO title`)
	if _, err := s.Release(ctx); err != nil {
		t.Error(err)
	}
}

// TestMovedRowsWhoseNumberIsTaken: they get another, and the log says so.
func TestMovedRowsWhoseNumberIsTaken(t *testing.T) {
	ctx := context.Background()
	for name, path := range map[string]string{ // of the rows' numbers
		"hidden": legacy(t, abc, `INSERT INTO tasks VALUES('a','B','again',0)`),
		"column": made(t, `CREATE TABLE tasks(n INTEGER PRIMARY KEY, id text, assignee text, description text, done boolean)`,
			`INSERT INTO tasks(id,description) VALUES('a','x'),('b','x'),('c','x'),('a','again')`),
	} {
		for _, undo := range []bool{true, false} {
			if !undo {
				db := plain(t, path)
				_, err := db.Exec(`DELETE FROM tasks WHERE rowid>3; INSERT INTO tasks(id,description) VALUES('a','again')`)
				db.Close()
				if err != nil {
					t.Fatal(err)
				}
			}
			var said bytes.Buffer
			s := open(t, sqlite.Config{Path: path, Logger: slog.New(slog.NewTextHandler(&said, nil))})
			contact(t, s)
			run(t, path, `INSERT INTO tasks(rowid,id,description) VALUES(4,'new','new')`)
			want := "int64:1|string:a\nint64:2|string:b\nint64:3|string:c\nint64:4|string:new\nint64:5|string:a"
			if undo {
				if _, err := s.Release(ctx); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			} else {
				list, _, err := s.Quarantine(ctx, 0)
				if err != nil || len(list) != 1 {
					t.Fatalf("%s: %v, %v", name, list, err)
				}
				run(t, path, `DELETE FROM tasks WHERE rowid=1`)
				if err := s.Restore(ctx, list[0].Key); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				want = strings.TrimPrefix(want, "int64:1|string:a\n")
			}
			if got := rows(t, plain(t, path), `SELECT rowid, id FROM tasks ORDER BY rowid`); got != want {
				t.Errorf("%s, undo %v:\n%s, want\n%s", name, undo, got, want)
			}
			if !strings.Contains(said.String(), "have other numbers now") {
				t.Errorf("%s: it says %q", name, &said)
			}
			if undo {
				run(t, path, `DELETE FROM tasks WHERE id='new'`)
			}
		}
	}
}

// run runs statements as another program that closes the file at once.
func run(t testing.TB, path string, statements ...string) {
	t.Helper()
	db := plain(t, path)
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}
