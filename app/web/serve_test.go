package web

import (
	"bufio"
	"context"
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

	"go.uber.org/goleak"

	"migrate.invalid/migrate/app/task"
)

// running is a server that serves on real sockets.
type running struct {
	*Server
	addr string
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, tasks *mapTasks, cfg Config) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{newServer(t, tasks, cfg), l.Addr().String(), stop, make(chan error, 1)}
	go func() { r.done <- r.serve(ctx, l, nil) }()
	t.Cleanup(stop)
	return r
}

// rawClient can't repeat a request, as net/http's own client would.
type rawClient struct {
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, addr string) *rawClient {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return &rawClient{c, bufio.NewReader(c)}
}

func (c *rawClient) do(method, path string) (*http.Response, error) {
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", method, path); err != nil {
		return nil, err
	}
	return c.answer()
}

func (c *rawClient) answer() (*http.Response, error) {
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, res.Body)
	return res, err
}

func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	tasks := newMapTasks()
	tasks.put("a", task.Task{Assignee: "Bill", Description: "walk"}, 1)
	tasks.held, tasks.entered = make(chan struct{}), make(chan struct{})
	s := start(t, tasks, Config{Linger: time.Millisecond})

	busy := dial(t, s.addr)
	if _, err := fmt.Fprint(busy, "GET /tasks/a HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-tasks.entered
	s.stop()
	until(t, "new connections are refused", func() bool {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	select {
	case err := <-s.done:
		t.Fatalf("ended with a request in flight: %v", err)
	default:
	}
	close(tasks.held)
	res, err := busy.answer()
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("the request in flight: %v %v", res, err)
	}
	if !res.Close {
		t.Error("the client is not told that the connection closes")
	}
	if err := <-s.done; err != nil {
		t.Error(err)
	}
}

// lateListener lets net/http learn late that it was closed, as a busy machine does.
type lateListener struct{ net.Listener }

func (l lateListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		time.Sleep(50 * time.Millisecond) // Shutdown meets a listener that is still in use
	}
	return c, err
}

func TestEndingWellIsNoError(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- newServer(t, newMapTasks(), Config{Linger: time.Millisecond}).serve(ctx, lateListener{l}, nil)
	}()
	if res, err := dial(t, l.Addr().String()).do("GET", "/healthz"); err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("it ended well, and says: %v", err)
	}
}

// TestClientsThatHaveConnectedAreAnswered: nobody has accepted them yet when
// the end begins.
func TestClientsThatHaveConnectedAreAnswered(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, newMapTasks(), Config{Linger: 5 * time.Second})
	var clients []*rawClient
	for range 20 {
		c := dial(t, tcp.Addr().String())
		if _, err := fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, tcp, nil) }()
	for i, c := range clients {
		if res, err := c.answer(); err != nil || res.StatusCode != 200 || !res.Close {
			t.Errorf("client %d: %v %v", i, res, err)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShutdownIsBounded(t *testing.T) {
	tasks := newMapTasks()
	tasks.held, tasks.entered = make(chan struct{}), make(chan struct{})
	s := start(t, tasks, Config{Linger: time.Millisecond, Grace: 50 * time.Millisecond})
	c := dial(t, s.addr)
	fmt.Fprint(c, "GET /tasks/a HTTP/1.1\r\nHost: x\r\n\r\n")
	<-tasks.entered
	s.stop()
	err := <-s.done
	close(tasks.held)
	if err == nil || !strings.Contains(err.Error(), "1 requests did not finish") {
		t.Errorf("a request that was cut is not reported: %v", err)
	}
}

// Busy clients on keep-alive connections lose nothing when the instance ends,
// because it asks them to close; without that time some do, or this proves nothing.
func TestShutdownLosesNoBusyClient(t *testing.T) {
	round := func(linger time.Duration) (lost int64) {
		tasks := newMapTasks()
		tasks.put("a", task.Task{Assignee: "Bill", Description: "walk"}, 1)
		s := start(t, tasks, Config{Linger: linger})
		var failed, answered atomic.Int64
		var clients sync.WaitGroup
		for range 16 {
			c := dial(t, s.addr)
			clients.Go(func() {
				for {
					res, err := c.do("PUT", "/tasks/a")
					if err != nil {
						failed.Add(1)
						return
					}
					answered.Add(1)
					if res.Close {
						return
					}
				}
			})
		}
		until(t, "the clients are busy", func() bool { return answered.Load() > 200 })
		s.stop()
		clients.Wait()
		if err := <-s.done; err != nil {
			t.Error(err)
		}
		return failed.Load()
	}
	for range 5 {
		if lost := round(5 * time.Second); lost != 0 {
			t.Fatalf("%d requests were lost", lost)
		}
	}
	for range 50 {
		if round(time.Nanosecond) > 0 {
			return
		}
	}
	t.Error("closing at once lost nothing either: the test can't see the fault")
}

func TestServeOnBothSockets(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "admin.sock")
	if len(path) <= maxSocketPath {
		t.Fatalf("%d bytes are no deep path", len(path))
	}
	for round := range 2 { // the second one finds what the first left behind
		ctx, stop := context.WithCancel(t.Context())
		s := newServer(t, newMapTasks(), Config{AdminSocket: path})
		done := make(chan error, 1)
		go func() { done <- s.Serve(ctx) }()
		until(t, "the admin socket is there", func() bool { _, err := os.Stat(path); return err == nil && s.Port() != 0 })
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		res, body := askSocket(t, path, "/status")
		if res.StatusCode != 200 || !strings.Contains(body, fmt.Sprintf(`"port":%d`, s.Port())) {
			t.Errorf("%d %s", res.StatusCode, body)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Error("the socket is left behind")
		}
		if round == 0 { // as a killed process leaves it
			stale, err := listenDeep(path)
			if err != nil {
				t.Fatal(err)
			}
			stale.SetUnlinkOnClose(false)
			stale.Close()
		}
	}
}

func TestTakenPortAndPath(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newServer(t, newMapTasks(), Config{Port: l.Addr().(*net.TCPAddr).Port})
	if err := s.Serve(t.Context()); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("a taken port: %v", err)
	}
	file := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = newServer(t, newMapTasks(), Config{AdminSocket: file})
	if err := s.Serve(t.Context()); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file where the socket should be: %v", err)
	}
	if b, _ := os.ReadFile(file); string(b) != "x" {
		t.Error("the file was replaced")
	}
}

func askSocket(t *testing.T, path, target string) (*http.Response, string) {
	t.Helper()
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	c, err := net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", target)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// until waits for a condition, at most 10 seconds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
