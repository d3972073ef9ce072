package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/sqlite"
	"migrate.invalid/migrate/app/task"
	"migrate.invalid/migrate/app/todo"
)

func copies(t testing.TB, path string) []string {
	t.Helper()
	found, err := filepath.Glob(path + ".before-migrate-*")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// legacyRows are what a file may hold after years, with what becomes of each:
// a record, or a place in the quarantine.
var legacyRows = []struct {
	insert string // VALUES
	id     string
	body   task.Task
	aside  string // reason
	odd    string // reason why it is listed as converted
}{
	{insert: `'plain','Bill','milk',0`, id: "plain", body: task.Task{Assignee: "Bill", Description: "milk"}},
	{insert: `'done','Bill','milk',1`, id: "done", body: task.Task{Assignee: "Bill", Description: "milk", Done: true}},
	{insert: `'quotes','O''Brien','"quoted" ''twice''',0`, id: "quotes", body: task.Task{Assignee: "O'Brien", Description: `"quoted" 'twice'`}},
	{insert: `'emoji 🎉','Žofie','日本 👩‍👩‍👧‍👦',0`, id: "emoji 🎉", body: task.Task{Assignee: "Žofie", Description: "日本 👩‍👩‍👧‍👦"}},
	{insert: `'nuls','a'||char(0)||'b',char(0),0`, id: "nuls", body: task.Task{Assignee: "a\x00b", Description: "\x00"}},
	{insert: `'large','Bill',hex(zeroblob(524288)),0`, id: "large", body: task.Task{Assignee: "Bill", Description: strings.Repeat("0", 1<<20)}},
	{insert: `'empty','','',0`, id: "empty"},
	{insert: `'text 0','Bill','x','0'`, id: "text 0", body: task.Task{Assignee: "Bill", Description: "x"}},
	{insert: `'text 1','Bill','x','1'`, id: "text 1", body: task.Task{Assignee: "Bill", Description: "x", Done: true}},
	{insert: `'text true','Bill','x','true'`, id: "text true", body: task.Task{Assignee: "Bill", Description: "x", Done: true}, odd: "done is 'true'"},
	{insert: `'text false','Bill','x','false'`, id: "text false", body: task.Task{Assignee: "Bill", Description: "x", Done: true}, odd: "done is 'false'"},
	{insert: `'two','Bill','x',2`, id: "two", body: task.Task{Assignee: "Bill", Description: "x", Done: true}, odd: "done is 2"},
	{insert: `'half','Bill','x',0.5`, id: "half", body: task.Task{Assignee: "Bill", Description: "x", Done: true}, odd: "done is 0.5"},
	{insert: `'blob 0','Bill','x',x'30'`, id: "blob 0", body: task.Task{Assignee: "Bill", Description: "x", Done: true}, odd: "done is X'30'"},
	{insert: `'NULLs',NULL,NULL,NULL`, id: "NULLs", body: task.Task{Done: true}, odd: "assignee is stored as null, description is stored as null, done is NULL"},
	{insert: `'no assignee',NULL,'x',0`, id: "no assignee", body: task.Task{Description: "x"}, odd: "assignee is stored as null"},
	{insert: `'blobs',x'42696c6c',x'c3a9',0`, id: "blobs", body: task.Task{Assignee: "Bill", Description: "é"}, odd: "assignee is stored as blob, description is stored as blob"},
	{insert: `17,18,19,0`, id: "17", body: task.Task{Assignee: "18", Description: "19"}},
	{insert: `'twice','Bill','first',0`, id: "twice", body: task.Task{Assignee: "Bill", Description: "first"}},
	{insert: `'twice','Bill','second',0`, id: "twice", aside: "repeated id"},
	{insert: `'twice','Bill','third',1`, id: "twice", aside: "repeated id"},
	{insert: `x'616263','Bill','x',0`, id: "x'616263'", aside: "blob id"},
	{insert: `x'616263','Bill','y',0`, id: "x'616263'", aside: "repeated id"},
	{insert: `NULL,'Bill','x',0`, id: "NULL", aside: "null id"},
	{insert: `NULL,'Bill','y',0`, id: "NULL", aside: "null id"},
	{insert: `'','Bill','x',0`, id: "", body: task.Task{Assignee: "Bill", Description: "x"}},
	{insert: `CAST(x'61ff' AS TEXT),'Bill','x',0`, id: "CAST(x'61ff' AS TEXT)", aside: "id is not valid UTF-8"},
	{insert: `'bad assignee',CAST(x'ff' AS TEXT),'x',0`, id: "bad assignee", aside: "assignee is not valid UTF-8"},
	{insert: `'bad description','Bill',CAST(x'c328' AS TEXT),0`, id: "bad description", aside: "description is not valid UTF-8"},
	{insert: `'bad blob','Bill',x'ff',0`, id: "bad blob", aside: "description is not valid UTF-8", odd: "description is stored as blob"},
	{insert: `'huge','Bill',CAST(zeroblob(16000000) AS TEXT),0`, id: "huge", body: task.Task{Assignee: "Bill", Description: strings.Repeat("\x00", 16000000)}},
	// The second can't quietly take the place of a first that is set aside.
	{insert: `'bad twice','Bill',x'ff',0`, id: "bad twice", aside: "description is not valid UTF-8", odd: "description is stored as blob"},
	{insert: `'bad twice','Bill','fine',0`, id: "bad twice", aside: "repeated id"},
}

func TestLegacyData(t *testing.T) {
	ctx := context.Background()
	var inserts []string
	for _, l := range legacyRows {
		inserts = append(inserts, `INSERT INTO tasks(id,assignee,description,done) VALUES(`+l.insert+`)`)
	}
	path := legacy(t, append([]string{`ALTER TABLE tasks ADD COLUMN "no""te" text DEFAULT 'kept'`}, inserts...)...)
	asBefore := rows(t, plain(t, path), `SELECT * FROM tasks`)
	s := open(t, sqlite.Config{Path: path})
	if _, err := s.Fence(ctx); !errors.Is(err, store.ErrStranger) {
		t.Errorf("before first contact: %v", err)
	}
	c := contact(t, s)
	got := scan(t, s)
	list, held, err := s.Quarantine(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	converted, total, err := s.Converted(ctx, 1000)
	if err != nil {
		t.Fatal(err)
	}
	records, aside, odd := 0, map[string]int{}, map[string]string{}
	for _, l := range legacyRows {
		switch {
		case l.aside != "":
			aside[l.id+": "+l.aside]++
		default:
			records++
			want := sqlite.Record{ID: key(l.id), Pair: store.Pair{Rev: 1}, Body: body(l.body)}
			if got[l.id] != want {
				t.Errorf("%s is read as %.200q, want %.200q", l.insert, fmt.Sprint(todo.Task(got[l.id].Body)), fmt.Sprint(l.body))
			}
		}
		if l.odd != "" {
			odd[l.id] = l.odd
		}
	}
	marked := 0
	for id, r := range got {
		if r.Unfit != "" {
			marked++
			delete(got, id)
		}
	}
	if marked != 5 {
		t.Errorf("%d records are marked", marked)
	}
	if held != int64(len(list)) {
		t.Errorf("%d rows in quarantine, %d listed", held, len(list))
	}
	if len(got) != records || c.Rows != int64(records) || c.Quarantined != int64(len(legacyRows)-records) || !c.Fresh || c.Migration == "" {
		t.Errorf("%d records and %+v, want %d of %d", len(got), c, records, len(legacyRows))
	}
	for _, q := range list {
		aside[q.ID+": "+q.Reason]--
		if !strings.Contains(q.Row, `, no"te='kept'`) {
			t.Errorf("the row of %q lacks its other column: %.300s", q.ID, q.Row)
		}
	}
	for what, n := range aside {
		if n != 0 {
			t.Errorf("quarantine: %d more or less of %q", n, what)
		}
	}
	for _, q := range converted {
		if odd[q.ID] != q.Reason {
			t.Errorf("%q is converted because %q, want %q", q.ID, q.Reason, odd[q.ID])
		}
		delete(odd, q.ID)
	}
	if len(odd) != 0 || total != int64(len(converted)) {
		t.Errorf("not listed as converted: %v; %d in all", odd, total)
	}
	if few, n, err := s.Converted(ctx, 2); err != nil || len(few) != 2 || n != total {
		t.Errorf("two of the converted ones: %d of %d, %v", len(few), n, err)
	}
	checkCopy(t, path, c.Copy, asBefore)
}

// checkCopy checks that the copy is the file as it was, for our eyes only.
func checkCopy(t *testing.T, path, copied, asBefore string) {
	t.Helper()
	if all := copies(t, path); len(all) != 1 || all[0] != copied {
		t.Fatalf("copies: %v, and %q was reported", all, copied)
	}
	info, err := os.Stat(copied)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the copy: %v, %v", info.Mode(), err)
	}
	db := plain(t, copied)
	if rows(t, db, `SELECT * FROM tasks`) != asBefore {
		t.Error("the copy doesn't hold what the file did")
	}
	if found := rows(t, db, `SELECT name FROM sqlite_master WHERE name LIKE 'migrate%'`); found != "" {
		t.Errorf("the copy has %s", found)
	}
}

func TestUpdatesOfLegacyRows(t *testing.T) {
	ctx := context.Background()
	path := legacy(t, `ALTER TABLE tasks ADD COLUMN note text DEFAULT 'kept'`,
		`INSERT INTO tasks VALUES('odd',x'42',NULL,'true','mine'),('large','Bill',hex(zeroblob(7000000)),0,'mine too')`)
	s := open(t, sqlite.Config{Path: path})
	contact(t, s)
	for id, r := range scan(t, s) {
		next := r
		changed := todo.Task(r.Body)
		changed.Done = true
		next.Rev, next.Epoch, next.Body, next.Pending = 2, 1, body(changed), true
		if err := s.CompareAndSwap(ctx, 1, next, r.Pair); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if got := scan(t, s)[id]; got != next {
			t.Errorf("%s is read as something else", id)
		}
	}
	want := "string:large|string:text|int64:14000000|int64:1|string:mine too\nstring:odd|string:text|int64:0|int64:1|string:mine"
	if got := rows(t, plain(t, path), `SELECT id, typeof(description), length(description), done, note FROM tasks ORDER BY id`); got != want {
		t.Errorf("stored is\n%s\nwant\n%s", got, want)
	}
	if list, n, err := s.Converted(ctx, 10); err != nil || n != 0 {
		t.Errorf("still converted: %v, %d, %v", list, n, err)
	}
}

func TestFirstContactIsRepeatable(t *testing.T) {
	path := legacy(t, abc)
	s := open(t, sqlite.Config{Path: path})
	first := contact(t, s)
	before := state(t, plain(t, path))
	for range 2 {
		again := contact(t, open(t, sqlite.Config{Path: path, Create: true}))
		if again != (sqlite.Contact{Migration: first.Migration}) {
			t.Errorf("first contact once more: %+v", again)
		}
	}
	if state(t, plain(t, path)) != before || len(copies(t, path)) != 1 {
		t.Errorf("it changed something; copies %v", copies(t, path))
	}
	if mode := rows(t, plain(t, path), `PRAGMA journal_mode`); mode != "string:wal" {
		t.Errorf("journal mode %s", mode)
	}
}

func TestFreshFileHasTheOriginalsShape(t *testing.T) {
	path := filepath.Join(dir(t), "a?b#c%20d 'e.sqlite")
	c := contact(t, open(t, sqlite.Config{Path: path, Create: true}))
	if c.Copy != "" || c.Rows != 0 || !c.Fresh {
		t.Errorf("%+v", c)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	var text string
	db, err := sql.Open("sqlite", "file:"+strings.NewReplacer("?", "%3f", "#", "%23", "%", "%25").Replace(path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow(`SELECT sql FROM sqlite_master WHERE name='tasks'`).Scan(&text); err != nil ||
		text != `CREATE TABLE tasks(id text, assignee text, description text, done boolean)` {
		t.Errorf("%s, %v", text, err)
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	for name, statements := range map[string][]string{
		"encoded in UTF-16le": {`PRAGMA encoding='UTF-16le'`, `CREATE TABLE tasks(id text, assignee text, description text, done boolean)`},
		"no table tasks":      {`CREATE TABLE other(x)`},
		"no column done":      {`CREATE TABLE tasks(id text, assignee text, description text)`},
		"no column id":        {`CREATE TABLE tasks(key text, assignee text, description text, done boolean)`},
		`column id of the table tasks is declared`:         {`CREATE TABLE tasks(id integer primary key, assignee text, description text, done boolean)`},
		`assignee of the table tasks is declared "string"`: {`CREATE TABLE tasks(id text, assignee string, description text, done boolean)`},
		"tasks is not an ordinary table":                   {`CREATE VIEW tasks AS SELECT 'a' AS id, 'a' AS assignee, 'a' AS description, 0 AS done`},
		"tasks is not an ordinary table ":                  {`CREATE TABLE tasks(id text primary key, assignee text, description text, done boolean) WITHOUT ROWID`},
	} {
		path := filepath.Join(dir(t), "todo.sqlite")
		db := plain(t, path)
		for _, statement := range statements {
			if _, err := db.Exec(statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
		db.Close()
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, sqlite.Config{Path: path})
		_, err = s.FirstContact(context.Background())
		if !errors.Is(err, store.ErrUnsuited) || !strings.Contains(err.Error(), strings.TrimSpace(name)) {
			t.Errorf("%s: %v", name, err)
		}
		s.Close()
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) || len(copies(t, path)) != 0 {
			t.Errorf("%s: the file has changed, or was copied: %v, %v", name, copies(t, path), err)
		}
	}
}

// What is left of a copy that was broken off has another name than a whole one, and
// goes once nobody can be making it any more.
func TestACopyThatWasBrokenOffIsToldApart(t *testing.T) {
	path := made(t, `CREATE TABLE tasks(id text, assignee text, description text, done boolean)`)
	young, old := path+".copy-that-is-not-whole-young", path+".copy-that-is-not-whole-old"
	for _, name := range []string{young, old} {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hours := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(old, hours, hours); err != nil {
		t.Fatal(err)
	}
	c := contact(t, open(t, sqlite.Config{Path: path, Collections: tasks()}))
	left, err := filepath.Glob(path + ".*")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{c.Copy, young}; !slices.Equal(left, want) {
		t.Errorf("beside the file are %q, want %q", left, want)
	}
	if info, err := os.Stat(c.Copy); err != nil || info.Mode().Perm() != 0o600 || info.Size() < 1024 {
		t.Errorf("the copy: %v, %v", info, err)
	}
}
