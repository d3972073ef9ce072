// Package nginxtest gives tests a real nginx in a temporary folder.
//
// A test that needs one is skipped where none is installed, and fails there
// when MIGRATE_TEST_ALL is 1, as scripts/test.sh sets it: nothing is left out
// in silence.
package nginxtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gofrs/flock"

	"migrate.invalid/migrate/nginx"
)

// Binary returns the path of the nginx to test with.
func Binary(t testing.TB) string {
	t.Helper()
	names := []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx", "/opt/homebrew/bin/nginx"}
	if name := os.Getenv("MIGRATE_NGINX"); name != "" {
		names = []string{name}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const message = "needs nginx, which is not installed: run scripts/install-nginx.sh"
	if os.Getenv("MIGRATE_TEST_ALL") == "1" {
		t.Fatal(message)
	}
	t.Skip(message)
	return ""
}

// Ports are given to tests in ranges of this many, from lowest to highest: below
// those that systems give to outgoing connections.
const (
	portRange   = 80
	lowestPort  = 10000
	highestPort = 30000
)

// FreePorts returns the first of n consecutive ports, at most 80, that are free
// on 127.0.0.1 now. No other test is given one of them before this one ends,
// whatever package or process it runs in: a locked file stands for each range.
func FreePorts(t testing.TB, n int) (first int) {
	t.Helper()
	if n > portRange {
		t.Fatalf("%d ports in a row are more than a range has", n)
	}
	const ranges = (highestPort - lowestPort) / portRange
	for _, i := range rand.Perm(ranges) {
		first = lowestPort + i*portRange
		lock := flock.New(filepath.Join(os.TempDir(), fmt.Sprintf("migrate-test-ports-%d.lock", first)))
		if taken, err := lock.TryLock(); err != nil || !taken {
			continue // another test's, or a file of another user's
		}
		if !free(first, n) {
			_ = lock.Unlock()
			continue
		}
		t.Cleanup(func() {
			if err := lock.Unlock(); err != nil {
				t.Error(err)
			}
		})
		return first
	}
	t.Fatalf("found no %d free ports in a row", n)
	return 0
}

func free(first, n int) bool {
	for port := first; port < first+n; port++ {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		defer listener.Close()
	}
	return true
}

// Start returns a running nginx in a temporary folder, which is stopped when
// the test ends: on a free port of 127.0.0.1, for as many instances as asked,
// on the free ports right above it. What else is in the configuration can be
// changed before.
func Start(t testing.TB, ports int, change ...func(*nginx.Config)) *nginx.Server {
	t.Helper()
	return StartIn(t, filepath.Join(t.TempDir(), "nginx"), ports, change...)
}

// StartIn is Start in a folder of the caller's.
func StartIn(t testing.TB, dir string, ports int, change ...func(*nginx.Config)) *nginx.Server {
	t.Helper()
	first := FreePorts(t, ports+1)
	cfg := nginx.Config{
		Dir:       dir,
		Listen:    fmt.Sprintf("127.0.0.1:%d", first),
		FirstPort: first + 1,
		Ports:     ports,
		Binary:    Binary(t),
	}
	for _, f := range change {
		f(&cfg)
	}
	server, err := nginx.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			if log, err := os.ReadFile(filepath.Join(dir, "logs", "error.log")); err == nil {
				t.Logf("nginx's error log:\n%s", log[max(0, len(log)-4000):])
			}
		}
	})
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return server
}
