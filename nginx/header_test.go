package nginx_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"migrate.invalid/migrate/nginx"
)

// echoHeaders answers with the header that arrived, and the host.
func echoHeaders(w http.ResponseWriter, r *http.Request) {
	r.Header.Set("Host", r.Host)
	json.NewEncoder(w).Encode(r.Header)
}

// arrives sends a request with a header from an address of loopback, and
// returns the header that arrived.
func (s *stage) arrives(t *testing.T, from, header string) http.Header {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.Dial("tcp", s.Config().Listen)
	if err != nil {
		t.Skipf("this system has one loopback address only: %v", err)
	}
	got, err := exchange(conn, "GET / HTTP/1.1\r\n"+header+"\r\n")
	if err != nil {
		t.Fatal(err)
	}
	var arrived http.Header
	if err := json.Unmarshal([]byte(got.body), &arrived); err != nil {
		t.Fatalf("%v in %q", err, got.body)
	}
	return arrived
}

// forwarded is what a proxy in front says, and what a stranger may pretend.
const forwarded = "Host: inside\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n" +
	"X-Forwarded-Port: 443\r\nX-Forwarded-Server: edge\r\nX-Forwarded-Prefix: /shop\r\nX-Forwarded-Ssl: on\r\n" +
	"X-Forwarded-Scheme: https\r\nX-Real-IP: 192.0.2.7\r\nForwarded: for=192.0.2.7;proto=https\r\n"

func differ(got http.Header, want map[string]string) error {
	var errs []error
	for name, value := range want {
		if all := got.Values(name); strings.Join(all, "|") != value {
			errs = append(errs, fmt.Errorf("%s: got %q, want %q", name, all, value))
		}
	}
	return errors.Join(errs...)
}

// A proxy in front is believed if it is on this machine or is trusted. What
// anybody else says is replaced. (127.0.0.2 stands for another machine.)
func TestForwarded(t *testing.T) {
	believed := map[string]string{
		"Host": "inside", "X-Forwarded-For": "192.0.2.7, %s", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example",
		"X-Forwarded-Port": "443", "X-Forwarded-Server": "edge", "X-Forwarded-Prefix": "/shop", "X-Forwarded-Ssl": "on",
		"X-Forwarded-Scheme": "https", "X-Real-Ip": "192.0.2.7", "Forwarded": "for=192.0.2.7;proto=https",
	}
	strangers := map[string]string{
		"Host": "inside", "X-Forwarded-For": "%s", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "inside",
		"X-Forwarded-Port": "%d", "X-Forwarded-Server": "", "X-Forwarded-Prefix": "", "X-Forwarded-Ssl": "",
		"X-Forwarded-Scheme": "", "X-Real-Ip": "%s", "Forwarded": "",
	}
	filled := func(want map[string]string, from, listen string) map[string]string {
		_, port, _ := net.SplitHostPort(listen)
		all := map[string]string{}
		for name, value := range want {
			all[name] = strings.NewReplacer("%s", from, "%d", port).Replace(value)
		}
		return all
	}
	bothWays(t, func(t *testing.T, by nginx.Cutover) {
		for name, test := range map[string]struct {
			trusted, from string
			want          map[string]string
		}{
			"loopback":        {"", "127.0.0.1", believed},
			"trusted":         {"127.0.0.2/32", "127.0.0.2", believed},
			"anybody":         {"", "127.0.0.2", strangers},
			"beside the CIDR": {"127.0.0.4/31", "127.0.0.2", strangers},
		} {
			t.Run(name, func(t *testing.T) {
				s := newStageOf(t, 1, func(cfg *nginx.Config) {
					cfg.Cutover = by
					if test.trusted != "" {
						cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(test.trusted)}
					}
				})
				s.with(t, s.serve(t, echoHeaders).port, 0)
				s.alter(t, "geo $believed {\n        default 0;\n        127.0.0.0/8 1;", "geo $believed {\n        default 0;\n        127.0.0.1 1;")
				got := s.arrives(t, test.from, forwarded)
				if err := differ(got, filled(test.want, test.from, s.Config().Listen)); err != nil {
					t.Error(err)
				}
				// Nothing was said: what nginx sees is.
				got = s.arrives(t, test.from, "Host: inside\r\n")
				if err := differ(got, filled(map[string]string{"X-Forwarded-For": "%s", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "inside"}, test.from, "")); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// HTTP/1.0 needs no Host; HTTP/1.1, which is spoken to the instance, does.
func TestWithoutHost(t *testing.T) {
	s := newStage(t, 1)
	s.with(t, s.serve(t, echoHeaders).port, 0)
	got, err := raw(s.Config().Listen, "GET / HTTP/1.0\r\n\r\n")
	if err != nil || got.status != 200 || !strings.Contains(got.body, `"Host":["`+s.Config().Listen+`"]`) {
		t.Errorf("got %+v, %v; want the address as host", got, err)
	}
}

// A connection that speaks HTTP/2 or TLS to the instance would pass by all that
// nginx hides and replaces, and by each switch. So nginx passes on no upgrade to
// these. Clients that only try get an answer as without it.
func TestUpgradeToAnotherHTTP(t *testing.T) {
	bothWays(t, func(t *testing.T, by nginx.Cutover) {
		s := newStage(t, 1, by)
		s.with(t, s.serve(t, echoHeaders).port, 0)
		for _, to := range []string{"h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.2"} {
			got, err := raw(s.Config().Listen, "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "+to+"\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")
			if err != nil || got.status != 200 || strings.Contains(got.body, `"Upgrade"`) {
				t.Errorf("%s: got %+v, %v", to, got, err)
			}
		}
		if got := s.arrives(t, "127.0.0.1", "Host: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"); got.Get("Upgrade") != "websocket" {
			t.Errorf("an upgrade to websocket arrives as %v", got)
		}
	})
}

// Headers of a size that services and browsers use pass in both directions.
func TestLargeHeaders(t *testing.T) {
	bothWays(t, func(t *testing.T, by nginx.Cutover) {
		s := newStage(t, 8, by)
		live := s.serve(t, func(w http.ResponseWriter, r *http.Request) {
			for n := range 8 {
				w.Header().Add("Set-Cookie", fmt.Sprintf("c%d=%s", n, strings.Repeat("x", 3000)))
			}
			fmt.Fprintf(w, "%d", len(r.Header.Get("Cookie")))
		})
		for _, ports := range [][2]int{{live.port, 0}, {s.port(), live.port}} {
			s.with(t, ports[0], ports[1])
			for _, size := range []int{100, 9_000, 60_000} {
				got, err := raw(s.Config().Listen, "GET / HTTP/1.1\r\nHost: test\r\nCookie: "+strings.Repeat("y", size)+"\r\n\r\n")
				if err = errors.Join(err, got.differs(200, fmt.Sprint(size))); err != nil {
					t.Error(err)
				}
				if n := len(got.header.Values("Set-Cookie")); n != 8 {
					t.Errorf("%d cookies came back, want 8", n)
				}
			}
			got, err := raw(s.Config().Listen, "GET /?"+strings.Repeat("q", 30_000)+" HTTP/1.1\r\nHost: test\r\n\r\n")
			if err = errors.Join(err, got.differs(200, "0")); err != nil {
				t.Error(err)
			}
		}
	})
}

// An answer whose header nginx doesn't take is not asked for again: another
// instance would answer the same. The client is told what is wrong.
func TestTooLargeAnswerHeader(t *testing.T) {
	bothWays(t, func(t *testing.T, by nginx.Cutover) {
		s := newStage(t, 2, by)
		large := func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Big", strings.Repeat("x", 40_000)) }
		live, standby := s.serve(t, large), s.serve(t, large)
		s.with(t, live.port, standby.port)
		told := func(status int, code string) func(answer) error {
			return func(a answer) error {
				if a.status != status || a.code() != code || !strings.Contains(a.body, "headers of more than 32 kB") {
					return fmt.Errorf("got %d %q, want %d with code %s and the reason", a.status, a.body, status, code)
				}
				return nil
			}
		}
		err := s.each(t, []string{"GET"}, told(502, "answer_too_large"))
		err = errors.Join(err, s.each(t, changes, told(503, "outcome_unknown")), live.got(1+len(changes)), standby.got(0))
		if err != nil {
			t.Error(err)
		}
	})
}

// Browsers try ::1 first for localhost.
func TestBothFamilies(t *testing.T) {
	probe, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	probe.Close()
	for host, reached := range map[string][]string{
		"localhost": {"127.0.0.1", "::1"},
		"":          {"127.0.0.1", "::1"},
		"127.0.0.1": {"127.0.0.1"},
		"::1":       {"::1"},
	} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			bothWays(t, func(t *testing.T, by nginx.Cutover) {
				s := newStageOf(t, 2, func(cfg *nginx.Config) {
					cfg.Cutover = by
					_, port, _ := net.SplitHostPort(cfg.Listen)
					cfg.Listen = net.JoinHostPort(host, port)
				})
				s.with(t, s.serve(t, echoHeaders).port, 0)
				_, port, _ := net.SplitHostPort(s.Config().Listen)
				for _, ip := range []string{"127.0.0.1", "::1"} {
					address := net.JoinHostPort(ip, port)
					got, err := raw(address, "GET / HTTP/1.0\r\n\r\n")
					want := strings.Contains(strings.Join(reached, " "), ip)
					if (err == nil) != want {
						t.Errorf("%s: got %+v, %v", address, got, err)
					}
					if want && !strings.Contains(got.body, `"Host":["`+address+`"]`) {
						t.Errorf("%s: got %q", address, got.body)
					}
				}
			})
		})
	}
}

// A program that has one of the two addresses has the port.
func TestOneFamilyTaken(t *testing.T) {
	listener, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	server, err := nginx.New(nginx.Config{Dir: t.TempDir(), Listen: "localhost:" + port, FirstPort: 9000})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); !errors.Is(err, nginx.ErrAddressTaken) || !strings.Contains(err.Error(), "[::1]:"+port) {
		t.Errorf("got %v", err)
	}
}

// With an access log there is a line for each request, with each instance that
// was asked; what we ask ourselves is not in it.
func TestAccessLog(t *testing.T) {
	s := newStageOf(t, 2, func(cfg *nginx.Config) { cfg.AccessLog = true })
	live, dying := s.serve(t, named("live")), s.dying(t, func() {})
	s.with(t, live.port, 0)
	if err := s.each(t, []string{"GET", "POST"}, is(200, "live")); err != nil {
		t.Fatal(err)
	}
	s.with(t, dying.port, live.port)
	if err := errors.Join(s.each(t, []string{"POST"}, down("outcome_unknown")), s.each(t, []string{"GET"}, is(200, "live"))); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context()); err != nil { // what it has to write is written
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(s.Config().Dir, "logs", "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	address := func(in *instance) string { return fmt.Sprintf("127.0.0.1:%d", in.port) }
	want := [][2]string{
		{`"GET /tasks HTTP/1.1" 200 4`, address(live)},
		{`"POST /tasks HTTP/1.1" 200 4`, address(live)},
		{`"POST /tasks HTTP/1.1" 503 `, address(dying)},
		{`"GET /tasks HTTP/1.1" 200 4`, address(dying) + " : " + address(dying) + " : " + address(live)},
	}
	if len(lines) != len(want) {
		t.Errorf("%d lines, want %d:\n%s", len(lines), len(want), log)
	}
	for _, w := range want { // workers write their lines in any order
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, w[0]) && strings.Contains(line, `"`+w[1]+`"`) }) {
			t.Errorf("no line with %s and %s in\n%s", w[0], w[1], log)
		}
	}
	faults, err := os.ReadFile(filepath.Join(s.Config().Dir, "logs", "error.log"))
	if err != nil || strings.Contains(string(faults), "[crit]") {
		t.Errorf("%s, %v", faults, err)
	}
}
