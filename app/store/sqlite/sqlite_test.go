package sqlite_test

import (
	"path/filepath"
	"testing"

	"migrate/app/store"
	"migrate/app/store/sqlite"
	"migrate/app/store/storetest"
	"migrate/app/task"
)

func TestStore(t *testing.T) {
	storetest.RunOld(t, func(t *testing.T) store.Old[task.Task, task.Filter] {
		return fresh(t)
	})
}

// fresh returns a store on a new file after first contact.
func fresh(t testing.TB) *sqlite.Store {
	t.Helper()
	s := openStore(t, filepath.Join(t.TempDir(), "todo.sqlite"))
	if _, err := s.FirstContact(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func openStore(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Create: true})
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
