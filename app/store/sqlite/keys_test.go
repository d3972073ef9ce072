package sqlite_test

import (
	"errors"
	"testing"

	"migrate.invalid/migrate/app/store"
)

// The key of a row in quarantine names the row as it was listed: one that has
// changed since is not dropped by it.
func TestAKeyNamesTheRowThatWasListed(t *testing.T) {
	s, path := fresh(t)
	ctx := t.Context()
	db := plain(t, path)
	run := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	listed := func() store.Quarantined {
		t.Helper()
		rows, n, err := s.Quarantine(ctx, 0)
		if err != nil || n != 1 {
			t.Fatalf("%d rows: %v, %v", n, rows, err)
		}
		return rows[0]
	}
	run(`INSERT INTO tasks VALUES('a',CAST(x'ff' AS TEXT),'worthless',0)`)
	seen := listed()
	run(`UPDATE tasks SET description='precious' WHERE id='a'`)
	if err := s.Drop(ctx, seen.Key); !errors.Is(err, store.ErrConflict) {
		t.Errorf("the key of the row before it changed: %v, want a conflict", err)
	}
	now := listed()
	if now.Key == seen.Key {
		t.Error("a row that has changed has the same key")
	}
	if err := s.Drop(ctx, now.Key); err != nil {
		t.Errorf("the key of the row as it is: %v", err)
	}
}
