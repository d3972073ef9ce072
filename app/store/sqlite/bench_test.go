package sqlite_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/sqlite"
	"migrate.invalid/migrate/app/task"
)

const benchRows = 20_000

const benchInsert = `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n WHERE i<19999)
	INSERT INTO tasks SELECT printf('%08d',i),'Bill '||(i%200),'buy something that is described at some length',i%2 FROM n`

func benchStore(b *testing.B) *sqlite.Store {
	path := filepath.Join(b.TempDir(), "todo.sqlite")
	db := plain(b, path)
	if _, err := db.Exec(`CREATE TABLE tasks(id text, assignee text, description text, done boolean);` + benchInsert); err != nil {
		b.Fatal(err)
	}
	db.Close()
	s := open(b, sqlite.Config{Path: path})
	contact(b, s)
	return s
}

func BenchmarkGet(b *testing.B) {
	s := benchStore(b)
	for i := 0; b.Loop(); i++ {
		if found, _, err := s.Get(context.Background(), key(fmt.Sprintf("%08d", i%benchRows))); err != nil || len(found) != 1 {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompareAndSwap(b *testing.B) {
	s := benchStore(b)
	for i := 0; b.Loop(); i++ {
		rev := int64(1 + i/benchRows)
		r := sqlite.Record{ID: key(fmt.Sprintf("%08d", i%benchRows)), Body: body(task.Task{Assignee: "Bill", Done: true})}
		r.Rev = rev + 1
		if err := s.CompareAndSwap(context.Background(), 1, r, store.Pair{Rev: rev}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkListUndone(b *testing.B) {
	s := benchStore(b)
	no := false
	for i := 0; b.Loop(); i++ {
		filter := task.Filter{Assignee: new(fmt.Sprint("Bill ", i%100*2)), Done: &no}
		if page, _, err := s.List(context.Background(), selected(filter), "", 100); err != nil || len(page.Records) != 100 {
			b.Fatal(len(page.Records), err)
		}
	}
}

// BenchmarkBare is the same on the original's table with a unique index.
func BenchmarkBare(b *testing.B) {
	path := filepath.Join(b.TempDir(), "todo.sqlite")
	db := plain(b, path)
	if _, err := db.Exec(`PRAGMA journal_mode=WAL; CREATE TABLE tasks(id text, assignee text, description text, done boolean);
		CREATE UNIQUE INDEX i ON tasks(id); CREATE INDEX l ON tasks(assignee, done, id);` + benchInsert); err != nil {
		b.Fatal(err)
	}
	get, err := db.Prepare(`SELECT id, assignee, description, done FROM tasks WHERE id=?`)
	if err != nil {
		b.Fatal(err)
	}
	update, err := db.Prepare(`UPDATE tasks SET assignee=?, description=?, done=? WHERE id=?`)
	if err != nil {
		b.Fatal(err)
	}
	var t task.Task
	var id string
	b.Run("Get", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if err := get.QueryRow(fmt.Sprintf("%08d", i%benchRows)).Scan(&id, &t.Assignee, &t.Description, &t.Done); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ListUndone", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			found, err := db.Query(`SELECT id, assignee, description, done FROM tasks WHERE assignee=? AND done=0 ORDER BY id LIMIT 100`, fmt.Sprint("Bill ", i%100*2))
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for ; found.Next(); n++ {
				if err := found.Scan(&id, &t.Assignee, &t.Description, &t.Done); err != nil {
					b.Fatal(err)
				}
			}
			if found.Close(); n != 100 {
				b.Fatal(n)
			}
		}
	})
	b.Run("Update", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := update.Exec("Bill", "", true, fmt.Sprintf("%08d", i%benchRows)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
