package nginx_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"migrate.invalid/migrate/nginx"
	"migrate.invalid/migrate/nginx/nginxtest"
)

// patience bounds every wait in these tests. None of them is about time.
const patience = 20 * time.Second

// stage is a running nginx, and where the next instance goes. A port is used
// once: nginx may keep connections to what was there before.
type stage struct {
	*nginx.Server
	next int
}

func newStage(t *testing.T, ports int, by ...nginx.Cutover) *stage {
	server := nginxtest.Start(t, ports, func(cfg *nginx.Config) {
		for _, way := range by {
			cfg.Cutover = way
		}
	})
	return &stage{Server: server, next: server.Config().FirstPort}
}

// newStageOf is a stage with some settings of its own.
func newStageOf(t *testing.T, ports int, change func(*nginx.Config)) *stage {
	server := nginxtest.Start(t, ports, change)
	return &stage{Server: server, next: server.Config().FirstPort}
}

// bothWays runs a test with traffic that moves by each way.
func bothWays(t *testing.T, test func(*testing.T, nginx.Cutover)) {
	for _, by := range []nginx.Cutover{nginx.ByLink, nginx.ByReload} {
		t.Run(string(by), func(t *testing.T) { test(t, by) })
	}
}

// port takes a port on which nothing listens.
func (s *stage) port() int {
	s.next++
	return s.next - 1
}

func (s *stage) url() string { return "http://" + s.Config().Listen }

// alter runs nginx with its configuration changed, as a mistake in it would.
func (s *stage) alter(t *testing.T, old, changed string) {
	t.Helper()
	conf := filepath.Join(s.Config().Dir, "nginx.conf")
	text, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("nginx.conf has no %q", old)
	}
	route, err := s.Served(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const generation = "altered"
	altered := strings.NewReplacer(old, changed, route.Generation, generation).Replace(string(text))
	if err := os.WriteFile(conf, []byte(altered), 0o600); err != nil {
		t.Fatal(err)
	}
	signalReload(t, s.Config().Dir)
	deadline := time.Now().Add(patience)
	for seen := 0; seen < 20; { // for a while old workers answer, too
		if route, err = s.Served(t.Context()); err == nil && route.Generation == generation {
			seen++
		} else {
			seen = 0
		}
		if time.Now().After(deadline) {
			t.Fatalf("the altered configuration is not served: %+v, %v", route, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// signalReload is `nginx -s reload`, the usual way.
func signalReload(t *testing.T, dir string) {
	t.Helper()
	run(t, dir, "-s", "reload")
}

// run runs nginx in a folder the way that [nginx.Server] does, which can thus
// end what it starts.
func run(t *testing.T, dir string, args ...string) {
	t.Helper()
	args = append([]string{"-p", dir, "-e", filepath.Join(dir, "logs", "error.log"), "-c", filepath.Join(dir, "nginx.conf")}, args...)
	if out, err := exec.Command(nginxtest.Binary(t), args...).CombinedOutput(); err != nil {
		t.Fatalf("nginx %q: %v: %s", args, err, out)
	}
}

// instance is a back end on loopback that counts what arrives.
type instance struct {
	port    int
	arrived atomic.Int64
	stop    func()
}

// serve starts an instance that answers by the handler.
func (s *stage) serve(t *testing.T, handler http.HandlerFunc) *instance {
	t.Helper()
	in := &instance{port: s.port()}
	listener := listen(t, in.port)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in.arrived.Add(1)
		handler(w, r)
	})}
	var done sync.WaitGroup
	done.Go(func() { server.Serve(listener) })
	in.stop = sync.OnceFunc(func() {
		server.Close()
		done.Wait()
	})
	t.Cleanup(in.stop)
	return in
}

// named answers 200 with the name of the instance.
func named(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, name)
	}
}

// dying starts an instance that dies of every request when it has read it all:
// it may have done what it was asked to.
func (s *stage) dying(t *testing.T, last func()) *instance {
	t.Helper()
	in := &instance{port: s.port()}
	listener := listen(t, in.port)
	var done sync.WaitGroup
	done.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				io.Copy(io.Discard, r.Body)
				in.arrived.Add(1)
				last()
			}
			conn.Close()
		}
	})
	in.stop = sync.OnceFunc(func() {
		listener.Close()
		done.Wait()
	})
	t.Cleanup(in.stop)
	return in
}

func listen(t *testing.T, port int) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// answer is what a client got.
type answer struct {
	status int
	header http.Header
	body   string
}

// code is the one of a JSON error, else "".
func (a answer) code() string {
	var wire struct {
		Error struct{ Code, Message string }
	}
	if json.Unmarshal([]byte(a.body), &wire) != nil || wire.Error.Message == "" {
		return ""
	}
	return wire.Error.Code
}

// send sends one request on a connection of its own, once: a body without
// GetBody, so that the client can't repeat it.
func send(ctx context.Context, method, url string, body io.Reader) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if body != nil {
		body = struct{ io.Reader }{body}
	}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return answer{}, err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, fmt.Errorf("body: %w", err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}, nil
}

// differs says how an answer is not the expected one.
func (a answer) differs(status int, body string) error {
	if a.status != status || a.body != body {
		return fmt.Errorf("got %d %q, want %d %q", a.status, a.body, status, body)
	}
	return nil
}

// isDown says how an answer is not our own 503 with this code.
func (a answer) isDown(code string) error {
	var errs []error
	if a.status != http.StatusServiceUnavailable || a.code() != code {
		errs = append(errs, fmt.Errorf("got %d %q, want 503 with code %s", a.status, a.body, code))
	}
	if a.header.Get("Retry-After") != "1" || a.header.Get("Content-Type") != "application/json" {
		errs = append(errs, fmt.Errorf("got headers %v, want Retry-After and JSON", a.header))
	}
	return errors.Join(errs...)
}
