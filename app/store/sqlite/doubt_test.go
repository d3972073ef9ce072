package sqlite_test

import (
	"context"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/sqlite"
)

// mails is a collection whose table has a second unique key or hides its rows'
// numbers.
func mails(t testing.TB, id record.Type) []record.Collection {
	return collections(t, record.Collection{Name: "mails", ID: []string{"id"}, Fields: []record.Field{{Name: "id", Type: id}, {Name: "mail", Type: record.Text}}})
}

const companions = `SELECT k1, rev, deleted FROM migrate_mails WHERE rev>1 OR deleted=1 ORDER BY k1`

// TestReplacedUnseen: a row that a statement replaces by another key than the id
// is a tombstone, whatever the table calls its rows' numbers; one that is not
// replaced after all is as it was.
func TestReplacedUnseen(t *testing.T) {
	const email = `CREATE TABLE mails(id text primary key, mail text unique); INSERT INTO mails VALUES('a','e'),('x','y')`
	for _, c := range []struct {
		name, table string
		id          record.Type
		sql, want   string
	}{
		{"replaced", email, record.Text, `REPLACE INTO mails VALUES('b','e')`, "string:a|int64:2|int64:1"},
		{"ignored, then deleted", email, record.Text, `INSERT OR IGNORE INTO mails VALUES('b','e'); DELETE FROM mails WHERE id='a'`, "string:a|int64:2|int64:1"},
		{"ignored, deleted, then another", email, record.Text,
			`INSERT OR IGNORE INTO mails VALUES('b','e'); DELETE FROM mails WHERE id='a'; INSERT INTO mails VALUES('c','c')`, "string:a|int64:2|int64:1"},
		{"nothing done, then another", email, record.Text, `INSERT INTO mails VALUES('b','e') ON CONFLICT DO NOTHING; INSERT INTO mails VALUES('c','c')`, ""},
		{"an update ignored", email, record.Text, `UPDATE OR IGNORE mails SET mail='e' WHERE id='x'; INSERT INTO mails VALUES('c','c')`, ""},
		{"the number -1", `CREATE TABLE mails(id integer primary key, mail text unique); INSERT INTO mails VALUES(-1,'e')`, record.Int,
			`INSERT OR REPLACE INTO mails(mail) VALUES('e')`, "int64:-1|int64:2|int64:1"},
		{"a descending number", `CREATE TABLE mails(id integer primary key desc, mail text); INSERT INTO mails VALUES(7,'e')`, record.Int,
			`INSERT OR REPLACE INTO mails(rowid,id,mail) VALUES(1,8,'f')`, "int64:7|int64:2|int64:1"},
		{"hidden numbers", `CREATE TABLE mails(id text unique, mail text, rowid integer primary key, oid text, _rowid_ text); INSERT INTO mails VALUES('a','e',1,'','')`, record.Text,
			`REPLACE INTO mails VALUES('b','f',1,'','')`, "string:a|int64:2|int64:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := made(t, c.table)
			s := open(t, sqlite.Config{Path: path, Collections: mails(t, c.id), Accept: []string{"unique:sqlite_autoindex_mails_1", "unique:sqlite_autoindex_mails_2"}})
			contact(t, s)
			if _, err := plain(t, path).Exec(c.sql); err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(rows(t, plain(t, path), companions)); got != c.want {
				t.Errorf("%s: %q, want %q", c.sql, got, c.want)
			}
		})
	}
}

// TestDoubtEnds: what a statement left in doubt that inserted nothing makes no
// tombstone of a record that our own writes change later, under either primary.
func TestDoubtEnds(t *testing.T) {
	ctx := context.Background()
	mail := func(id, text string, rev, epoch int64) sqlite.Record {
		key, err := record.NewID("mails", record.UncheckedText(id))
		if err != nil {
			t.Fatal(err)
		}
		return sqlite.Record{ID: key, Pair: store.Pair{Rev: rev, Epoch: epoch}, Body: record.NewBody(record.UncheckedText(text))}
	}
	begin := func() (*sqlite.Store, string) {
		path := made(t, `CREATE TABLE mails(id text primary key, mail text unique); INSERT INTO mails VALUES('a','e'),('b','f')`)
		s := open(t, sqlite.Config{Path: path, Collections: mails(t, record.Text), Accept: []string{"unique:sqlite_autoindex_mails_2"}})
		contact(t, s)
		if _, err := plain(t, path).Exec(`INSERT OR IGNORE INTO mails VALUES('z','f'); INSERT OR IGNORE INTO mails VALUES('z','e')`); err != nil {
			t.Fatal(err)
		}
		return s, path
	}

	s, path := begin() // under old
	gone := mail("a", "", 2, 1)
	gone.Deleted, gone.Body = true, ""
	if err := s.CompareAndSwap(ctx, 1, gone, store.Pair{Rev: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := plain(t, path).Exec(`INSERT INTO mails VALUES('c','c')`); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.TrimSpace(rows(t, plain(t, path), companions)), "string:a|int64:2|int64:1"; got != want {
		t.Errorf("under old: %q, want %q", got, want)
	}

	s, path = begin() // under new
	moveFence(t, s, store.Fence{Epoch: 2, Primary: store.PrimaryNew})
	if got := strings.TrimSpace(rows(t, plain(t, path), `SELECT k1 FROM migrate_mails WHERE doubt=1`)); got != "" {
		t.Errorf("in doubt under new: %q", got)
	}
	if err := s.PutTogether(ctx, 2, mail("a", "f", 2, 2), mail("b", "e", 2, 2)); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(strings.Fields(rows(t, plain(t, path), companions)), " "), "string:a|int64:2|int64:0 string:b|int64:2|int64:0"; got != want {
		t.Errorf("under new: %q, want %q", got, want)
	}
}

// TestHiddenNumbers: a table none of whose names leads to its rows' numbers is
// refused by name, before anything is done.
func TestHiddenNumbers(t *testing.T) {
	path := made(t, `CREATE TABLE mails(id text primary key, mail text, rowid text, oid text, _rowid_ text)`)
	s := open(t, sqlite.Config{Path: path, Collections: mails(t, record.Text)})
	if got := verdicts(t, s)["rowid:mails"]; got != store.Refused {
		t.Errorf("the rule is %v", got)
	}
	_, err := s.Adopt(context.Background(), store.AdoptOptions{})
	only(t, "take over", err, store.ErrUnsuited)
}

// TestCollationOfAnID: SQLite itself is asked how a column of an id compares,
// however the table says it.
func TestCollationOfAnID(t *testing.T) {
	all := collections(t, record.Collection{Name: "orders", ID: []string{"shop", "number"},
		Fields: []record.Field{{Name: "shop", Type: record.Text}, {Name: "number", Type: record.Int}, {Name: "v", Type: record.Text}}})
	for table, want := range map[string]store.Verdict{
		"CREATE TABLE orders(shop text, number integer, v text collate nocase)":                                           "",
		"CREATE TABLE orders(shop text /* collate nocase */, number integer, v text)":                                     "",
		"CREATE TABLE orders(shop text collate nocase, number integer, v text)":                                           store.Refused,
		"CREATE TABLE orders(\n number integer, -- the number\n shop text collate/**/nocase,\n v text)":                   store.Refused,
		"CREATE TABLE orders(number integer, shop text collate\trtrim, v text, PRIMARY KEY(shop collate binary, number))": store.Refused,
	} {
		s := open(t, sqlite.Config{Path: made(t, table), Collections: all})
		if got := verdicts(t, s)["collation:orders.shop"]; got != want {
			t.Errorf("%s: %q, want %q", table, got, want)
		}
	}
}

// The same where the row's number is one of several columns of the id: in a BEFORE
// trigger a number that SQLite counts reads as -1, which may be another row's.
func TestReplacedUnseenByAPartOfTheID(t *testing.T) {
	all := collections(t, record.Collection{Name: "mails", ID: []string{"shop", "number"}, Fields: []record.Field{
		{Name: "shop", Type: record.Text}, {Name: "number", Type: record.Int}, {Name: "mail", Type: record.Text}}})
	path := made(t, `CREATE TABLE mails(number integer primary key, shop text not null, mail text unique, unique(shop, number)); INSERT INTO mails VALUES(-1,'a','e')`)
	s := open(t, sqlite.Config{Path: path, Collections: all, Accept: []string{"unique:sqlite_autoindex_mails_1", "unique:sqlite_autoindex_mails_2"}})
	contact(t, s)
	if _, err := plain(t, path).Exec(`INSERT OR REPLACE INTO mails(shop,mail) VALUES('a','e')`); err != nil {
		t.Fatal(err)
	}
	const replaced = "string:a|int64:-1|int64:2|int64:1"
	if got := rows(t, plain(t, path), `SELECT k1, k2, rev, deleted FROM migrate_mails WHERE deleted=1`); strings.TrimSpace(got) != replaced {
		t.Errorf("%q, want %q", got, replaced)
	}
}
