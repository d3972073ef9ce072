package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/sqlite"
	"migrate.invalid/migrate/app/store/storetest"
	"migrate.invalid/migrate/app/task"
	"migrate.invalid/migrate/app/todo"
)

func TestStore(t *testing.T) {
	storetest.RunOld(t, func(t *testing.T, d record.Declaration) store.Old {
		path := filepath.Join(dir(t), "old.sqlite")
		s := open(t, sqlite.Config{Path: path, Create: true, Collections: d.Collections})
		contact(t, s)
		return ruler{s, path}
	})
}

// ruler can be told of a rule between records, as a foreign program makes one.
type ruler struct {
	*sqlite.Store
	path string
}

func (r ruler) Unwrap() store.Old { return r.Store }

func (r ruler) Unique(t storetest.T, collection, field string) {
	db, err := sql.Open("sqlite", r.path+"?_pragma=busy_timeout(10000)")
	if err == nil {
		_, err = db.Exec(fmt.Sprintf(`CREATE UNIQUE INDEX theirs ON %s(%s)`, collection, field))
	}
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// careless replicates under whatever epoch the fence has.
type careless struct{ *sqlite.Store }

func (c careless) PutIfNewer(ctx context.Context, _ int64, recs ...sqlite.Record) error {
	f, err := c.Fence(ctx)
	if err != nil {
		return err
	}
	return c.Store.PutIfNewer(ctx, f.Epoch, recs...)
}

// recorder notes a failure instead of reporting it.
type recorder struct {
	*testing.T
	failed bool
}

func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Fatalf(string, ...any) { r.failed = true; panic(r) }

func TestSuiteCatchesAStoreThatForgetsTheFence(t *testing.T) {
	var caught []string
	for _, c := range storetest.OldCases() {
		s := open(t, sqlite.Config{Path: filepath.Join(dir(t), "old.sqlite"), Create: true, Collections: c.Declaration.Collections})
		contact(t, s)
		r := &recorder{T: t}
		func() {
			defer func() {
				if p := recover(); p != nil && p != any(r) {
					panic(p)
				}
			}()
			c.Run(r, careless{s})
		}()
		if r.failed {
			caught = append(caught, c.Name)
		}
	}
	if len(caught) == 0 {
		t.Error("no case notices that PutIfNewer doesn't check the epoch")
	}
	t.Log(caught)
}

// fresh returns a store on a new file after first contact, and its path.
func fresh(t testing.TB) (*sqlite.Store, string) {
	t.Helper()
	path := filepath.Join(dir(t), "todo.sqlite")
	s := open(t, sqlite.Config{Path: path, Create: true})
	contact(t, s)
	return s, path
}

// tasks is the original's collection.
func tasks() []record.Collection { return []record.Collection{todo.Collection()} }

// key returns the id of a task.
func key(text string) record.ID {
	id, err := record.NewID("tasks", record.UncheckedText(text))
	if err != nil {
		panic(err) // a text always can be one
	}
	return id
}

// body returns the body of a task.
func body(t task.Task) record.Body {
	return record.NewBody(record.UncheckedText(t.Assignee), record.UncheckedText(t.Description), record.OfBool(t.Done))
}

// selected returns the filter of tasks.
func selected(f task.Filter) record.Filter {
	var conditions []record.Equals
	if f.Assignee != nil {
		conditions = append(conditions, record.Equals{Field: "assignee", Value: record.UncheckedText(*f.Assignee)})
	}
	if f.Done != nil {
		conditions = append(conditions, record.Equals{Field: "done", Value: record.OfBool(*f.Done)})
	}
	filter, err := todo.Collection().Filter(conditions...)
	if err != nil {
		panic(err) // both are fields that lists are filtered by
	}
	return filter
}

// open opens a store, of tasks unless the configuration says otherwise.
func open(t testing.TB, cfg sqlite.Config) *sqlite.Store {
	t.Helper()
	if cfg.Collections == nil {
		cfg.Collections = tasks()
	}
	s, err := sqlite.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func contact(t testing.TB, s *sqlite.Store) sqlite.Contact {
	t.Helper()
	c, err := s.FirstContact(context.Background())
	if err != nil {
		t.Fatalf("FirstContact: %v", err)
	}
	return c
}

// dir returns a folder in memory where there is one: the many small commits of
// these tests would wait for the disk, and none of them cuts the power.
func dir(t testing.TB) string {
	t.Helper()
	d, err := os.MkdirTemp("/dev/shm", "migrate-sqlite-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(d); err != nil {
			t.Error(err)
		}
	})
	return d
}

// legacy makes a file in the original's schema and runs statements in it.
func legacy(t testing.TB, statements ...string) string {
	t.Helper()
	path := filepath.Join(dir(t), "todo.sqlite")
	db := plain(t, path)
	for _, s := range append([]string{
		`CREATE TABLE tasks(id text, assignee text, description text, done boolean)`,
		`CREATE INDEX tasks_assignee_done ON tasks(assignee, done)`,
	}, statements...) {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	return path
}

// plain opens the file as a program that knows nothing of us would.
func plain(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

// shell returns the sqlite3 program.
func shell(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("sqlite3")
	if err == nil {
		return path
	}
	if os.Getenv("MIGRATE_TEST_ALL") == "1" {
		t.Fatal("sqlite3 is not installed")
	}
	t.Skip("LEFT OUT: sqlite3 is not installed")
	return ""
}

// rows returns what a query finds, a line per row, in SQL literals.
func rows(t testing.TB, db *sql.DB, query string) string {
	t.Helper()
	found, err := db.Query(query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer found.Close()
	names, _ := found.Columns()
	var lines []string
	for found.Next() {
		values, into := make([]any, len(names)), make([]any, len(names))
		for i := range into {
			into[i] = &values[i]
		}
		if err := found.Scan(into...); err != nil {
			t.Fatal(err)
		}
		line := make([]string, len(values))
		for i, v := range values {
			line[i] = fmt.Sprintf("%T:%v", v, v)
		}
		lines = append(lines, strings.Join(line, "|"))
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// state is everything in the file that a foreign change could touch.
func state(t testing.TB, db *sql.DB) string {
	t.Helper()
	return rows(t, db, `SELECT id, assignee, description, done FROM tasks ORDER BY id`) + "\n--\n" +
		rows(t, db, `SELECT * FROM migrate_tasks ORDER BY k1`)
}

func scan(t testing.TB, s *sqlite.Store) map[string]sqlite.Record {
	t.Helper()
	found := map[string]sqlite.Record{}
	for after := record.ID(""); ; {
		page, _, err := s.Scan(context.Background(), after, 1000)
		if err != nil {
			t.Fatalf("Scan: %v", err)
		}
		for _, r := range page.Records {
			found[r.ID.String()] = r
		}
		if page.End {
			return found
		}
		after = page.Next
	}
}

func moveFence(t testing.TB, s *sqlite.Store, to store.Fence) {
	t.Helper()
	from, err := s.Fence(context.Background())
	if err == nil {
		err = s.MoveFence(context.Background(), from, to)
	}
	if err != nil {
		t.Fatalf("MoveFence: %v", err)
	}
}
