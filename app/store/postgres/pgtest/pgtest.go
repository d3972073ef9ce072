// Package pgtest gives tests PostgreSQL servers of their own.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"migrate.invalid/migrate/app/store/postgres/local"
)

// shared is the one server that most tests of a binary use.
var shared struct {
	once   sync.Once
	server *local.Server
	dir    string
	err    error
	count  atomic.Int64
}

// Main runs the tests, and ends the server that they have shared.
func Main(m *testing.M) int {
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.Stop("immediate"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if err := os.RemoveAll(shared.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// Database returns the URI of an empty database, on a server that the tests of this
// binary share, which must end by [Main].
func Database(t testing.TB) string {
	t.Helper()
	s := Shared(t)
	name := fmt.Sprintf("t%d", shared.count.Add(1))
	if err := s.Create(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Drop(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	return s.URI(name)
}

// Shared returns the server that the tests of this binary share.
func Shared(t testing.TB) *local.Server {
	t.Helper()
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "migrate-postgres"); shared.err != nil {
			return
		}
		if shared.err = os.Chmod(shared.dir, 0o711); shared.err != nil {
			return
		}
		shared.server, shared.err = local.Start(context.Background(), local.Config{
			Dir: filepath.Join(shared.dir, "server"), Settings: map[string]string{"fsync": "off", "max_prepared_transactions": "10"},
		})
	})
	need(t, shared.err)
	return shared.server
}

// Start returns a server of the test's own.
func Start(t testing.TB, settings map[string]string) *local.Server {
	t.Helper()
	s, err := local.Start(t.Context(), local.Config{Dir: filepath.Join(Folder(t), "server"), Settings: settings})
	need(t, err)
	t.Cleanup(func() { Stop(t, s) })
	return s
}

// Bouncer starts a PgBouncer of the test's own before the server, whose pools have
// this mode.
func Bouncer(t testing.TB, s *local.Server, mode string) *local.Bouncer {
	t.Helper()
	b, err := s.Bounce(t.Context(), filepath.Join(Folder(t), "bouncer"), mode)
	need(t, err)
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Folder is a temporary one that another user can walk to.
func Folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "migrate-postgres")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Stop ends a server.
func Stop(t testing.TB, s *local.Server) {
	t.Helper()
	if err := s.Stop("immediate"); err != nil {
		t.Error(err)
	}
}

// need skips a test where a program is missing, unless all tests are asked for.
func need(t testing.TB, err error) {
	t.Helper()
	missing := errors.Is(err, local.ErrMissing) || errors.Is(err, local.ErrNoBouncer)
	if missing && os.Getenv("MIGRATE_TEST_ALL") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}
