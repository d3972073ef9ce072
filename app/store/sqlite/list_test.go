package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store/sqlite"
	"migrate.invalid/migrate/app/task"
	"migrate.invalid/migrate/app/todo"
)

// anybody stands for a filter without an assignee.
const anybody = "anybody"

// weirdTexts and weirdDones are SQL for what a foreign program may store.
var (
	weirdTexts = []string{`'Bill'`, `'bill'`, `x'42696c6c'`, `NULL`, `''`, `x''`, `5`, `'5'`, `'5.0'`, `5.5`, `'Žofie'`, `'a'||char(0)`, `CAST(x'ff' AS TEXT)`, `x'ff'`}
	weirdDones = []string{`0`, `1`, `NULL`, `'true'`, `'0'`, `'1'`, `'0.0'`, `' 0 '`, `0.0`, `-0.0`, `2`, `-1`, `0.5`, `''`, `x'30'`, `x'00'`, `1e300`, `'NULL'`}
	assignees  = []string{anybody, "", "Bill", "bill", "5", "5.0", "5.5", "Žofie", "a\x00", "\xff", "nobody"}
)

// TestListSelectsWhatMatches: over whatever a foreign program stores, a list is
// what Filter.Match selects of the bodies that Scan reads, page by page, and the
// undone ones are those that the original program lists, but for the quarantine.
func TestListSelectsWhatMatches(t *testing.T) {
	s, path := fresh(t)
	db := plain(t, path)
	if _, err := db.Exec(`PRAGMA synchronous=OFF`); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		insert := `DELETE FROM tasks;`
		for i := range rapid.IntRange(0, 30).Draw(t, "rows") {
			insert += fmt.Sprintf(`INSERT INTO tasks VALUES('%02d',%s,%s,%s);`, i, rapid.SampledFrom(weirdTexts).Draw(t, "assignee"),
				rapid.SampledFrom(weirdTexts).Draw(t, "description"), rapid.SampledFrom(weirdDones).Draw(t, "done"))
		}
		if _, err := db.Exec(insert); err != nil {
			t.Fatal(err)
		}
		page, _, err := s.Scan(context.Background(), "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		all := page.Records
		yes, no := true, false
		for _, assignee := range assignees {
			for _, done := range []*bool{nil, &yes, &no} {
				filter := task.Filter{Assignee: &assignee, Done: done}
				if assignee == anybody {
					filter.Assignee = nil
				}
				want := slices.DeleteFunc(slices.Clone(all), func(r sqlite.Record) bool { return r.Deleted || !filter.Match(todo.Task(r.Body)) || r.Unfit != "" })
				got := list(t, s, filter, rapid.IntRange(1, 7).Draw(t, "limit"))
				if !slices.Equal(got, want) {
					t.Fatalf("%q done %v: got %v, want %v", assignee, done, ids(got), ids(want))
				}
			}
		}
		original := column(t, db, `SELECT id FROM tasks WHERE done = 0 ORDER BY id`)
		original = slices.DeleteFunc(original, func(id string) bool { // it knows no quarantine
			return slices.ContainsFunc(all, func(r sqlite.Record) bool { return r.ID.String() == id && r.Unfit != "" })
		})
		if got := ids(list(t, s, task.Filter{Done: &no}, 1000)); !slices.Equal(got, original) {
			t.Fatalf("undone: %v, the original lists %v", got, original)
		}
		checkConverted(t, s, db)
	})
}

// checkConverted: a row is listed as converted unless it is stored as we would
// store it.
func checkConverted(t *rapid.T, s *sqlite.Store, db *sql.DB) {
	converted, _, err := s.Converted(context.Background(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, q := range converted {
		got = append(got, q.ID)
		if q.Reason == "" {
			t.Fatalf("%q has no reason", q.ID)
		}
	}
	want := column(t, db, `SELECT id FROM tasks WHERE NOT (typeof(assignee)='text' AND typeof(description)='text'
		AND typeof(done)='integer' AND done>=0 AND done<=1) ORDER BY id`)
	if !slices.Equal(got, want) {
		t.Fatalf("converted: %v, want %v", got, want)
	}
}

func list(t *rapid.T, s *sqlite.Store, filter task.Filter, limit int) []sqlite.Record {
	var all []sqlite.Record
	for after := record.ID(""); ; {
		page, _, err := s.List(context.Background(), selected(filter), after, limit)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Records...)
		if page.End {
			return all
		}
		after = page.Next
	}
}

func ids(records []sqlite.Record) []string {
	var all []string
	for _, r := range records {
		all = append(all, r.ID.String())
	}
	return all
}

func column(t *rapid.T, db *sql.DB, query string) []string {
	found, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	var all []string
	for found.Next() {
		var s string
		if err := found.Scan(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// TestRowsRemovedUnseenReadAsDeleted: until the sweep finds them, as they do
// for the original.
func TestRowsRemovedUnseenReadAsDeleted(t *testing.T) {
	ctx := context.Background()
	path := legacy(t, abc)
	s := open(t, sqlite.Config{Path: path})
	contact(t, s)
	if _, err := plain(t, path).Exec(unseen + `; INSERT INTO tasks VALUES('d','B','x',0)`); err != nil {
		t.Fatal(err)
	}
	found, _, err := s.Get(ctx, key("a"), key("b"), key("nobody"))
	if err != nil || !found[key("a")].Deleted || found[key("a")].Body != "" || found[key("b")].Deleted || len(found) != 2 {
		t.Errorf("%+v, %v", found, err)
	}
	page, _, err := s.List(ctx, selected(task.Filter{}), "", 10)
	if err != nil || strings.Join(ids(page.Records), "") != "bcd" {
		t.Errorf("List: %v, %v", ids(page.Records), err)
	}
	// It can be created again, on top of what it was.
	next := sqlite.Record{ID: key("a"), Body: body(task.Task{Assignee: "Bill"})}
	next.Rev, next.Epoch = 2, 1
	if err := s.CompareAndSwap(ctx, 1, next, found[key("a")].Pair); err != nil {
		t.Fatal(err)
	}
	if got := scan(t, s)["a"]; got != next {
		t.Errorf("created again: %v", got)
	}
	if n, err := s.Sweep(ctx); n != 0 || err != nil {
		t.Errorf("Sweep: %d, %v", n, err)
	}
}
