package nginx_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"migrate.invalid/migrate/nginx"
)

// silent starts an instance that reads every request and never answers.
func (s *stage) silent(t *testing.T) *instance {
	release := make(chan struct{})
	in := s.serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-release
	})
	t.Cleanup(func() { close(release) }) // before the instance stops
	return in
}

// timedOut says how an answer is not the one for a time-out.
func timedOut(status int, code string) func(answer) error {
	return func(a answer) error {
		var errs []error
		if a.status != status || a.code() != code || !strings.Contains(a.body, "took longer than 200ms") {
			errs = append(errs, fmt.Errorf("got %d %q, want %d with code %s and the limit", a.status, a.body, status, code))
		}
		if again := a.header.Get("Retry-After"); (again != "") != (status == http.StatusServiceUnavailable) {
			errs = append(errs, fmt.Errorf("got Retry-After %q with %d", again, status))
		}
		return errors.Join(errs...)
	}
}

// askedOnce checks that a request that timed out is asked of one instance, once:
// the instance works on it still, and to ask again is to triple the load.
func askedOnce(t *testing.T, s *stage) error {
	live, standby := s.silent(t), s.serve(t, named("standby"))
	s.with(t, live.port, standby.port)
	err := s.each(t, changes, timedOut(503, "outcome_unknown"))
	err = errors.Join(err, s.each(t, []string{"GET"}, timedOut(504, "timed_out")))
	return errors.Join(err, live.got(len(changes)+1), standby.got(0))
}

func shortRead(cfg *nginx.Config) { cfg.ReadTimeout = 200 * time.Millisecond }

func TestTimeoutIsAskedOnce(t *testing.T) {
	bothWays(t, func(t *testing.T, by nginx.Cutover) {
		s := newStageOf(t, 8, func(cfg *nginx.Config) { cfg.Cutover = by; shortRead(cfg) })
		if err := askedOnce(t, s); err != nil {
			t.Error(err)
		}
		// The second hop's time-out ends it, too: it was a broken connection that
		// let a read go on to there.
		dying, standby := s.dying(t, func() {}), s.silent(t)
		s.with(t, dying.port, standby.port)
		err := s.each(t, []string{"GET"}, timedOut(504, "timed_out"))
		if err = errors.Join(err, standby.got(1)); err != nil {
			t.Error(err)
		}
		// A connection that can't be made in time has sent nothing.
		s.with(t, s.deaf(t), s.serve(t, named("standby")).port)
		if err := s.each(t, append([]string{"GET"}, changes[0]), is(200, "standby")); err != nil {
			t.Error(err)
		}
	})
}

func TestTimeoutIsAskedOnceSeesMistakes(t *testing.T) {
	s := newStageOf(t, 2, shortRead)
	s.alter(t, `"~:[^:]*504" 0;`, ``)
	if askedOnce(t, s) == nil {
		t.Error("to send again after a time-out is not seen")
	}
}

// deaf takes a port on which connections are neither accepted nor refused: the
// queue of those that wait is full. It returns the port.
func (s *stage) deaf(t *testing.T) int {
	t.Helper()
	port := s.port()
	fd, err := queueOfOne(port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeFD(fd) })
	for range 8 { // until the queue is full
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 100*time.Millisecond)
		if err != nil {
			return port
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the queue takes more than it should")
	return 0
}

// What lasts has a limit of its own: an event stream that is silent for longer
// than the read time-out goes on, and so does an upgraded connection.
func TestWhatLastsOutlivesTheReadTimeout(t *testing.T) {
	bothWays(t, func(t *testing.T, by nginx.Cutover) {
		s := newStageOf(t, 4, func(cfg *nginx.Config) { cfg.Cutover = by; shortRead(cfg) })
		live := s.serve(t, lasting(t, 3*200*time.Millisecond))
		for name, ports := range map[string][2]int{"live": {live.port, 0}, "fallback": {s.port(), live.port}} {
			s.with(t, ports[0], ports[1])
			if err := stream(s, "Accept: text/event-stream"); err != nil {
				t.Errorf("%s: event stream: %v", name, err)
			}
			if err := upgraded(s); err != nil {
				t.Errorf("%s: upgraded: %v", name, err)
			}
		}
		if err := stream(s, "Accept: text/html"); err == nil {
			t.Error("what does not say that it lasts is not timed out: this test would see nothing")
		}
	})
}

// And it has one.
func TestWhatLastsEnds(t *testing.T) {
	s := newStageOf(t, 4, func(cfg *nginx.Config) { cfg.IdleTimeout = 200 * time.Millisecond })
	release := make(chan struct{})
	defer close(release)
	live := s.serve(t, func(w http.ResponseWriter, r *http.Request) { <-release })
	s.with(t, live.port, 0)
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.url(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("got %s", resp.Status)
	}
}

// lasting answers in two parts with a silence between them: an event stream, or
// the echo of an upgraded connection.
func lasting(t *testing.T, silence time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			io.WriteString(w, "first\n") // without X-Accel-Buffering
			http.NewResponseController(w).Flush()
			time.Sleep(silence)
			io.WriteString(w, "second\n")
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nfirst\n")
		time.Sleep(silence)
		io.WriteString(conn, "second\n")
	}
}

func stream(s *stage, header string) error {
	conn, err := net.Dial("tcp", s.Config().Listen)
	if err != nil {
		return err
	}
	return twoLines(conn, "GET / HTTP/1.1\r\nHost: test\r\n"+header+"\r\n\r\n")
}

func upgraded(s *stage) error {
	conn, err := net.Dial("tcp", s.Config().Listen)
	if err != nil {
		return err
	}
	return twoLines(conn, "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
}

func twoLines(conn net.Conn, request string) error {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, request)
	reader := bufio.NewReader(conn)
	var body io.Reader = reader
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body = resp.Body
	}
	lines := bufio.NewScanner(body)
	for _, want := range []string{"first", "second"} {
		if !lines.Scan() || lines.Text() != want {
			return fmt.Errorf("%s: got %q, %v; want %q", resp.Status, lines.Text(), lines.Err(), want)
		}
	}
	return nil
}
