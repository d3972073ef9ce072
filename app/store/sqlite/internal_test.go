package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"migrate/app/store"
	"migrate/app/task"
)

func ready(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Path: filepath.Join(t.TempDir(), "todo.sqlite"), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.FirstContact(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func one(id string) Record {
	return Record{ID: id, Pair: store.Pair{Rev: 1, Epoch: 1}, Body: task.Task{Assignee: "Bill"}}
}

// TestGuardLeftBehind: a transaction of ours that leaves the triggers standing
// aside can't be committed.
func TestGuardLeftBehind(t *testing.T) {
	s := ready(t)
	err := s.write(t.Context(), "forget the guard", func(ctx context.Context, c *conn, _ store.Fence) error {
		if _, err := c.exec(ctx, `INSERT INTO migrate_ours VALUES(1)`); err != nil {
			return err
		}
		if _, err := c.exec(ctx, `INSERT INTO migrate_record VALUES('a',1,1,0,0,NULL)`); err != nil {
			return err
		}
		return putRow(ctx, c, one("a"))
	})
	if !errors.Is(err, store.ErrUnknown) {
		t.Errorf("it ended with %v", err)
	}
	if found, _, err := s.Get(t.Context(), "a"); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	if err := s.CompareAndSwap(t.Context(), 1, one("a"), store.Pair{}); err != nil {
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
	limit(40)
	large := one("large")
	large.Body.Description = strings.Repeat("x", 1<<20)
	if err := s.CompareAndSwap(t.Context(), 1, large, store.Pair{}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("it ended with %v", err)
	}
	if found, _, err := s.Get(t.Context(), "large"); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	if err := s.CompareAndSwap(t.Context(), 1, one("small"), store.Pair{}); err != nil {
		t.Errorf("the next write: %v", err)
	}
}

// TestPlans: no page sorts or reads more than it returns, where the original's
// own list didn't.
func TestPlans(t *testing.T) {
	s := ready(t)
	no := false
	undone, args := listQuery(task.Filter{Assignee: new("Bill"), Done: &no})
	nobodys, empty := listQuery(task.Filter{Assignee: new(""), Done: &no})
	everything, _ := listQuery(task.Filter{})
	for _, c := range []struct {
		name, query string
		args        []any
		want        string
	}{
		{"Bill's undone ones", undone, append([]any{"", 10}, args...), "migrate_list (assignee=? AND done=? AND id>?)"},
		{"nobody's undone ones", nobodys, append([]any{"", 10}, empty...), "migrate_list (assignee=? AND done=? AND id>?)"},
		{"everything", everything, []any{"", 10}, "migrate_id (id>?)"},
		{"pending", allRecords + `WHERE r.pending=1 AND r.id>? ORDER BY r.id LIMIT ?`, []any{"", 10}, "migrate_pending"},
		{"scan", allRecords + `WHERE r.id>? ORDER BY r.id LIMIT ?`, []any{"", 10}, "r USING PRIMARY KEY (id>?)"},
		{"get", allRecords + `WHERE r.id=?`, []any{"a"}, "r USING PRIMARY KEY (id=?)"},
		{"count pending", `SELECT count(*) FROM migrate_record WHERE pending=1`, nil, "migrate_pending"},
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
	text := strings.ToUpper(triggersSQL[strings.Index(triggersSQL, "CREATE"):])
	for _, newer := range []string{"ON CONFLICT", "RETURNING", "OR IGNORE", "OR REPLACE", " IS TRUE", " OVER "} {
		if strings.Contains(text, newer) {
			t.Errorf("the triggers use %s", newer)
		}
	}
}
