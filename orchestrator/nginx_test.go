package orchestrator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"migrate.invalid/migrate/nginx"
	"migrate.invalid/migrate/nginx/nginxtest"
)

// TestBehindNginx walks with a real nginx, by each way, while clients that
// can't repeat a request post on connections that they keep.
func TestBehindNginx(t *testing.T) {
	for _, by := range []nginx.Cutover{nginx.ByLink, nginx.ByReload} {
		t.Run(string(by), func(t *testing.T) { walkBehindNginx(t, by) })
	}
}

func walkBehindNginx(t *testing.T, by nginx.Cutover) {
	r := newRig(t)
	server := nginxtest.StartIn(t, filepath.Join(r.dir, "nginx"), 4, func(cfg *nginx.Config) { cfg.Cutover = by })
	r.first = server.Config().FirstPort
	open := func() *Orchestrator { return r.open(func(c *Config) { c.Traffic = ByNginx(server) }) }
	t.Cleanup(func() {
		if _, err := open().StopAll(context.Background(), StopOptions{Yes: true}); err != nil {
			t.Error(err)
		}
	})
	move := func(n, step int) SwitchResult {
		t.Helper()
		if _, err := open().Spawn(t.Context(), spawnOptions(r.first+n, step, "")); err != nil {
			t.Fatal(err)
		}
		done, err := open().Switch(t.Context(), SwitchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	move(0, 1)

	var requests, failed atomic.Int64
	var clients sync.WaitGroup
	stop := make(chan struct{})
	const connections = 8
	for range connections {
		clients.Go(func() {
			if err := post(ByNginx(server).URL(), stop, &requests); err != nil {
				failed.Add(1)
				t.Errorf("after %d requests: %v", requests.Load(), err)
			}
		})
	}
	for step := 2; step <= 5; step++ {
		before := requests.Load()
		done := move((step-1)%3, step)
		if done.Port != r.first+(step-1)%3 || !done.Drained || done.Fallback != done.Previous {
			t.Errorf("%+v", done)
		}
		// By reload an upper bound: what was busy all through the window is counted, and unharmed,
		// by each of a switch's two reloads.
		if by == nginx.ByLink && done.Cut != 0 || done.Cut > 2*connections {
			t.Errorf("step %d: %d connections cut", step, done.Cut)
		}
		t.Logf("step %d: move %.2f ms, drain %.0f ms, switch %.0f ms, %d in flight, %d requests meanwhile", step,
			done.Move, done.Drain, done.Took, done.InFlight, requests.Load()-before)
	}
	close(stop)
	clients.Wait()
	if requests.Load() < 100 || failed.Load() != 0 {
		t.Errorf("%d requests, %d clients failed", requests.Load(), failed.Load())
	}

	s, err := open().Status(t.Context())
	if err != nil || s.Served == nil || s.Served.Live != s.Live || s.Served.Fallback != s.Fallback || s.Fallback == 0 || len(s.Warnings) != 0 {
		t.Errorf("status %+v, served %+v, %v", s, s.Served, err)
	}
	if _, err := open().StopAll(t.Context(), StopOptions{Yes: true}); err != nil {
		t.Fatal(err)
	}
	if status, _, err := get(t.Context(), ByNginx(server).URL()+"/work"); status != http.StatusServiceUnavailable {
		t.Errorf("with nothing behind it nginx answers %d, %v", status, err)
	}
}

// post sends requests on one connection and never repeats one.
func post(base string, stop <-chan struct{}, count *atomic.Int64) error {
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		return err
	}
	defer func() { conn.Close() }() // whichever it is by then
	answers := bufio.NewReader(conn)
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if _, err := io.WriteString(conn, "POST /work?for=2ms HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %s", resp.Status)
		}
		count.Add(1)
		if resp.Close { // nginx ends a connection after 1,000 requests and says so
			conn.Close()
			if conn, err = net.Dial("tcp", strings.TrimPrefix(base, "http://")); err != nil {
				return err
			}
			answers.Reset(conn)
		}
	}
}

// What a reload costs is said, and what still goes by the configuration before
// keeps the previous instance from being called drained.
func TestReloadIsAccountedFor(t *testing.T) {
	r := newRig(t)
	server := nginxtest.StartIn(t, filepath.Join(r.dir, "nginx"), 4, func(cfg *nginx.Config) { cfg.Cutover = nginx.ByReload })
	r.first = server.Config().FirstPort
	open := func() *Orchestrator {
		return r.open(func(c *Config) { c.Traffic, c.Timeouts.Drain = ByNginx(server), time.Second })
	}
	t.Cleanup(func() {
		if _, err := open().StopAll(context.Background(), StopOptions{Yes: true}); err != nil {
			t.Error(err)
		}
	})
	for n := range 2 {
		if _, err := open().Spawn(t.Context(), spawnOptions(r.first+n, n+1, "")); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			if _, err := open().Switch(t.Context(), SwitchOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	// An upload that never ends: the instance does not know of it, nginx does.
	conn, err := net.Dial("tcp", server.Config().Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /work HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nhalf"); err != nil {
		t.Fatal(err)
	}
	done, err := open().Switch(t.Context(), SwitchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	warned := strings.Join(done.Warnings, "\n")
	if done.Drained || done.Fallback != 0 || done.Cut != 1 || !strings.Contains(warned, "cut 1 ") || !strings.Contains(warned, "of the proxy's processes") {
		t.Errorf("%+v", done)
	}
}

// A command that was killed in the middle of a move by reload: what nginx serves
// is the truth, and the next command makes the rest agree.
func TestSettleAfterAReload(t *testing.T) {
	r := newRig(t)
	server := nginxtest.StartIn(t, filepath.Join(r.dir, "nginx"), 4, func(cfg *nginx.Config) { cfg.Cutover = nginx.ByReload })
	r.first = server.Config().FirstPort
	open := func() *Orchestrator { return r.open(func(c *Config) { c.Traffic = ByNginx(server) }) }
	t.Cleanup(func() {
		if _, err := open().StopAll(context.Background(), StopOptions{Yes: true}); err != nil {
			t.Error(err)
		}
	})
	for step := 1; step <= 2; step++ {
		if _, err := open().Spawn(t.Context(), spawnOptions(r.first+step-1, step, "")); err != nil {
			t.Fatal(err)
		}
		if step == 1 {
			if _, err := open().Switch(t.Context(), SwitchOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	killed := open()
	killed.hook = func(point string) {
		if point == "after "+phaseConfirm {
			panic("killed")
		}
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = killed.Switch(t.Context(), SwitchOptions{})
	}()
	// As if it had been killed before the link followed.
	link := filepath.Join(server.Config().Dir, "live")
	if err := errors.Join(os.Remove(link), os.Symlink(fmt.Sprintf("routes/%d", r.first), link)); err != nil {
		t.Fatal(err)
	}
	if err := open().Exclusive(t.Context(), "look", func(context.Context) error { return nil }); err != nil {
		t.Fatal(err)
	}
	s, err := open().Status(t.Context())
	if err != nil || s.Live != r.first+1 || s.Served == nil || s.Served.Live != s.Live || s.Fallback != r.first || s.Unfinished != nil {
		t.Errorf("status %+v, served %+v, %v", s, s.Served, err)
	}
}

// A port outside the range: the proxy is widened.
func TestSpawnWidensTheProxy(t *testing.T) {
	r := newRig(t)
	server := nginxtest.StartIn(t, filepath.Join(r.dir, "nginx"), 1)
	r.first = server.Config().FirstPort
	open := func() *Orchestrator {
		return r.open(func(c *Config) { c.Traffic, c.Ports = ByNginx(server), 1 })
	}
	t.Cleanup(func() {
		if _, err := open().StopAll(context.Background(), StopOptions{Yes: true}); err != nil {
			t.Error(err)
		}
	})
	outside := nginxtest.FreePorts(t, 1)
	if _, err := open().Spawn(t.Context(), spawnOptions(outside, 1, "")); err != nil {
		t.Fatal(err)
	}
	done, err := open().Switch(t.Context(), SwitchOptions{})
	if err != nil || done.Port != outside {
		t.Fatalf("%+v, %v", done, err)
	}
	if _, err := open().Spawn(t.Context(), spawnOptions(80, 1, "")); !errors.Is(err, ErrUsage) {
		t.Errorf("port 80: %v", err)
	}
}
