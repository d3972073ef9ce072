package orchestrator

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"migrate/nginx/nginxtest"
)

// TestBehindNginx walks with the real links, while clients that can't repeat a
// request post on connections that they keep.
func TestBehindNginx(t *testing.T) {
	r := newRig(t)
	server := nginxtest.StartIn(t, filepath.Join(r.dir, "nginx"), 4)
	r.first = server.Config().FirstPort
	open := func() *Orchestrator { return r.open(func(c *Config) { c.Traffic = ByLink(server) }) }
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
	for range 8 {
		clients.Go(func() {
			if err := post(ByLink(server).URL(), stop, &requests); err != nil {
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
	if status, _, err := get(t.Context(), ByLink(server).URL()+"/work"); status != http.StatusServiceUnavailable {
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
