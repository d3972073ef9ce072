package nginx_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"migrate.invalid/migrate/nginx"
)

// raw sends a request as it is written, on a connection of its own.
func raw(address, request string) (answer, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return answer{}, err
	}
	return exchange(conn, request)
}

// exchange sends a request and closes the connection after the answer.
func exchange(conn net.Conn, request string) (answer, error) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, request); err != nil {
		return answer{}, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(body)}, err
}

// verbatim checks that requests reach the instance as they were sent, whether
// it is the live one or stands by.
func verbatim(t *testing.T, s *stage) error {
	echo := s.serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s|%s|%s|%s", r.Method, r.RequestURI, r.Host,
			r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"))
	})
	var errs []error
	for _, live := range []int{echo.port, s.port()} {
		s.with(t, live, echo.port)
		for _, uri := range []string{
			"/", "/tasks/a%2Fb", "/tasks//x", "/a/../b", "/a/./b", "/tasks?assignee=Bill%20J&done=true", "/tasks/?",
			"/za%C5%BC%C3%B3%C5%82%C4%87", "/zażółć", "/tasks/%7Bid%7D?a=b?c&d=%25#", "/" + strings.Repeat("long/", 1000), "/;a=b",
		} {
			got, err := raw(s.Config().Listen, "GET "+uri+" HTTP/1.1\r\nHost: example.org:8080\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n")
			want := "GET " + uri + "|example.org:8080|192.0.2.7, 127.0.0.1|http"
			if err = errors.Join(err, got.differs(200, want)); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

func TestVerbatim(t *testing.T) {
	bothWays(t, func(t *testing.T, by nginx.Cutover) {
		if err := verbatim(t, newStage(t, 8, by)); err != nil {
			t.Error(err)
		}
	})
}

func TestVerbatimSeesMistakes(t *testing.T) {
	for name, mistake := range map[string][2]string{
		"a slash":      {"proxy_pass http://$instance;", "proxy_pass http://$instance/;"},
		"the URI":      {"proxy_pass http://$instance;", "proxy_pass http://$instance$uri$is_args$args;"},
		"nginx's Host": {"proxy_set_header Host $said_host;", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, 8)
			s.alter(t, mistake[0], mistake[1])
			if verbatim(t, s) == nil {
				t.Error("not seen")
			}
		})
	}
}

func TestLargeUpload(t *testing.T) {
	s := newStage(t, 2)
	sum := s.serve(t, func(w http.ResponseWriter, r *http.Request) {
		hash := sha256.New()
		n, err := io.Copy(hash, r.Body)
		fmt.Fprintf(w, "%d %x %v", n, hash.Sum(nil), err)
	})
	const size = 50 << 20
	body := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(body)
	want := fmt.Sprintf("%d %x <nil>", size, sha256.Sum256(body))
	for _, live := range []int{sum.port, s.port()} { // and once more to the fallback
		s.with(t, live, sum.port)
		got, err := send(t.Context(), "POST", s.url(), bytes.NewReader(body))
		if err = errors.Join(err, got.differs(200, want)); err != nil {
			t.Error(err)
		}
	}
}

// An event stream comes through event by event.
func TestEventStream(t *testing.T) {
	s := newStage(t, 1)
	next := make(chan string)
	live := s.serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no")
		for event := range next {
			io.WriteString(w, event+"\n")
			http.NewResponseController(w).Flush()
		}
	})
	s.with(t, live.port, 0)
	go func() { next <- "first" }()
	resp, err := http.Get(s.url())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for _, event := range []string{"first", "second", "third"} {
		if event != "first" {
			next <- event // the handler waits for it: what was sent before is all there is
		}
		if !lines.Scan() || lines.Text() != event {
			t.Fatalf("got %q, %v; want %q", lines.Text(), lines.Err(), event)
		}
	}
	close(next)
}

func TestUpgrade(t *testing.T) {
	s := newStage(t, 1)
	live := s.serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "echo" || r.Header.Get("Connection") != "upgrade" {
			http.Error(w, fmt.Sprint(r.Header), http.StatusBadRequest)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
		io.Copy(conn, buffered)
	})
	s.with(t, live.port, 0)
	conn, err := net.Dial("tcp", s.Config().Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v", resp, err)
	}
	io.WriteString(conn, "hello\n")
	if line, err := reader.ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

// Other machines don't learn where requests go.
func TestRouteIsForThisMachine(t *testing.T) {
	s := newStage(t, 1)
	s.alter(t, "127.0.0.0/8 1;", "127.0.0.1 1;")
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	for _, uri := range []string{"/migrate-route/live", "/migrate-route/fallback"} {
		conn, err := other.Dial("tcp", s.Config().Listen)
		if err != nil {
			t.Skipf("this system has one loopback address only: %v", err)
		}
		got, err := exchange(conn, "GET "+uri+" HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n")
		if err != nil || got.status != http.StatusNotFound || got.code() != "not_found" {
			t.Errorf("%s: got %+v, %v", uri, got, err)
		}
	}
}
