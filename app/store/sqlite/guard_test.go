package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"migrate/app/store"
	"migrate/app/store/sqlite"
)

func TestGuarded(t *testing.T) {
	ctx := context.Background()
	rebuild := `CREATE TABLE new(id text, assignee text, description text, done boolean, note text);
		INSERT INTO new SELECT id,assignee,description,done,'' FROM tasks; DROP TABLE tasks; ALTER TABLE new RENAME TO tasks`
	for _, c := range []struct{ name, sql, missing string }{
		{"nothing happened", `SELECT 1`, ""},
		{"VACUUM", `VACUUM`, ""},
		{"a column and an index more", `ALTER TABLE tasks ADD COLUMN note text; CREATE INDEX theirs ON tasks(note)`, ""},
		{"renamed there and back", `ALTER TABLE tasks RENAME TO x; ALTER TABLE x RENAME TO tasks`, "migrate_ins"},
		{"no insert trigger", `DROP TRIGGER migrate_ins`, "migrate_ins is missing"},
		{"no update trigger", `DROP TRIGGER migrate_upd`, "migrate_upd is missing"},
		{"no delete trigger", `DROP TRIGGER migrate_del`, "migrate_del is missing"},
		{"no unique index", `DROP INDEX migrate_id`, "migrate_id is missing"},
		{"another text", `DROP TRIGGER migrate_del; CREATE TRIGGER migrate_del AFTER DELETE ON tasks BEGIN SELECT 1; END`, "migrate_del has another text"},
		{"rebuilt", rebuild, "migrate_ins is missing, migrate_upd is missing"},
		{"dropped", `DROP TABLE tasks`, "migrate_upd is missing"},
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
	if list, err := again.Quarantine(ctx); err != nil || len(list) != 1 {
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
	if left := rows(t, plain(t, path), `SELECT count(*) FROM migrate_record WHERE deleted=0`); n != 0 || left != "int64:3" {
		t.Errorf("swept %d, left %s", n, left)
	}
}

func TestSweepOnlyWhileOldIsOpen(t *testing.T) {
	ctx := context.Background()
	for _, fence := range []store.Fence{
		{Epoch: 2, Primary: store.PrimaryNew},
		{Epoch: 1, Primary: store.PrimaryOld, Closing: true, Token: "t"},
	} {
		path := legacy(t, abc)
		s := open(t, sqlite.Config{Path: path})
		contact(t, s)
		if _, err := plain(t, path).Exec(`REPLACE INTO tasks(rowid,id) VALUES(1,'d')`); err != nil {
			t.Fatal(err)
		}
		moveFence(t, s, fence)
		if n, err := s.Sweep(ctx); n != 0 || err != nil || scan(t, s)["a"].Rev != 1 {
			t.Errorf("under %+v: %d, %v", fence, n, err)
		}
		moveFence(t, s, store.Fence{Epoch: 7, Primary: store.PrimaryOld})
		if n, err := s.Sweep(ctx); n != 1 || err != nil || scan(t, s)["a"].Pair != (store.Pair{Rev: 2, Epoch: 7}) {
			t.Errorf("back under old: %d, %v", n, err)
		}
	}
}

func TestIsolate(t *testing.T) {
	ctx := context.Background()
	path := legacy(t, `ALTER TABLE tasks ADD COLUMN note text`)
	s := open(t, sqlite.Config{Path: path})
	contact(t, s)
	db := plain(t, path)
	if _, err := db.Exec(`INSERT INTO tasks VALUES('a','Bill',x'ff','true','their note'),(CAST(x'ff' AS TEXT),'Bill','x',0,NULL)`); err != nil {
		t.Fatal(err)
	}
	for id, r := range scan(t, s) {
		if err := s.Isolate(ctx, 1, r.Mark(), "not valid"); err != nil {
			t.Fatal(err)
		}
		stone := scan(t, s)[id]
		if !stone.Deleted || !stone.Pending || stone.Pair != (store.Pair{Rev: 2, Epoch: 1}) {
			t.Errorf("%q: %v, deleted %v, pending %v", id, stone.Pair, stone.Deleted, stone.Pending)
		}
		only(t, "isolate the former copy", s.Isolate(ctx, 1, r.Mark(), "again"), store.ErrConflict)
	}
	if left := rows(t, db, `SELECT * FROM tasks`); left != "" {
		t.Errorf("left: %s", left)
	}
	list, err := s.Quarantine(ctx)
	if err != nil || len(list) != 2 || list[0].ID+list[1].ID != "aCAST(x'ff' AS TEXT)" && list[0].ID+list[1].ID != "CAST(x'ff' AS TEXT)a" {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, q := range list {
		if q.ID == "a" && q.Row != `id='a', assignee='Bill', description=x'ff', done='true', note='their note'` {
			t.Errorf("%s", q.Row)
		}
	}
	// The tombstone of an id that new can't hold goes nowhere either.
	stone := scan(t, s)["\xff"]
	if err := s.Isolate(ctx, 1, stone.Mark(), "not valid"); err != nil {
		t.Fatal(err)
	}
	if _, there := scan(t, s)["\xff"]; there {
		t.Error("it is still there")
	}
	// A create through the primary decides; so does Drop.
	next := fine()
	next.ID, next.Rev = "a", 3
	if err := s.CompareAndSwap(ctx, 1, next, store.Pair{Rev: 2, Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Quarantine(ctx); err != nil || len(list) != 1 || list[0].ID != "CAST(x'ff' AS TEXT)" {
		t.Errorf("after a create: %+v, %v", list, err)
	}
	if n, err := s.Drop(ctx, "CAST(x'ff' AS TEXT)"); n != 1 || err != nil {
		t.Errorf("Drop: %d, %v", n, err)
	}
	if list, err := s.Quarantine(ctx); err != nil || len(list) != 0 {
		t.Errorf("after Drop: %+v, %v", list, err)
	}
}

func TestRepeatedIDsAreDecidedByDropOnly(t *testing.T) {
	ctx := context.Background()
	path := legacy(t, abc, `INSERT INTO tasks VALUES('a','B','second',0),('a','B','third',0)`)
	s := open(t, sqlite.Config{Path: path})
	contact(t, s)
	next := fine()
	next.ID, next.Rev = "a", 2
	if err := s.CompareAndSwap(ctx, 1, next, store.Pair{Rev: 1}); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Quarantine(ctx); err != nil || len(list) != 2 {
		t.Errorf("%+v, %v", list, err)
	}
	if n, err := s.Drop(ctx, "a"); n != 2 || err != nil {
		t.Errorf("Drop: %d, %v", n, err)
	}
	if list, err := s.Quarantine(ctx); err != nil || len(list) != 0 || scan(t, s)["a"] != next {
		t.Errorf("%+v, %v", list, err)
	}
}
