package nginx_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

	"migrate.invalid/migrate/nginx"
	"migrate.invalid/migrate/nginx/nginxtest"
)

// load is many clients that POST on keep-alive connections and repeat nothing:
// bytes on a socket, no HTTP client that could mend what a switch breaks.
type load struct {
	address string
	think   time.Duration // at most, between an answer and the next request
	stop    context.CancelFunc
	clients sync.WaitGroup
	done    atomic.Int64
	failed  atomic.Int64
	first   atomic.Pointer[error] // of the failures
}

// startLoad starts the clients. They run until end.
func startLoad(ctx context.Context, address string, clients int, think time.Duration) *load {
	ctx, stop := context.WithCancel(ctx)
	l := &load{address: address, think: think, stop: stop}
	for range clients {
		l.clients.Go(func() {
			for ctx.Err() == nil {
				if err := l.connection(ctx); err != nil {
					l.failed.Add(1)
					l.first.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	return l
}

func (l *load) end() {
	l.stop()
	l.clients.Wait()
}

// connection sends requests on one connection until the server announces
// that it closes it, or ctx is done. An error is one failed request.
func (l *load) connection(ctx context.Context) error {
	conn, err := net.DialTimeout("tcp", l.address, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for ctx.Err() == nil {
		again, err := l.post(conn, reader)
		if err != nil {
			return err
		}
		l.done.Add(1)
		if !again {
			return nil
		}
		if l.think > 0 {
			time.Sleep(rand.N(l.think))
		}
	}
	return nil
}

// post sends one request and reports whether the connection may take another.
func (l *load) post(conn net.Conn, reader *bufio.Reader) (again bool, err error) {
	conn.SetDeadline(time.Now().Add(patience))
	const request = "POST /tasks HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n{}"
	if _, err := io.WriteString(conn, request); err != nil {
		return false, fmt.Errorf("send: %w", err)
	}
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		return false, fmt.Errorf("receive: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, fmt.Errorf("receive body: %w", err)
	}
	if resp.StatusCode != 200 || len(body) != 1 {
		return false, fmt.Errorf("got %d %q", resp.StatusCode, body)
	}
	return !resp.Close, nil
}

// moreDone waits until n more requests are answered.
func (l *load) moreDone(t *testing.T, n int64) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for want := l.done.Load() + n; l.done.Load() < want; {
		if time.Now().After(deadline) {
			t.Fatalf("the clients stand still: %v", l.err())
		}
		time.Sleep(time.Millisecond)
	}
}

func (l *load) err() error {
	if first := l.first.Load(); first != nil {
		return *first
	}
	return nil
}

// Many moves under load lose no request, by either way; the same load sees what
// a plain reload loses, so it would see ours.
func TestMoveLosesNothing(t *testing.T) {
	const clients = 64
	bothWays(t, func(t *testing.T, by nginx.Cutover) {
		leaks := goleak.IgnoreCurrent()
		s := newStage(t, 2, by)
		ports := [2]*instance{s.serve(t, named("a")), s.serve(t, named("b"))}
		for _, think := range []time.Duration{0, 5 * time.Millisecond} {
			s.with(t, ports[0].port, ports[1].port)
			s.TakeCut()
			l := startLoad(t.Context(), s.Config().Listen, clients, think)
			moves := map[nginx.Cutover]int{nginx.ByLink: 100, nginx.ByReload: 8}[by]
			for i := range moves {
				l.moreDone(t, clients)
				to := ports[(i+1)%2]
				if err := s.Move(t.Context(), to.port); err != nil {
					t.Fatal(err)
				}
				got, err := send(t.Context(), "GET", s.url(), nil)
				if err != nil || got.body != string("ab"[(i+1)%2]) {
					t.Fatalf("after move %d: got %+v, %v", i, got, err)
				}
			}
			l.moreDone(t, clients)
			l.end()
			t.Logf("think up to %v: %d moves, %d requests, %d failed, %d cut", think, moves, l.done.Load(), l.failed.Load(), s.TakeCut())
			if l.failed.Load() > 0 {
				t.Errorf("%d requests failed, the first: %v", l.failed.Load(), l.err())
			}
		}
		ports[0].stop()
		ports[1].stop()
		goleak.VerifyNone(t, leaks)
	})
	t.Run("plain reload", func(t *testing.T) { plainLoses(t, clients, 5*time.Millisecond, 0) })
}

// Clients that are far away and idle for most of the time lose nothing
// either. They are the ones on whom a reload closes the connection.
func TestMoveLosesNothingFarAway(t *testing.T) {
	const clients, think = 256, time.Second
	const oneWay = 10 * time.Millisecond
	bothWays(t, func(t *testing.T, by nginx.Cutover) {
		s := newStage(t, 2, by)
		ports := [2]*instance{s.serve(t, named("a")), s.serve(t, named("b"))}
		s.with(t, ports[0].port, ports[1].port)
		s.TakeCut()
		l := startLoad(t.Context(), nginxtest.Relay(t, s.Config().Listen, oneWay), clients, think)
		moves := map[nginx.Cutover]int{nginx.ByLink: 20, nginx.ByReload: 3}[by]
		for i := range moves {
			l.moreDone(t, clients/4)
			if err := s.Move(t.Context(), ports[(i+1)%2].port); err != nil {
				t.Fatal(err)
			}
		}
		l.moreDone(t, 2*clients)
		l.end()
		cut := s.TakeCut()
		t.Logf("%d moves, %d requests, %d failed, %d cut", moves, l.done.Load(), l.failed.Load(), cut)
		if l.failed.Load() > int64(cut) {
			t.Errorf("%d requests failed and %d connections were cut, the first: %v", l.failed.Load(), cut, l.err())
		}
	})
	t.Run("plain reload", func(t *testing.T) { plainLoses(t, clients, think, oneWay) })
}

// plainLoses shows that this load sees what the usual way to switch loses.
func plainLoses(t *testing.T, clients int64, think, oneWay time.Duration) {
	s := newStage(t, 2)
	ports := [2]*instance{s.serve(t, named("a")), s.serve(t, named("b"))}
	u := nginxtest.StartPlain(t, ports[0].port)
	url := "http://" + u.Listen
	waitAnswer(t, url, "a")
	address := u.Listen
	if oneWay > 0 {
		address = nginxtest.Relay(t, u.Listen, oneWay)
	}
	l := startLoad(t.Context(), address, int(clients), think)
	reloads := 0
	for ; reloads < 40 && l.failed.Load() == 0; reloads++ {
		l.moreDone(t, clients/4)
		u.Move(t, ports[(reloads+1)%2].port)
		waitAnswer(t, url, string("ab"[(reloads+1)%2]))
	}
	l.end()
	t.Logf("%d reloads, %d requests, %d failed: %v", reloads, l.done.Load(), l.failed.Load(), l.err())
	if l.failed.Load() == 0 {
		t.Error("reloads lost nothing: this load would not see a loss of ours either")
	}
}

// waitAnswer waits until new connections are answered by an instance.
func waitAnswer(t *testing.T, url, name string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got, err := send(t.Context(), "GET", url, nil)
		if err == nil && got.body == name {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not served: %+v, %v", name, got, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// A request in flight finishes where it began.
func TestMoveLeavesRequestsInFlight(t *testing.T) { bothWays(t, testRequestsInFlight) }

func testRequestsInFlight(t *testing.T, by nginx.Cutover) {
	s := newStage(t, 2, by)
	begun, release := make(chan struct{}), make(chan struct{})
	previous := s.serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-release
		io.WriteString(w, "previous")
	})
	next := s.serve(t, named("next"))
	s.with(t, previous.port, 0)

	type result struct {
		answer
		error
	}
	held := make(chan result, 1)
	go func() {
		got, err := send(t.Context(), "POST", s.url(), strings.NewReader("{}"))
		held <- result{got, err}
	}()
	<-begun
	s.with(t, next.port, previous.port)
	if err := s.each(t, changes, is(200, "next")); err != nil {
		t.Error(err)
	}
	out, err := s.Outgoing()
	if err != nil || (out > 0) != (by == nginx.ByReload) {
		t.Errorf("%d workers of before, %v", out, err)
	}
	close(release)
	r := <-held
	if err := errors.Join(r.error, r.differs(200, "previous"), previous.got(1)); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(patience); out > 0 && time.Now().Before(deadline); {
		if out, err = s.Outgoing(); err != nil {
			t.Fatal(err)
		}
	}
	if out > 0 {
		t.Errorf("%d workers of before are still there", out)
	}
}

// An upload whose instance is retired before its body has come finds the
// next one, with all of the body.
func TestMoveDuringSlowUpload(t *testing.T) {
	const rounds = 20
	s := newStage(t, rounds+1)
	next := s.serve(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	for range rounds {
		retired := s.port() // as good as retired: nobody is there when the body has come
		s.with(t, retired, 0)
		body, upload := io.Pipe()
		type result struct {
			answer
			error
		}
		slow := make(chan result, 1)
		go func() {
			got, err := send(t.Context(), "POST", s.url(), body)
			slow <- result{got, err}
		}()
		io.WriteString(upload, "first half, ")
		if err := s.each(t, []string{"GET"}, down("unavailable")); err != nil {
			t.Fatal(err)
		}
		s.with(t, next.port, 0)
		io.WriteString(upload, "second half")
		upload.Close()
		r := <-slow
		if err := errors.Join(r.error, r.differs(200, "first half, second half")); err != nil {
			t.Fatal(err)
		}
		// Was it sent to the retired one first, as it should be here?
		log, err := os.ReadFile(filepath.Join(s.Config().Dir, "logs", "error.log"))
		if err != nil {
			t.Fatal(err)
		}
		refused := fmt.Sprintf(`request: "POST / HTTP/1.1", upstream: "http://127.0.0.1:%d/"`, retired)
		if strings.Contains(string(log), refused) {
			return
		}
	}
	t.Errorf("in %d rounds no upload had chosen its instance before the move", rounds)
}
