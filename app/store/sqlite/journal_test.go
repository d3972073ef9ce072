package sqlite_test

import (
	"context"
	"os"
	"testing"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/sqlite"
)

func journal(t testing.TB, path string) string {
	t.Helper()
	db := plain(t, path)
	defer db.Close()
	return rows(t, db, `PRAGMA journal_mode`)
}

// TestJournalAfterAKill: a take-over that was killed once the log was set has left
// a note of the former mode, which the next one believes.
func TestJournalAfterAKill(t *testing.T) {
	path := legacy(t, abc)
	run(t, path, `PRAGMA journal_mode=WAL`)
	if err := os.WriteFile(path+".migrate-journal", []byte("delete\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, sqlite.Config{Path: path})
	contact(t, s)
	if _, err := os.Stat(path + ".migrate-journal"); !os.IsNotExist(err) {
		t.Errorf("the note stays: %v", err)
	}
	if _, err := s.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if got := journal(t, path); got != "string:delete" {
		t.Errorf("journal mode %s", got)
	}
}

// TestUndoUnderAReader: the mode is set once the reader has gone.
func TestUndoUnderAReader(t *testing.T) {
	ctx := context.Background()
	path := legacy(t, abc)
	s := open(t, sqlite.Config{Path: path})
	contact(t, s)
	reader := plain(t, path)
	rows(t, reader, `SELECT * FROM tasks`)
	_, err := s.Release(ctx)
	only(t, "undo under a reader", err, store.ErrUnavailable)
	reader.Close()
	if _, err := s.Release(ctx); err != nil {
		t.Errorf("undo again: %v", err)
	}
	_, err = s.Release(ctx)
	only(t, "undo once more", err, store.ErrStranger)
	s.Close()
	if got := journal(t, path); got != "string:delete" {
		t.Errorf("journal mode %s", got)
	}
}

// TestJournalOfAFailedTakeOver: whatever fails behind the log gives it back.
func TestJournalOfAFailedTakeOver(t *testing.T) {
	path := legacy(t, abc)
	ctx, cancel := context.WithCancel(context.Background())
	s := open(t, sqlite.Config{Path: path})
	_, err := s.Adopt(ctx, store.AdoptOptions{Progress: func(p store.AdoptProgress) {
		if p.Phase == "copy" { // a kill now would leave the note
			if _, err := os.Stat(path + ".migrate-journal"); err != nil {
				t.Error(err)
			}
			cancel()
		}
	}})
	if err == nil {
		t.Fatal("it didn't fail")
	}
	s.Close()
	if got := journal(t, path); got != "string:delete" {
		t.Errorf("journal mode %s after %v", got, err)
	}
	if _, err := os.Stat(path + ".migrate-journal"); !os.IsNotExist(err) {
		t.Errorf("the note stays: %v", err)
	}
}
