package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/todo"
)

func ready(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "todo.sqlite"), Create: true, Collections: []record.Collection{todo.Collection()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.FirstContact(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func key(text string) record.ID {
	id, err := record.NewID("tasks", record.UncheckedText(text))
	if err != nil {
		panic(err) // a text always can be one
	}
	return id
}

func one(id, description string) Record {
	return Record{ID: key(id), Pair: store.Pair{Rev: 1, Epoch: 1},
		Body: record.NewBody(record.UncheckedText("Bill"), record.UncheckedText(description), record.OfBool(false))}
}

// TestGuardLeftBehind: a transaction of ours that leaves the triggers standing
// aside can't be committed.
func TestGuardLeftBehind(t *testing.T) {
	s := ready(t)
	err := s.write(t.Context(), "forget the guard", func(ctx context.Context, c *conn, _ store.Fence) error {
		w, err := s.writing(one("a", ""))
		if err != nil {
			return err
		}
		if _, err := w.swap(ctx, c, store.Pair{}); err != nil {
			return err
		}
		if _, err := c.exec(ctx, w.sql.guard, w.id...); err != nil {
			return err
		}
		return w.change(ctx, c)
	})
	if !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("it ended with %v", err)
	}
	if found, _, err := s.Get(t.Context(), key("a")); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	if err := s.CompareAndSwap(t.Context(), 1, one("a", ""), store.Pair{}); err != nil {
		t.Errorf("the next write: %v", err)
	}
}

// TestFullDisk: what doesn't fit is refused before COMMIT and leaves nothing.
func TestFullDisk(t *testing.T) {
	s := ready(t)
	limit := func(pages int) {
		t.Helper()
		if err := use(t.Context(), s.writers, func(ctx context.Context, c *conn) error {
			_, err := c.ExecContext(ctx, fmt.Sprintf(`PRAGMA max_page_count=%d`, pages))
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	limit(60)
	large := one("large", strings.Repeat("x", 1<<20))
	if err := s.CompareAndSwap(t.Context(), 1, large, store.Pair{}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("it ended with %v", err)
	}
	if found, _, err := s.Get(t.Context(), key("large")); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	if err := s.CompareAndSwap(t.Context(), 1, one("small", ""), store.Pair{}); err != nil {
		t.Errorf("the next write: %v", err)
	}
}

// TestPlans: no page sorts or reads more than it returns, where the original's
// own list didn't.
func TestPlans(t *testing.T) {
	s := ready(t)
	tasks := s.tables[0]
	list := func(conditions ...record.Equals) (string, []any) {
		f, err := tasks.Filter(conditions...)
		if err != nil {
			t.Fatal(err)
		}
		query, args := tasks.listSQL(f, false)
		return query, args([]any{"a"}, 10)
	}
	assignee := func(who string) record.Equals {
		return record.Equals{Field: "assignee", Value: record.UncheckedText(who)}
	}
	done := record.Equals{Field: "done", Value: record.OfBool(false)}
	undone, args := list(assignee("Bill"), done)
	nobodys, empty := list(assignee(""), done)
	everything, all := list()
	for _, c := range []struct {
		name, query string
		args        []any
		want        string
	}{
		{"Bill's undone ones", undone, args, "migrate_tasks.list1 (assignee=? AND done=? AND id>?)"},
		{"nobody's undone ones", nobodys, empty, "migrate_tasks.list1 (assignee=? AND done=? AND id>?)"},
		{"everything", everything, all, "migrate_tasks.id (id>?)"},
		{"pending", tasks.sql.pending, []any{"", 10}, "migrate_tasks.pending"},
		{"scan", tasks.sql.scan, []any{"", "", 10}, "t USING INDEX migrate_tasks.id (id>?)"},
		{"scan, tombstones", tasks.sql.scan, []any{"", "", 10}, "migrate_tasks.deleted"},
		{"get", tasks.sql.get, []any{"a"}, "t USING INDEX migrate_tasks.id (id=?)"},
		{"get, companion", tasks.sql.get, []any{"a"}, "m USING PRIMARY KEY (k1=?)"},
		{"count pending", `SELECT count(*) FROM migrate_tasks WHERE pending=1`, nil, "migrate_tasks.pending"},
	} {
		plan := explain(t, s, c.query, c.args...)
		if !strings.Contains(plan, c.want) || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s:\n%s", c.name, plan)
		}
	}
}

func explain(t *testing.T, s *Store, query string, args ...any) (plan string) {
	t.Helper()
	err := use(t.Context(), s.readers, func(ctx context.Context, c *conn) error {
		found, err := c.QueryContext(ctx, `EXPLAIN QUERY PLAN `+query, args...)
		if err != nil {
			return err
		}
		defer found.Close()
		for found.Next() {
			var id, parent, unused int
			var detail string
			if err := found.Scan(&id, &parent, &unused, &detail); err != nil {
				return err
			}
			plan += detail + "\n"
		}
		return found.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// TestTriggersRunInOldSQLite: their text is run by the foreign program, whose
// SQLite may know no UPSERT and no RETURNING.
func TestTriggersRunInOldSQLite(t *testing.T) {
	s := ready(t)
	if err := use(t.Context(), s.readers, func(ctx context.Context, c *conn) error {
		sh, err := s.tables[0].look(ctx, c)
		if err != nil {
			return err
		}
		sh.uniques = append(sh.uniques, unique{name: "theirs", columns: []string{"description"}, collations: []string{"NOCASE"}})
		texts := s.tables[0].triggers(sh)
		if len(texts) != 10 {
			t.Errorf("%d triggers", len(texts))
		}
		for _, text := range texts {
			for _, newer := range []string{"ON CONFLICT", "RETURNING", "OR IGNORE", "OR REPLACE", " IS TRUE", " OVER ", "IN (VALUES", "IIF("} {
				if strings.Contains(strings.ToUpper(text), newer) {
					t.Errorf("the triggers use %s: %s", newer, text)
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// What is exported goes back into a table as the value that it was.
func TestLiteralsAreTheValues(t *testing.T) {
	for _, c := range []struct {
		value any
		want  string
	}{
		{2.0, "2.0"}, {-0.5, "-0.5"}, {1e300, "1e+300"}, {math.Inf(1), "9e999"}, {math.Inf(-1), "-9e999"},
		{int64(2), "2"}, {nil, "NULL"}, {"it's", "'it''s'"}, {"a\x00b", "CAST(x'610062' AS TEXT)"}, {[]byte{0xff}, "x'ff'"},
	} {
		if got := literal(c.value); got != c.want {
			t.Errorf("%v is written %s, want %s", c.value, got, c.want)
		}
	}
}
