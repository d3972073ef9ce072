package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/sqlite"
)

const refusal = "migrate: writes have moved to the new database"

// foreignCase is something that a program does which knows nothing of us, to
// the tasks a, b and c at (1,0).
type foreignCase struct {
	name, sql string
	// want is what becomes of the records: "a2" is live at rev 2, "a2-" a
	// tombstone; those that are not named are as before.
	want    string
	fails   string // text of the error, when it fails under "old" too
	refused bool   // changes nothing under old, and is refused under new: a trigger comes before the index
	unseen  bool   // a row is replaced by a key that came after the take-over, which Guarded notices
	idle    bool   // touches no row: succeeds under any fence, changing nothing
}

var foreignCases = []foreignCase{
	{name: "insert", sql: `INSERT INTO tasks(id,assignee,description,done) VALUES('d','Bill','x',0)`, want: "d1"},
	{name: "insert by position", sql: `INSERT INTO tasks VALUES('d','Bill','x',0)`, want: "d1"},
	{name: "insert by some columns", sql: `INSERT INTO tasks(id) VALUES('d')`, want: "d1"},
	{name: "insert rows", sql: `INSERT INTO tasks VALUES('d','B','x',0),('e','B','x',1)`, want: "d1 e1"},
	{name: "insert from select", sql: `INSERT INTO tasks SELECT id||id,assignee,description,done FROM tasks`, want: "aa1 bb1 cc1"},
	{name: "insert a number", sql: `INSERT INTO tasks SELECT 5||'n','B','x',0`, want: "5n1"},
	{name: "insert returning", sql: `INSERT INTO tasks VALUES('d','B','x',0) RETURNING id`, want: "d1"},
	{name: "insert an existing id", sql: `INSERT INTO tasks VALUES('a','B','x',0)`, fails: "UNIQUE"},
	{name: "insert no id", sql: `INSERT INTO tasks VALUES(NULL,'B','x',0)`, fails: "migrate: id must be text"},
	{name: "insert a blob id", sql: `INSERT INTO tasks VALUES(x'61','B','x',0)`, fails: "migrate: id must be text"},
	{name: "insert an empty id", sql: `INSERT INTO tasks VALUES('','B','x',0)`, want: "1"},
	{name: "insert or ignore a new one", sql: `INSERT OR IGNORE INTO tasks VALUES('d','B','x',0)`, want: "d1"},
	{name: "insert or ignore an old one", sql: `INSERT OR IGNORE INTO tasks VALUES('a','B','x',0)`, refused: true},
	{name: "insert or ignore both", sql: `INSERT OR IGNORE INTO tasks VALUES('a','B','x',0),('d','B','x',0)`, want: "d1"},
	{name: "insert or ignore no id", sql: `INSERT OR IGNORE INTO tasks VALUES(NULL,'B','x',0)`, fails: "migrate: id must be text"},
	{name: "insert or fail", sql: `INSERT OR FAIL INTO tasks VALUES('d','B','x',0),('a','B','x',0),('e','B','x',0)`, want: "d1", fails: "UNIQUE"},
	{name: "insert or abort", sql: `INSERT OR ABORT INTO tasks VALUES('d','B','x',0),('a','B','x',0)`, fails: "UNIQUE"},
	{name: "insert or rollback", sql: `BEGIN; DELETE FROM tasks WHERE id='b'; INSERT OR ROLLBACK INTO tasks VALUES('d','B','x',0),('a','B','x',0)`, fails: "UNIQUE"},
	{name: "replace", sql: `REPLACE INTO tasks VALUES('a','B','x',0)`, want: "a2"},
	{name: "replace often", sql: strings.Repeat(`REPLACE INTO tasks VALUES('a','B','x',0);`, 9), want: "a10"},
	{name: "replace rows", sql: `INSERT OR REPLACE INTO tasks VALUES('a','B','x',0),('d','B','x',0),('b','B','x',1)`, want: "a2 b2 d1"},
	{name: "replace the same twice", sql: `REPLACE INTO tasks VALUES('a','B','x',0),('a','B','y',0)`, want: "a3"},
	{name: "replace with recursive triggers", sql: `PRAGMA recursive_triggers=ON; REPLACE INTO tasks VALUES('a','B','x',0)`, want: "a3"},
	{name: "replace by row id", sql: `REPLACE INTO tasks(rowid,id,assignee,description,done) VALUES(1,'d','B','x',0)`, want: "a2- d1"},
	{name: "replace by another unique index", sql: `CREATE UNIQUE INDEX other ON tasks(description); REPLACE INTO tasks VALUES('d','B','one',0)`, want: "d1", unseen: true},
	{name: "upsert an old one", sql: `INSERT INTO tasks VALUES('a','B','x',0) ON CONFLICT(id) DO UPDATE SET done=1`, want: "a2"},
	{name: "upsert a new one", sql: `INSERT INTO tasks VALUES('d','B','x',0) ON CONFLICT(id) DO UPDATE SET done=1`, want: "d1"},
	{name: "upsert doing nothing", sql: `INSERT INTO tasks VALUES('a','B','x',0) ON CONFLICT(id) DO NOTHING`, refused: true},
	{name: "update", sql: `UPDATE tasks SET done=1 WHERE id='a'`, want: "a2"},
	{name: "update to the same", sql: `UPDATE tasks SET done=done WHERE id='a'`, want: "a2"},
	{name: "update rows", sql: `UPDATE tasks SET description=description||'!'`, want: "a2 b2 c2"},
	{name: "update of nothing", sql: `UPDATE tasks SET done=1 WHERE id='nobody'`, idle: true},
	{name: "update returning", sql: `UPDATE tasks SET done=1 WHERE id='b' RETURNING id`, want: "b2"},
	{name: "update from", sql: `UPDATE tasks SET done=1 FROM (SELECT 'c' AS x) WHERE id=x`, want: "c2"},
	{name: "update the row id", sql: `UPDATE tasks SET rowid=77 WHERE id='a'`, want: "a2"},
	{name: "update to NULLs", sql: `UPDATE tasks SET assignee=NULL, description=NULL, done=NULL WHERE id='a'`, want: "a2"},
	{name: "change an id", sql: `UPDATE tasks SET id='z' WHERE id='a'`, want: "a2- z1"},
	{name: "change its case", sql: `UPDATE tasks SET id='A' WHERE id='a'`, want: "a2- A1"},
	{name: "change ids", sql: `UPDATE tasks SET id=id||'x'`, want: "a2- ax1 b2- bx1 c2- cx1"},
	{name: "change an id there and back", sql: `UPDATE tasks SET id='z' WHERE id='a'; UPDATE tasks SET id='a' WHERE id='z'`, want: "a3 z2-"},
	{name: "change an id to a deleted one", sql: `DELETE FROM tasks WHERE id='b'; UPDATE tasks SET id='b' WHERE id='a'`, want: "a2- b3"},
	{name: "change an id to another's", sql: `UPDATE tasks SET id='b' WHERE id='a'`, fails: "UNIQUE"},
	{name: "change an id to none", sql: `UPDATE tasks SET id=NULL WHERE id='a'`, fails: "migrate: id must be text"},
	{name: "change an id to a blob", sql: `UPDATE tasks SET id=x'61' WHERE id='a'`, fails: "migrate: id must be text"},
	{name: "change an id to nothing", sql: `UPDATE tasks SET id='' WHERE id='a'`, want: "a2- 1"},
	{name: "update or replace", sql: `UPDATE OR REPLACE tasks SET id='b' WHERE id='a'`, want: "a2- b2"},
	{name: "update or ignore", sql: `UPDATE OR IGNORE tasks SET id='b'`, want: "b2"},
	{name: "delete", sql: `DELETE FROM tasks WHERE id='a'`, want: "a2-"},
	{name: "delete all", sql: `DELETE FROM tasks`, want: "a2- b2- c2-"},
	{name: "delete returning", sql: `DELETE FROM tasks WHERE id='a' RETURNING id`, want: "a2-"},
	{name: "delete nothing", sql: `DELETE FROM tasks WHERE id='nobody'`, idle: true},
	{name: "insert over a tombstone", sql: `DELETE FROM tasks WHERE id='a'; INSERT INTO tasks VALUES('a','B','x',0)`, want: "a3"},
	{name: "replace over a tombstone", sql: `DELETE FROM tasks WHERE id='a'; REPLACE INTO tasks VALUES('a','B','x',0)`, want: "a3"},
	{name: "delete twice", sql: `DELETE FROM tasks WHERE id='a'; INSERT INTO tasks VALUES('a','B','x',0); DELETE FROM tasks WHERE id='a'`, want: "a4-"},
	{name: "a transaction", sql: `BEGIN; UPDATE tasks SET done=1 WHERE id='a'; DELETE FROM tasks WHERE id='b'; COMMIT`, want: "a2 b2-"},
	{name: "a savepoint", sql: `SAVEPOINT s; UPDATE tasks SET done=1 WHERE id='a'; RELEASE s`, want: "a2"},
	{name: "VACUUM", sql: `VACUUM`, idle: true},
	{name: "an update after VACUUM", sql: `VACUUM; UPDATE tasks SET done=1 WHERE id='a'`, want: "a2"},
	{name: "an update after ADD COLUMN", sql: `ALTER TABLE tasks ADD COLUMN note TEXT DEFAULT 'n'; UPDATE tasks SET note='m' WHERE id='a'`, want: "a2"},
	{name: "an update with foreign keys", sql: `PRAGMA foreign_keys=ON; UPDATE tasks SET done=1 WHERE id='a'`, want: "a2"},
}

// writer runs a foreign program's statements and returns how it failed.
type writer func(path, sql string) error

func shellWriter(t testing.TB) writer {
	program := shell(t)
	return func(path, sql string) error {
		var stderr bytes.Buffer
		cmd := exec.Command(program, "-batch", "-bail", path, ".timeout 10000", sql)
		cmd.Stderr = &stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%w: %s", err, &stderr)
		}
		return nil
	}
}

func plainWriter(t testing.TB) writer {
	return func(path, sql string) error {
		db := plain(t, path)
		defer db.Close()
		_, err := db.Exec(sql)
		return err
	}
}

const abc = `INSERT INTO tasks VALUES('a','Bill','one',0),('b','Jane','two',1),('c','Bill','it''s ☃',0)`

func TestForeignWriters(t *testing.T) {
	for name, w := range map[string]func(testing.TB) writer{"shell": shellWriter, "driver": plainWriter} {
		t.Run(name, func(t *testing.T) {
			write, starts := w(t), starts(t)
			granted, refused := 0, 0
			for _, c := range foreignCases {
				t.Run(c.name, func(t *testing.T) {
					g, r, err := c.run(t, starts, write, nil)
					if err != nil {
						t.Error(err)
					}
					granted, refused = granted+g, refused+r
				})
			}
			if granted == 0 || refused == 0 {
				t.Errorf("granted %d, refused %d", granted, refused)
			}
		})
	}
}

// start is a file with the tasks a, b and c, under a fence.
type start struct {
	fence store.Fence
	file  []byte
}

// starts returns one for every state of the fence.
func starts(t testing.TB) []start {
	t.Helper()
	var all []start
	for _, fence := range []store.Fence{
		{Epoch: 1, Primary: store.PrimaryOld},
		{Epoch: 3, Primary: store.PrimaryOld},
		{Epoch: 2, Primary: store.PrimaryNew},
		{Epoch: 2, Primary: store.PrimaryNew, Closing: true, Token: "t"},
		{Epoch: 2, Primary: store.PrimaryOld, Closing: true, Token: "t"},
	} {
		path := legacy(t, abc)
		s := open(t, sqlite.Config{Path: path})
		contact(t, s)
		moveFence(t, s, fence)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, start{fence, file})
	}
	return all
}

// run performs the case at each start and returns what is wrong. spoil, if
// given, spoils the triggers first.
func (c foreignCase) run(t testing.TB, starts []start, write writer, spoil func(*sql.DB)) (granted, refused int, err error) {
	for _, start := range starts {
		fence, path := start.fence, filepath.Join(dir(t), "todo.sqlite")
		if err := os.WriteFile(path, start.file, 0o600); err != nil {
			t.Fatal(err)
		}
		s, db := open(t, sqlite.Config{Path: path}), plain(t, path)
		if spoil != nil {
			spoil(db)
		}
		before := state(t, db)
		failure := write(path, c.sql)
		if fence.Primary == store.PrimaryOld && !fence.Closing {
			granted++
			if err := c.checkGranted(t, s, fence, failure); err != nil {
				return granted, refused, fmt.Errorf("under %+v: %w", fence, err)
			}
			continue
		}
		refused++
		switch {
		case c.idle && failure != nil:
			return granted, refused, fmt.Errorf("under %+v it changes nothing, and fails: %w", fence, failure)
		case !c.idle && (failure == nil || !strings.Contains(failure.Error(), refusal) && (c.fails == "" || !strings.Contains(failure.Error(), c.fails))):
			return granted, refused, fmt.Errorf("under %+v it should be refused: %w", fence, failure)
		}
		if after := state(t, db); after != before {
			return granted, refused, fmt.Errorf("under %+v it is refused, yet\n%s\nbecame\n%s", fence, before, after)
		}
	}
	return granted, refused, nil
}

func (c foreignCase) checkGranted(t testing.TB, s *sqlite.Store, fence store.Fence, failure error) error {
	if (failure != nil) != (c.fails != "") || failure != nil && !strings.Contains(failure.Error(), c.fails) {
		return fmt.Errorf("it ended with %w, want %q", failure, c.fails)
	}
	want := map[string]string{"a": "a1", "b": "b1", "c": "c1"}
	for _, w := range strings.Fields(c.want) {
		want[strings.TrimRight(w, "0123456789-")] = w
	}
	got := map[string]string{}
	for id, r := range scan(t, s) {
		got[id] = fmt.Sprint(id, r.Rev)
		if r.Deleted {
			got[id] += "-"
		}
		if touched := r.Rev > 1 || !slices.Contains([]string{"a", "b", "c"}, id); touched != r.Pending || touched && r.Epoch != fence.Epoch {
			return fmt.Errorf("%s %v: pending is %v, the fence at epoch %d", id, r.Pair, r.Pending, fence.Epoch)
		}
	}
	swept, err := s.Sweep(context.Background())
	if c.unseen {
		if swept != 0 || !errors.Is(err, store.ErrStranger) {
			return fmt.Errorf("the sweep finds %d, %w", swept, err)
		}
		delete(want, "a")
	} else if err != nil || swept != 0 {
		return fmt.Errorf("the sweep finds %d, %w", swept, err)
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("records are %v, want %v", slices.Sorted(maps.Values(got)), slices.Sorted(maps.Values(want)))
	}
	return nil
}

// TestSpoiltTriggersAreCaught: each rule of the triggers' text is there for a
// reason that the cases know.
func TestSpoiltTriggersAreCaught(t *testing.T) {
	page, err := os.ReadFile("../../../docs/hazards.md")
	if err != nil {
		t.Fatal(err)
	}
	const fence, insert = ` AND NOT EXISTS(SELECT 1 FROM migrate_fence WHERE prim='old' AND state='open')`, `INSERT INTO "migrate_tasks"(k1,rev,epoch,pending,deleted) SELECT NEW."id",0,0,0,0`
	const any, same = `NOT(typeof(NEW."id")='text')`, ` AND NOT(NEW."id" COLLATE BINARY IS OLD."id")`
	const gone = `deleted=NOT EXISTS(SELECT 1 FROM "tasks" x WHERE "migrate_tasks".k1=x."id")`
	for _, spoilt := range []struct{ name, trigger, old, new string }{
		{"insert: OR IGNORE, which an outer REPLACE overrides", "ai", insert + ` WHERE NOT EXISTS(SELECT 1 FROM "migrate_tasks" WHERE k1=NEW."id")`,
			`INSERT OR IGNORE INTO migrate_tasks(k1,rev,epoch,pending,deleted) VALUES(NEW.id,0,0,0,0)`},
		{"insert: no fence", "bi", fence, ` AND 0`},
		{"update: no fence", "bu", fence, ` AND 0`},
		{"delete: no fence", "bd", fence, ` AND 0`},
		{"insert: closing counts as open", "bi", ` AND state='open'`, ``},
		{"insert: any id", "ai", any, `0`},
		{"update: any id", "au", any, `0`},
		{"insert: not pending", "ai", `pending=1`, `pending=0`},
		{"insert: no epoch", "ai", `epoch=(SELECT epoch FROM migrate_fence)`, `epoch=epoch`},
		{"insert: a tombstone stays one", "ai", `,` + gone, ``},
		{"update: same rev", "au", `SET rev=rev+1`, `SET rev=rev`},
		{"update: no tombstone for the former id", "au", gone, `deleted=0`},
		{"update: counted twice", "au", same, ``},
		{"update: no record for a new id", "au", insert, `INSERT INTO "migrate_tasks"(k1,rev,epoch,pending,deleted) SELECT x.id,0,0,0,0 FROM (SELECT NULL AS id WHERE 0) x`},
		{"delete: no tombstone", "ad", gone, `deleted=0`},
		{"replaced by row id: no doubt", "di", `doubt=1`, `doubt=0`},
		{"replaced by row id: never settled", "ei", `deleted=1`, `deleted=0`},
		{"replaced by row id: the rev stays", "ei", `rev=rev+1`, `rev=rev`},
	} {
		if !strings.Contains(string(page), "`"+spoilt.name+"`") {
			t.Errorf("docs/hazards.md doesn't name %q", spoilt.name)
		}
		t.Run(spoilt.name, func(t *testing.T) {
			write, starts := plainWriter(t), starts(t)
			spoil := func(db *sql.DB) {
				var text string
				if err := db.QueryRow(`SELECT sql FROM sqlite_master WHERE name=?`, "migrate_tasks."+spoilt.trigger).Scan(&text); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(text, spoilt.old) {
					t.Fatalf("%s has no %q: %s", spoilt.trigger, spoilt.old, text)
				}
				text = strings.ReplaceAll(text, spoilt.old, spoilt.new)
				if _, err := db.Exec(`DROP TRIGGER "migrate_tasks.` + spoilt.trigger + `";` + text); err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range foreignCases {
				if _, _, err := c.run(t, starts, write, spoil); err != nil {
					t.Logf("%s: %v", c.name, err)
					return
				}
			}
			t.Error("no case notices")
		})
	}
}
