package app

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"testing"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/todo"
	"migrate.invalid/migrate/app/web"
)

// TestListOfEverythingHoldsOnePage: a whole list of twelve times as many tasks
// takes about the same memory.
func TestListOfEverythingHoldsOnePage(t *testing.T) {
	few, many := 5_000, 60_000
	peak(t, few) // for what is only made once
	small, large := peak(t, few), peak(t, many)
	t.Logf("live heap at most: %d kB for %d tasks, %d kB for %d", small>>10, few, large>>10, many)
	if large > 3*small {
		t.Errorf("%d tasks held %d kB, %d tasks %d kB", few, small>>10, many, large>>10)
	}
}

// peak lists a file of so many tasks as a client that reads slowly does, and
// returns the most memory that was alive meanwhile, in bytes.
func peak(t *testing.T, tasks int) (most uint64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "todo.sqlite")
	foreign := lay(t, path, nil)
	defer foreign.Close()
	if _, err := foreign.Exec(fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d)
		INSERT INTO tasks SELECT printf('%%08d',i),'Bill',hex(zeroblob(300)),i%%2 FROM n`, tasks)); err != nil {
		t.Fatal(err)
	}
	res, err := http.Get(serveFile(t, path) + "/tasks?done=all")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	in := json.NewDecoder(&sampled{in: res.Body, most: &most})
	if _, err := in.Token(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; in.More(); n++ {
		var got struct{ ID string }
		if err := in.Decode(&got); err != nil || got.ID != fmt.Sprintf("%08d", n+1) {
			t.Fatalf("task %d is %q, %v", n+1, got.ID, err)
		}
	}
	if _, err := in.Token(); err != nil || n != tasks {
		t.Errorf("%d tasks of %d: %v", n, tasks, err)
	}
	return most
}

// serveFile serves a legacy file at step 1, after first contact, and returns
// the service's URL.
func serveFile(t *testing.T, path string) string {
	t.Helper()
	db := Databases{Old: "sqlite:" + path, New: "mongodb://127.0.0.1:27117/", Name: "todo"}
	old, err := OpenOld(t.Context(), db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { old.Close() })
	if _, err := takeOver(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	service, err := migration.New(migration.Config{Step: migration.DeployNew, Old: old})
	if err != nil {
		t.Fatal(err)
	}
	server, err := web.New(web.Config{Step: migration.DeployNew, Old: db.OldPlace(), New: db.NewPlace()}, todo.New(service))
	if err != nil {
		t.Fatal(err)
	}
	face := httptest.NewServer(server.Public())
	t.Cleanup(face.Close)
	return face.URL
}

// sampled looks at the live heap once in every half a megabyte.
type sampled struct {
	in   io.Reader
	n    int
	next int
	most *uint64
}

func (s *sampled) Read(p []byte) (int, error) {
	if s.n >= s.next {
		s.next = s.n + 1<<19
		runtime.GC()
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		*s.most = max(*s.most, now.HeapAlloc)
	}
	n, err := s.in.Read(p)
	s.n += n
	return n, err
}
