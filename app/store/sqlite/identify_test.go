package sqlite_test

import (
	"os"
	"path/filepath"
	"testing"

	"migrate.invalid/migrate/app/store/sqlite"
)

// A file is asked whose it is without a trace: it may be the wrong one.
func TestIdentifyLeavesNoTrace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a b%?.sqlite")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := sqlite.Identify(t.Context(), path); id != "" || err != nil {
		t.Errorf("an empty file: %q, %v", id, err)
	}
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Create: true, Collections: tasks()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.FirstContact(t.Context()); err != nil {
		t.Fatal(err)
	}
	fence, err := s.Fence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if id, err := sqlite.Identify(t.Context(), path); id != fence.Migration || err != nil {
		t.Errorf("while it is in use: %q, %v; want %q", id, err, fence.Migration)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := sqlite.Identify(t.Context(), path); id != fence.Migration || err != nil {
		t.Errorf("when nobody uses it: %q, %v; want %q", id, err, fence.Migration)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the file is another one now (%v)", err)
	}
	if _, err := sqlite.Identify(t.Context(), filepath.Join(dir, "none")); err == nil {
		t.Error("a file that isn't there was identified")
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); err == nil {
		t.Error("and made")
	}
}
