package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/sqlite"
)

func TestGuarded(t *testing.T) {
	ctx := context.Background()
	rebuild := `CREATE TABLE new(id text, assignee text, description text, done boolean, note text);
		INSERT INTO new SELECT id,assignee,description,done,'' FROM tasks; DROP TABLE tasks; ALTER TABLE new RENAME TO tasks`
	for _, c := range []struct{ name, sql, missing string }{
		{"nothing happened", `SELECT 1`, ""},
		{"VACUUM", `VACUUM`, ""},
		{"a column and an index more", `ALTER TABLE tasks ADD COLUMN note text; CREATE INDEX theirs ON tasks(note)`, ""},
		{"renamed there and back", `ALTER TABLE tasks RENAME TO x; ALTER TABLE x RENAME TO tasks`, ""},
		{"no insert trigger", `DROP TRIGGER "migrate_tasks.ai"`, "trigger migrate_tasks.ai is missing"},
		{"no update trigger", `DROP TRIGGER "migrate_tasks.bu"`, "trigger migrate_tasks.bu is missing"},
		{"no delete trigger", `DROP TRIGGER "migrate_tasks.ad"`, "trigger migrate_tasks.ad is missing"},
		{"no unique index", `DROP INDEX "migrate_tasks.id"`, "index migrate_tasks.id is missing"},
		{"another text", `DROP TRIGGER "migrate_tasks.ad"; CREATE TRIGGER "migrate_tasks.ad" AFTER DELETE ON tasks BEGIN SELECT 1; END`, "trigger migrate_tasks.ad has another text"},
		{"a unique key more", `CREATE UNIQUE INDEX theirs ON tasks(description)`, "trigger migrate_tasks.di has another text"},
		{"a guard left behind", `INSERT INTO migrate_guard VALUES('tasks','a')`, "migrate_guard has a row"},
		{"rebuilt", rebuild, "trigger migrate_tasks.ad is missing, trigger migrate_tasks.ai is missing"},
		{"dropped", `DROP TABLE tasks`, "the table is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := legacy(t, abc)
			s := open(t, sqlite.Config{Path: path})
			contact(t, s)
			for range 2 { // the second time it need not look
				if err := s.Guarded(ctx); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := plain(t, path).Exec(c.sql); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				err := s.Guarded(ctx)
				if c.missing == "" && err != nil {
					t.Errorf("%v", err)
				}
				if c.missing != "" && (!errors.Is(err, store.ErrStranger) || !strings.Contains(err.Error(), c.missing)) {
					t.Errorf("got %v, want %q", err, c.missing)
				}
			}
			from, err := s.Fence(ctx)
			if err != nil {
				t.Fatal(err)
			}
			err = s.MoveFence(ctx, from, store.Fence{Epoch: from.Epoch + 1, Primary: store.PrimaryNew})
			if c.missing == "" && err != nil || c.missing != "" && (!errors.Is(err, store.ErrStranger) || !strings.Contains(err.Error(), c.missing)) {
				t.Errorf("new becomes primary: %v, want %q", err, c.missing)
			}
		})
	}
}

// TestDumpAndReload: an operator's usual way to copy a database loses nothing.
func TestDumpAndReload(t *testing.T) {
	ctx := context.Background()
	program := shell(t)
	path := legacy(t, abc, `INSERT INTO tasks VALUES('a','B','repeated',0)`)
	s := open(t, sqlite.Config{Path: path})
	contact(t, s)
	if _, err := plain(t, path).Exec(`DELETE FROM tasks WHERE id='b'; UPDATE tasks SET done=1 WHERE id='c'`); err != nil {
		t.Fatal(err)
	}
	dump, err := exec.Command(program, path, ".dump").Output()
	if err != nil {
		t.Fatal(err)
	}
	reloaded := filepath.Join(dir(t), "reloaded.sqlite")
	load := exec.Command(program, "-bail", reloaded)
	load.Stdin = bytes.NewReader(dump)
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	again := open(t, sqlite.Config{Path: reloaded})
	if c := contact(t, again); c.Fresh {
		t.Errorf("it is taken for another: %+v", c)
	}
	if err := again.Guarded(ctx); err != nil {
		t.Error(err)
	}
	if got, want := state(t, plain(t, reloaded)), state(t, plain(t, path)); got != want {
		t.Errorf("%s\nbecame\n%s", want, got)
	}
	if list, _, err := again.Quarantine(ctx, 0); err != nil || len(list) != 1 {
		t.Errorf("quarantine: %v, %v", list, err)
	}
	if _, err := plain(t, reloaded).Exec(`UPDATE tasks SET done=0 WHERE id='c'`); err != nil {
		t.Fatal(err)
	}
	if r := scan(t, again)["c"]; r.Rev != 3 || !r.Pending {
		t.Errorf("after a foreign update: %v", r.Pair)
	}
}

// TestSweepUnguarded: rows that are not where they were may be elsewhere.
func TestSweepUnguarded(t *testing.T) {
	path := legacy(t, abc)
	s := open(t, sqlite.Config{Path: path})
	contact(t, s)
	if _, err := plain(t, path).Exec(`ALTER TABLE tasks RENAME TO elsewhere;
		CREATE TABLE tasks(id text, assignee text, description text, done boolean)`); err != nil {
		t.Fatal(err)
	}
	n, err := s.Sweep(context.Background())
	only(t, "sweep", err, store.ErrStranger)
	if left := rows(t, plain(t, path), `SELECT count(*) FROM migrate_tasks WHERE deleted=0`); n != 0 || left != "int64:3" {
		t.Errorf("swept %d, left %s", n, left)
	}
}

// unseen removes the row a as no program should be able to: past the triggers.
const unseen = `INSERT INTO migrate_guard(collection,k1) VALUES('tasks','a'); DELETE FROM tasks WHERE id='a'; DELETE FROM migrate_guard`

func TestSweepOnlyWhileOldIsOpen(t *testing.T) {
	ctx := context.Background()
	for _, fence := range []store.Fence{
		{Epoch: 2, Primary: store.PrimaryNew},
		{Epoch: 1, Primary: store.PrimaryOld, Closing: true, Token: "t"},
	} {
		path := legacy(t, abc)
		s := open(t, sqlite.Config{Path: path})
		contact(t, s)
		if _, err := plain(t, path).Exec(unseen); err != nil {
			t.Fatal(err)
		}
		moveFence(t, s, fence)
		at := func(id string) sqlite.Record {
			found, _, err := s.Get(ctx, key(id))
			if err != nil {
				t.Fatal(err)
			}
			return found[key(id)]
		}
		if n, err := s.Sweep(ctx); n != 0 || err != nil || at("a").Rev != 1 {
			t.Errorf("under %+v: %d, %v", fence, n, err)
		}
		moveFence(t, s, store.Fence{Epoch: 7, Primary: store.PrimaryOld})
		if n, err := s.Sweep(ctx); n != 1 || err != nil || at("a").Pair != (store.Pair{Rev: 2, Epoch: 7}) {
			t.Errorf("back under old: %d, %v", n, err)
		}
	}
}

// TestQuarantineIsAMark: the row stays where foreign programs see it, and they
// may mend it.
func TestQuarantineIsAMark(t *testing.T) {
	ctx := context.Background()
	path := legacy(t, `ALTER TABLE tasks ADD COLUMN note text`, `INSERT INTO tasks VALUES('a','Bill',x'ff','true','their note'),
		(x'00ff','Bill','x',0,NULL),('b','Bill','fine',0,NULL),('b','Bill','again',0,'second'),('c','Bill','fine',0,NULL)`)
	s := open(t, sqlite.Config{Path: path})
	if c := contact(t, s); c.Rows != 2 || c.Quarantined != 3 {
		t.Errorf("%+v", c)
	}
	db := plain(t, path)
	quarantine := func(want ...string) []store.Quarantined {
		t.Helper()
		list, n, err := s.Quarantine(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, q := range list {
			got = append(got, q.ID+": "+q.Reason)
		}
		if n != int64(len(list)) || strings.Join(got, "; ") != strings.Join(want, "; ") {
			t.Errorf("quarantine: %q of %d, want %q", got, n, want)
		}
		return list
	}
	const moved, misfit, mark = "b: repeated id", "x'00ff': blob id", "a: description is not valid UTF-8"
	list := quarantine(moved, misfit, mark)
	if list[2].Row != `id='a', assignee='Bill', description=x'ff', done='true', note='their note'` {
		t.Errorf("%s", list[2].Row)
	}
	if left := rows(t, db, `SELECT count(*) FROM tasks`); left != "int64:4" {
		t.Errorf("left: %s", left)
	}
	// A change that mends it lifts the mark; one that breaks it is listed at once.
	if _, err := db.Exec(`UPDATE tasks SET description='mended' WHERE id='a'; UPDATE tasks SET description=CAST(x'c3' AS TEXT) WHERE id='c'`); err != nil {
		t.Fatal(err)
	}
	quarantine(moved, misfit, "c: description is not valid UTF-8")
	if r := scan(t, s)["a"]; r.Unfit != "" || r.Rev != 2 || !r.Pending {
		t.Errorf("%+v", r)
	}
	// A write of ours decides, and so does Drop.
	next := fine()
	next.ID, next.Rev = key("c"), 3
	if err := s.CompareAndSwap(ctx, 1, next, store.Pair{Rev: 2, Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	quarantine(moved, misfit)
	only(t, "restore while the id is taken", s.Restore(ctx, list[0].Key), store.ErrConflict)
	only(t, "restore what was not moved", s.Restore(ctx, list[1].Key), store.ErrConflict)
	if err := s.Drop(ctx, list[1].Key); err != nil {
		t.Error(err)
	}
	only(t, "drop it once more", s.Drop(ctx, list[1].Key), store.ErrConflict)
	if _, err := db.Exec(`DELETE FROM tasks WHERE id='b'`); err != nil {
		t.Fatal(err)
	}
	if err := s.Restore(ctx, list[0].Key); err != nil {
		t.Error(err)
	}
	quarantine()
	if got := rows(t, db, `SELECT id, description, note FROM tasks WHERE id='b'`); got != "string:b|string:again|string:second" {
		t.Errorf("restored: %s", got)
	}
	if r := scan(t, s)["b"]; r.Rev != 3 || !r.Pending || r.Deleted {
		t.Errorf("%+v", r)
	}
	if _, err := db.Exec(`UPDATE tasks SET assignee=x'ff' WHERE id='c'`); err != nil {
		t.Fatal(err)
	}
	list = quarantine("c: assignee is not valid UTF-8")
	moveFence(t, s, store.Fence{Epoch: 2, Primary: store.PrimaryNew})
	only(t, "drop under new", s.Drop(ctx, list[0].Key), store.ErrFenceMoved)
	moveFence(t, s, store.Fence{Epoch: 3, Primary: store.PrimaryOld})
	if err := s.Drop(ctx, list[0].Key); err != nil {
		t.Error(err)
	}
	if r := scan(t, s)["c"]; !r.Deleted || !r.Pending || r.Pair != (store.Pair{Rev: 5, Epoch: 3}) {
		t.Errorf("dropped: %+v", r)
	}
	if err := errors.Join(s.Accept(ctx, 5), s.Accept(ctx, 2)); err != nil {
		t.Error(err)
	}
	if n, err := s.Accepted(ctx); n != 5 || err != nil {
		t.Errorf("accepted: %d, %v", n, err)
	}
}

// TestRepeatedIDsAreDecidedByHandOnly: a write to the first is no decision on the
// others.
func TestRepeatedIDsAreDecidedByHandOnly(t *testing.T) {
	ctx := context.Background()
	path := legacy(t, abc, `INSERT INTO tasks VALUES('a','B','second',0),('a','B','third',0)`)
	s := open(t, sqlite.Config{Path: path})
	contact(t, s)
	next := fine()
	next.ID, next.Rev = key("a"), 2
	if err := s.CompareAndSwap(ctx, 1, next, store.Pair{Rev: 1}); err != nil {
		t.Fatal(err)
	}
	list, n, err := s.Quarantine(ctx, 1)
	if err != nil || n != 2 || len(list) != 1 {
		t.Errorf("%+v, %d, %v", list, n, err)
	}
	for n := range int64(2) {
		list, left, err := s.Quarantine(ctx, 0)
		if err != nil || left != 2-n {
			t.Fatalf("%+v, %d, %v", list, left, err)
		}
		if err := s.Drop(ctx, list[0].Key); err != nil {
			t.Error(err)
		}
	}
	if list, n, err := s.Quarantine(ctx, 0); err != nil || n != 0 || scan(t, s)["a"] != next {
		t.Errorf("%+v, %v", list, err)
	}
}
