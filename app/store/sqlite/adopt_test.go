package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/sqlite"
	"migrate.invalid/migrate/app/task"
)

// TestSecondUniqueKey: a row that is replaced by it is a tombstone at once, and a
// rule of old is one, not a fault of the record.
func TestSecondUniqueKey(t *testing.T) {
	ctx := context.Background()
	path := made(t, `CREATE TABLE tasks(id text primary key, assignee text, description text COLLATE NOCASE UNIQUE, done boolean)`,
		`INSERT INTO tasks VALUES('a','Bill','one',0),('b','Bill','two',0),('c','Bill',NULL,0)`)
	s := open(t, sqlite.Config{Path: path, Accept: []string{"unique:sqlite_autoindex_tasks_2"}})
	contact(t, s)
	db := plain(t, path)
	if _, err := db.Exec(`REPLACE INTO tasks VALUES('d','Bill','ONE',0); UPDATE OR REPLACE tasks SET description='Two' WHERE id='c'; INSERT OR IGNORE INTO tasks VALUES('e','x','two',0)`); err != nil {
		t.Fatal(err)
	}
	got := scan(t, s)
	for id, want := range map[string]string{"a": "(2,1) deleted", "b": "(2,1) deleted", "c": "(2,1)", "d": "(1,1)"} {
		state := got[id].Pair.String()
		if got[id].Deleted {
			state += " deleted"
		}
		if state != want || !got[id].Pending {
			t.Errorf("%s is at %s, want %s", id, state, want)
		}
	}
	if len(got) != 4 {
		t.Errorf("%v", got)
	}
	if n, err := s.Sweep(ctx); n != 0 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
}

// TestRollbackLeavesNothingLocked: a refusal by the fence ends the transaction
// of the program that it refuses.
func TestRollbackLeavesNothingLocked(t *testing.T) {
	ctx := context.Background()
	path := legacy(t, abc)
	s := open(t, sqlite.Config{Path: path, BusyTimeout: 300 * time.Millisecond})
	contact(t, s)
	moveFence(t, s, store.Fence{Epoch: 2, Primary: store.PrimaryNew})
	for _, write := range []string{`INSERT INTO tasks VALUES('d','B','x',0)`, `UPDATE tasks SET done=1`, `DELETE FROM tasks WHERE id='a'`, `REPLACE INTO tasks VALUES('a','B','x',0)`} {
		db := plain(t, path)
		if _, err := db.Exec(`BEGIN IMMEDIATE`); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(write); err == nil || !strings.Contains(err.Error(), refusal) {
			t.Errorf("%s: %v", write, err)
		}
		// The program catches the error, and keeps its connection.
		if err := s.PutIfNewer(ctx, 2, fine()); err != nil {
			t.Errorf("a copy after %s: %v", write, err)
		}
		if _, err := db.Exec(`COMMIT`); err == nil {
			t.Errorf("%s left a transaction open", write)
		}
	}
}

// TestAcceptedRulesAreRemembered: a table that is taken over again has the rules
// that it had.
func TestAcceptedRulesAreRemembered(t *testing.T) {
	ctx := context.Background()
	path := made(t, `CREATE TABLE tasks(id text primary key, assignee text, description text UNIQUE, done boolean CHECK(done<2))`, `INSERT INTO tasks VALUES('a','B','x',0)`)
	s := open(t, sqlite.Config{Path: path})
	if _, err := s.Adopt(ctx, store.AdoptOptions{Accept: []string{"unique:sqlite_autoindex_tasks_2", "check:tasks"}}); err != nil {
		t.Fatal(err)
	}
	db := plain(t, path)
	if _, err := db.Exec(`DROP TRIGGER "migrate_tasks.bi"`); err != nil {
		t.Fatal(err)
	}
	contact(t, open(t, sqlite.Config{Path: path}))
	if err := s.Guarded(ctx); err != nil {
		t.Error(err)
	}
	if _, err := db.Exec(`DROP TRIGGER "migrate_tasks.bi"; CREATE UNIQUE INDEX more ON tasks(assignee)`); err != nil {
		t.Fatal(err)
	}
	_, err := open(t, sqlite.Config{Path: path}).FirstContact(ctx)
	only(t, "with a rule more", err, store.ErrUnsuited)
	if !strings.Contains(fmt.Sprint(err), "--accept unique:more") || strings.Contains(fmt.Sprint(err), "CHECK") {
		t.Error(err)
	}
}

// TestOtherRowsOfOneTransaction: a guard is for one record only. What a trigger of
// the table's own, or a cascade, does to other records is a change of theirs.
func TestOtherRowsOfOneTransaction(t *testing.T) {
	ctx := context.Background()
	all := collections(t,
		record.Collection{Name: "orders", ID: []string{"id"}, Fields: []record.Field{{Name: "id", Type: record.Int}, {Name: "customer", Type: record.Int}}},
		record.Collection{Name: "customers", ID: []string{"id"}, Fields: []record.Field{{Name: "id", Type: record.Int}, {Name: "n", Type: record.Int}}})
	path := made(t, `CREATE TABLE customers(id INTEGER PRIMARY KEY, n INTEGER)`,
		`CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers(id) ON DELETE CASCADE)`,
		`CREATE TRIGGER counts AFTER INSERT ON orders BEGIN UPDATE customers SET n=n+1 WHERE id=NEW.customer; END`,
		`INSERT INTO customers VALUES(1,0),(2,0)`, `INSERT INTO orders VALUES(1,1),(2,2)`)
	s := open(t, sqlite.Config{Path: path, Collections: all, Accept: []string{"trigger:counts"}})
	_, err := s.FirstContact(ctx)
	only(t, "a trigger that writes what is taken over", err, store.ErrUnsuited) // no copy could be made
	db := plain(t, path)
	if _, err := db.Exec(`DROP TRIGGER counts; CREATE TRIGGER counts AFTER INSERT ON orders WHEN NEW.id>10 BEGIN UPDATE customers SET n=n+1 WHERE id=NEW.customer; END`); err != nil {
		t.Fatal(err)
	}
	contact(t, s)
	id, err := record.NewID("orders", record.OfInt(11))
	if err != nil {
		t.Fatal(err)
	}
	order := sqlite.Record{ID: id, Pair: store.Pair{Rev: 1, Epoch: 1}, Body: record.NewBody(record.OfInt(1))}
	if err := s.CompareAndSwap(ctx, 1, order, store.Pair{}); err != nil {
		t.Fatal(err)
	}
	at := func() string {
		var found []string
		page, _, err := s.Scan(ctx, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Records {
			found = append(found, fmt.Sprintf("%c%s%v%v%v", r.ID.Collection()[0], r.ID, r.Pair, r.Pending, r.Deleted))
		}
		return strings.Join(found, " ")
	}
	if got, want := at(), "c1(2,1)truefalse c2(1,0)falsefalse o1(1,0)falsefalse o2(1,0)falsefalse o11(1,1)falsefalse"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if _, err := db.Exec(`PRAGMA foreign_keys=ON; DELETE FROM customers WHERE id=2`); err != nil {
		t.Fatal(err)
	}
	if got, want := at(), "c1(2,1)truefalse c2(2,1)truetrue o1(1,0)falsefalse o2(2,1)truetrue o11(1,1)falsefalse"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	// Copies enforce no foreign key, and cascade nowhere.
	orphan, gone := order, sqlite.Record{Pair: store.Pair{Rev: 3, Epoch: 1}, Deleted: true}
	orphan.ID, _ = record.NewID("orders", record.OfInt(3))
	orphan.Body = record.NewBody(record.OfInt(77))
	gone.ID, _ = record.NewID("customers", record.OfInt(1))
	if err := s.PutIfNewer(ctx, 1, orphan, gone); err != nil {
		t.Error(err)
	}
	if got := rows(t, db, `SELECT id, customer FROM orders`); got != "int64:1|int64:1\nint64:3|int64:77\nint64:11|int64:1" {
		t.Errorf("%s", got)
	}
}

// TestGap: a table that was rebuilt is taken over again, and no companion of it is
// believed.
func TestGap(t *testing.T) {
	ctx := context.Background()
	path := legacy(t, abc, `INSERT INTO tasks VALUES('gone','B','x',0)`)
	s := open(t, sqlite.Config{Path: path})
	first := contact(t, s)
	db := plain(t, path)
	if _, err := db.Exec(`BEGIN; CREATE TABLE tmp(id VARCHAR NOT NULL, assignee VARCHAR, description VARCHAR, done BOOLEAN, prio INTEGER DEFAULT 0, PRIMARY KEY(id));
		INSERT INTO tmp(id,assignee,description,done) SELECT id,assignee,description,done FROM tasks; DROP TABLE tasks; ALTER TABLE tmp RENAME TO tasks; COMMIT;
		INSERT INTO tasks(id,assignee,description,done) VALUES('n','b','after the rebuild',0); UPDATE tasks SET description='unseen' WHERE id='a'; DELETE FROM tasks WHERE id='gone'`); err != nil {
		t.Fatal(err)
	}
	only(t, "Guarded", s.Guarded(ctx), store.ErrStranger)
	set := func(fence string) {
		t.Helper()
		if _, err := db.Exec(`UPDATE migrate_fence SET ` + fence); err != nil {
			t.Fatal(err)
		}
	}
	set(`epoch=2, prim='new'`)
	_, err := s.FirstContact(ctx)
	only(t, "adopt again under new", err, store.ErrStranger)
	set(`epoch=3, prim='old'`)
	again := contact(t, s)
	if again.Migration != first.Migration || again.Fresh {
		t.Errorf("%+v", again)
	}
	if err := errors.Join(s.Guarded(ctx), s.Filled(ctx)); err != nil {
		t.Error(err)
	}
	got := scan(t, s)
	for id, rev := range map[string]int64{"a": 2, "b": 2, "c": 2, "n": 1, "gone": 2} {
		if r := got[id]; r.Pair != (store.Pair{Rev: rev, Epoch: 3}) || !r.Pending || r.Deleted != (id == "gone") {
			t.Errorf("%s: %+v", id, r)
		}
	}
	before := state(t, db)
	contact(t, s)
	if state(t, db) != before {
		t.Error("adopting once more changed something")
	}
}

// TestRenamedTableKept: what is ours goes with a table that is renamed and kept.
// It is taken over from there, and undo leaves nothing behind.
func TestRenamedTableKept(t *testing.T) {
	ctx := context.Background()
	for _, again := range []bool{true, false} {
		path := legacy(t, abc)
		s := open(t, sqlite.Config{Path: path})
		contact(t, s)
		run(t, path, `ALTER TABLE tasks RENAME TO tasks_old`, `CREATE TABLE tasks(id text, assignee text, description text, done boolean)`,
			`INSERT INTO tasks SELECT * FROM tasks_old`)
		only(t, "Guarded", s.Guarded(ctx), store.ErrStranger)
		if again {
			contact(t, s)
			if err := errors.Join(s.Guarded(ctx), s.Filled(ctx)); err != nil {
				t.Error(err)
			}
			db := plain(t, path)
			if got := rows(t, db, `SELECT name FROM sqlite_master WHERE tbl_name='tasks_old' AND name LIKE 'migrate%'`); strings.Contains(got, "migrate_tasks.b") || strings.Contains(got, "migrate_tasks.id") {
				t.Errorf("on the former table: %s", got)
			}
			db.Close()
		}
		if _, err := s.Release(ctx); err != nil {
			t.Error(err)
		}
		if got := rows(t, plain(t, path), `SELECT name FROM sqlite_master WHERE name LIKE 'migrate%'`); got != "" {
			t.Errorf("undone, yet there is %s", got)
		}
		run(t, path, `DELETE FROM tasks_old`)
	}
}

// TestRelease: rows, schema and journal mode are as before, and the copy stays.
func TestRelease(t *testing.T) {
	ctx := context.Background()
	for _, mode := range []string{"delete", "truncate", "wal"} {
		path := legacy(t, abc, `INSERT INTO tasks VALUES('a','B','again',0),('d','B','x',0)`, `PRAGMA journal_mode=`+mode)
		all := func() string {
			db := plain(t, path)
			defer db.Close()
			return rows(t, db, `SELECT rowid, * FROM tasks ORDER BY rowid`) + "\n" + rows(t, db, `SELECT name, sql FROM sqlite_master ORDER BY name`)
		}
		before := all()
		s := open(t, sqlite.Config{Path: path})
		c := contact(t, s)
		moveFence(t, s, store.Fence{Epoch: 2, Primary: store.PrimaryNew})
		_, err := s.Release(ctx)
		only(t, "release under new", err, store.ErrFenceMoved)
		s.Close()
		path2 := legacy(t, abc, `INSERT INTO tasks VALUES('a','B','again',0),('d','B','x',0)`, `PRAGMA journal_mode=`+mode)
		path = path2
		s = open(t, sqlite.Config{Path: path})
		c = contact(t, s)
		copied, err := s.Release(ctx)
		if err != nil || copied != c.Copy || len(copies(t, path)) != 1 {
			t.Errorf("%s: %q, %v", mode, copied, err)
		}
		if after := all(); after != before {
			t.Errorf("%s: before\n%s\nafter\n%s", mode, before, after)
		}
		_, err = s.Fence(ctx)
		only(t, "the fence", err, store.ErrStranger)
		s.Close()
		// SQLite itself says truncate and persist of a connection, not of the file.
		if got, want := rows(t, plain(t, path), `PRAGMA journal_mode`), map[bool]string{true: "string:wal", false: "string:delete"}[mode == "wal"]; got != want {
			t.Errorf("journal mode %s, want %s", got, want)
		}
		again := open(t, sqlite.Config{Path: path})
		if c := contact(t, again); !c.Fresh || c.Rows != 4 || c.Quarantined != 1 {
			t.Errorf("taken over anew: %+v", c)
		}
	}
}

// TestPutBack: nobody acts on a fence that is older than one it has seen, on a
// walk with another declaration, or on one that an earlier version began.
func TestPutBack(t *testing.T) {
	ctx := context.Background()
	s, path := fresh(t)
	moveFence(t, s, store.Fence{Epoch: 4, Primary: store.PrimaryOld})
	if _, err := plain(t, path).Exec(`UPDATE migrate_fence SET epoch=3`); err != nil {
		t.Fatal(err)
	}
	only(t, "a lower epoch", s.CompareAndSwap(ctx, 3, fine(), store.Pair{}), store.ErrStranger)
	_, _, err := s.Get(ctx, key("a"))
	only(t, "a lower epoch", err, store.ErrStranger)
	if _, _, err := open(t, sqlite.Config{Path: path}).Get(ctx, key("a")); err != nil {
		t.Errorf("another process: %v", err)
	}
	other := collections(t, record.Collection{Name: "tasks", ID: []string{"id"}, Fields: []record.Field{{Name: "id", Type: record.Text}}})
	_, err = open(t, sqlite.Config{Path: path, Collections: other}).Fence(ctx)
	only(t, "another declaration", err, store.ErrStranger)
	if !strings.Contains(fmt.Sprint(err), "assignee") {
		t.Errorf("it doesn't say the difference: %v", err)
	}
	if _, err := plain(t, path).Exec(`UPDATE migrate_fence SET format=3`); err != nil {
		t.Fatal(err)
	}
	_, err = s.Fence(ctx)
	only(t, "another format", err, store.ErrStranger)
	earlier := legacy(t, `CREATE TABLE migrate_fence(one INTEGER PRIMARY KEY CHECK(one=1), migration TEXT NOT NULL, epoch INT NOT NULL,
		prim TEXT NOT NULL, state TEXT NOT NULL, token TEXT, deadline INT)`, `INSERT INTO migrate_fence VALUES(1,'m',1,'old','open',NULL,NULL)`)
	_, err = open(t, sqlite.Config{Path: earlier}).FirstContact(ctx)
	only(t, "an earlier version", err, store.ErrStranger)
	if !strings.Contains(fmt.Sprint(err), "finish that walk with the version that began it") {
		t.Error(err)
	}
}

// TestRowsWithoutCompanion: one counts as (1,0), and whoever touches it first
// makes that real.
func TestRowsWithoutCompanion(t *testing.T) {
	ctx := context.Background()
	path := legacy(t, abc, `INSERT INTO tasks VALUES('d','B','x',0),('e','B','x',0),('f','B','x',0),('g','B','x',0)`)
	s := open(t, sqlite.Config{Path: path})
	contact(t, s)
	db := plain(t, path)
	forget := func() {
		t.Helper()
		if _, err := db.Exec(`DELETE FROM migrate_tasks WHERE rev=1; UPDATE migrate_collection SET filled=0, position=''`); err != nil {
			t.Fatal(err)
		}
	}
	forget()
	if err := s.Filled(ctx); err == nil {
		t.Error("filled")
	}
	if page, _, err := s.List(ctx, selected(task.Filter{}), "", 100); err != nil || len(page.Records) != 7 {
		t.Errorf("%+v, %v", page, err)
	}
	next := fine()
	next.ID = key("a")
	only(t, "create over it", s.CompareAndSwap(ctx, 1, next, store.Pair{}), store.ErrConflict)
	next.Rev = 2
	only(t, "expecting another", s.CompareAndSwap(ctx, 1, next, store.Pair{Rev: 1, Epoch: 1}), store.ErrConflict)
	only(t, "expecting nobody's", s.CompareAndSwap(ctx, 1, sqlite.Record{ID: key("nobody"), Pair: store.Pair{Rev: 2}, Body: next.Body}, store.Pair{Rev: 1}), store.ErrConflict)
	if err := s.CompareAndSwap(ctx, 1, next, store.Pair{Rev: 1}); err != nil {
		t.Error(err)
	}
	late := fine()
	late.ID, late.Pair = key("b"), store.Pair{Rev: 1}
	newer := fine()
	newer.ID = key("c")
	if err := s.PutIfNewer(ctx, 1, late, newer); err != nil {
		t.Error(err)
	}
	if err := s.Isolate(ctx, 1, store.Mark{ID: key("g"), Pair: store.Pair{Rev: 1}}, "as if"); err != nil {
		t.Error(err)
	}
	if _, err := db.Exec(`DELETE FROM tasks WHERE id='d'; UPDATE tasks SET id='z' WHERE id='e'; UPDATE tasks SET done=1 WHERE id='f'`); err != nil {
		t.Fatal(err)
	}
	got := scan(t, s)
	for id, want := range map[string]string{"a": "(2,1)", "b": "(1,0)", "c": "(1,1)", "d": "(2,1)", "e": "(2,1)", "f": "(2,1)", "g": "(1,0)", "z": "(1,1)"} {
		if got[id].Pair.String() != want {
			t.Errorf("%s is at %v, want %s", id, got[id].Pair, want)
		}
	}
	if !got["d"].Deleted || !got["e"].Deleted || got["b"].Body == late.Body || got["g"].Unfit == "" {
		t.Errorf("%+v", got)
	}
	contact(t, s)
	if after := scan(t, s); len(after) != len(got) || s.Filled(ctx) != nil {
		t.Errorf("%v", after)
	}
}

// TestFillingWhileOthersWrite: programs that write meanwhile never wait long, and
// nothing that they did is lost.
func TestFillingWhileOthersWrite(t *testing.T) {
	ctx := context.Background()
	path := made(t, `PRAGMA journal_mode=WAL`, `CREATE TABLE tasks(id text primary key, assignee text, description text, done boolean)`,
		`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<60000) INSERT INTO tasks SELECT printf('%06d',i),'Bill','x',0 FROM n`)
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(1000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	var stop atomic.Bool
	done := make(chan map[string]int64, 1)
	failed := make(chan error, 1)
	go func() {
		revs := map[string]int64{}
		for n := 0; !stop.Load(); n++ {
			id := fmt.Sprintf("%06d", 1+n*7919%60000)
			if _, err := db.Exec(`UPDATE tasks SET done=done+1 WHERE id=?`, id); err != nil {
				failed <- err
				break
			}
			revs[id]++
			time.Sleep(time.Millisecond) // as a program that does something else, too
		}
		done <- revs
	}()
	s := open(t, sqlite.Config{Path: path})
	var phases []string
	a, err := s.Adopt(ctx, store.AdoptOptions{Progress: func(p store.AdoptProgress) {
		if len(phases) == 0 || phases[len(phases)-1] != p.Phase {
			phases = append(phases, p.Phase)
		}
	}})
	stop.Store(true)
	revs := <-done
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-failed:
		t.Errorf("another program failed: %v", err)
	default:
	}
	if strings.Join(phases, " ") != "copy guard fill" || a.Waited <= 0 || a.Rows != 60000 {
		t.Errorf("%v, %+v", phases, a)
	}
	touched := 0
	for id, r := range scan(t, s) {
		done := r.Body.Values()[2].Bool()
		if (r.Rev > 1) != r.Pending || r.Rev > 1 && !done {
			t.Fatalf("%s: %+v", id, r)
		}
		if r.Rev > 1 {
			touched++
		}
		if r.Rev > 1+revs[id] {
			t.Errorf("%s is at rev %d after %d changes", id, r.Rev, revs[id])
		}
	}
	t.Logf("%d programs' changes seen of %d records; the longest wait %v", touched, len(revs), a.Waited)
	if touched == 0 {
		t.Error("nobody wrote meanwhile")
	}
}

// TestSurvey: it says what would not survive, and shows rows both ways.
func TestSurvey(t *testing.T) {
	path := legacy(t, abc, `INSERT INTO tasks VALUES('d',CAST(x'ff' AS TEXT),'x',0),(NULL,'B','x',0),('a','B','again',0)`)
	s := open(t, sqlite.Config{Path: path})
	survey, err := s.Survey(context.Background())
	if err != nil || len(survey.Tables) != 1 || survey.Adopted || survey.Begun || !survey.Suits() {
		t.Fatalf("%+v, %v", survey, err)
	}
	found := survey.Tables[0]
	if found.Rows != 6 || found.Unique || found.Lost["assignee"] != 1 || found.Unfit != 2 || len(found.Samples) != 5 {
		t.Errorf("%+v", found)
	}
	contact(t, s)
	if survey, err := s.Survey(context.Background()); err != nil || !survey.Adopted {
		t.Errorf("%+v, %v", survey, err)
	}
}

// TestTooLong: what would keep others out for long is asked for first.
func TestTooLong(t *testing.T) {
	path := legacy(t, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<500000) INSERT INTO tasks(id) SELECT i FROM n`)
	s := open(t, sqlite.Config{Path: path})
	_, err := s.FirstContact(context.Background())
	only(t, "first contact", err, store.ErrTooLong)
	if mode := rows(t, plain(t, path), `PRAGMA journal_mode`); mode != "string:delete" {
		t.Errorf("journal mode %s", mode)
	}
	if survey, err := s.Survey(context.Background()); err != nil || survey.Wait <= time.Second {
		t.Errorf("%v, %v", survey.Wait, err)
	}
}
