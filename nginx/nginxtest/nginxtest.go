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

	"migrate/nginx"
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

// FreePorts returns the first of n consecutive ports that are free on
// 127.0.0.1 now. They are below those that systems give to outgoing
// connections, and chosen at random, so that packages tested at the same time
// rarely meet.
func FreePorts(t testing.TB, n int) (first int) {
	t.Helper()
	for range 200 {
		first = 10000 + rand.IntN(20000-n)
		if free(first, n) {
			return first
		}
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
