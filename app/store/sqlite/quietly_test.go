package sqlite_test

import (
	"context"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/sqlite"
)

// TestTriggersDoNotSeeMoves: rows that are moved aside, moved back, or swapped are
// no deletions and no new rows for the person's triggers, which stay as they were.
func TestTriggersDoNotSeeMoves(t *testing.T) {
	ctx := context.Background()
	path := legacy(t, abc, `INSERT INTO tasks VALUES('a','B','again',0)`, `CREATE TABLE log(x)`,
		`CREATE TRIGGER "the first"  AFTER INSERT ON Tasks BEGIN INSERT INTO log VALUES('in '||NEW.id); END`,
		`CREATE TRIGGER gone AFTER DELETE ON tasks BEGIN INSERT INTO log VALUES('out '||OLD.id); END`)
	const theirs = `SELECT name, sql FROM sqlite_master WHERE type='trigger' AND name NOT LIKE 'migrate%' ORDER BY rowid`
	db := plain(t, path)
	before, held := rows(t, db, theirs), rows(t, db, `SELECT rowid, * FROM tasks ORDER BY rowid`)
	s := open(t, sqlite.Config{Path: path})
	contact(t, s)
	if _, n, err := s.Quarantine(ctx, 0); n != 1 || err != nil {
		t.Errorf("%d rows in the quarantine, %v", n, err)
	}
	if after := rows(t, db, theirs); after != before {
		t.Errorf("taken over: the triggers were\n%s\nand are\n%s", before, after)
	}
	db.Close()
	if _, err := s.Release(ctx); err != nil {
		t.Fatal(err)
	}
	db = plain(t, path)
	if after := rows(t, db, theirs); after != before {
		t.Errorf("undone: the triggers were\n%s\nand are\n%s", before, after)
	}
	if after := rows(t, db, `SELECT rowid, * FROM tasks ORDER BY rowid`); after != held {
		t.Errorf("undone: the rows were\n%s\nand are\n%s", held, after)
	}
	if log := rows(t, db, `SELECT x FROM log`); log != "" {
		t.Errorf("the person's triggers saw %s", log)
	}
}

// TestTriggersSeeSwapsAsUpdates: a swap is an update, but what is created and
// deleted together with it is what it is.
func TestTriggersSeeSwapsAsUpdates(t *testing.T) {
	ctx := context.Background()
	text := func(s string) record.Value { return record.UncheckedText(s) }
	path := made(t, `CREATE TABLE users(id TEXT PRIMARY KEY, mail TEXT UNIQUE)`, `CREATE TABLE log(x)`,
		`INSERT INTO users VALUES('a','1'),('b','2'),('d','4')`,
		`CREATE TRIGGER i AFTER INSERT ON users BEGIN INSERT INTO log VALUES('in '||NEW.id); END`,
		`CREATE TRIGGER u AFTER UPDATE ON users BEGIN INSERT INTO log VALUES('up '||NEW.id); END`,
		`CREATE TRIGGER o AFTER DELETE ON users BEGIN INSERT INTO log VALUES('out '||OLD.id); END`)
	s := open(t, sqlite.Config{Path: path, Accept: []string{"unique:sqlite_autoindex_users_2"}, Collections: collections(t, record.Collection{
		Name: "users", ID: []string{"id"}, Fields: []record.Field{{Name: "id", Type: record.Text}, {Name: "mail", Type: record.Text}}})})
	contact(t, s)
	moveFence(t, s, store.Fence{Epoch: 2, Primary: store.PrimaryNew})
	one := func(id, mail string, rev int64) sqlite.Record {
		key, err := record.NewID("users", text(id))
		if err != nil {
			t.Fatal(err)
		}
		r := sqlite.Record{ID: key, Pair: store.Pair{Rev: rev, Epoch: 2}, Deleted: mail == ""}
		if mail != "" {
			r.Body = record.NewBody(text(mail))
		}
		return r
	}
	if err := s.PutTogether(ctx, 2, one("a", "2", 2), one("b", "4", 2), one("c", "9", 1), one("c", "1", 2), one("d", "", 2)); err != nil {
		t.Fatal(err)
	}
	db := plain(t, path)
	if got, want := rows(t, db, `SELECT id||mail FROM users ORDER BY id`), "string:a2\nstring:b4\nstring:c1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := rows(t, db, `SELECT x FROM log ORDER BY x`), "string:in c\nstring:out d\nstring:up a\nstring:up b"; got != want {
		t.Errorf("the person's triggers saw %s, want %s", got, want)
	}
	if err := s.Guarded(ctx); err != nil {
		t.Error(err)
	}
}
