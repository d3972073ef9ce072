package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"migrate.invalid/migrate/nginx/nginxtest"
)

// The test binary plays three parts: the tests, an instance of a service, and
// the tool itself, to be killed at a chosen point.
func TestMain(m *testing.M) {
	switch os.Getenv("TEST_PART") {
	case "instance":
		runInstance()
	case "tool":
		runTool()
	default:
		goleak.VerifyTestMain(m)
	}
}

// service is a small instance whose behaviour is set by its environment, and
// later by POST /ctl?name=value.
type service struct {
	port, step int
	mu         sync.Mutex
	ctl        map[string]string
	inFlight   atomic.Int64
	requests   atomic.Int64
	asked      []string // of the admin socket
}

func (s *service) get(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ctl[name]
}

func runInstance() {
	s := &service{ctl: map[string]string{}}
	s.port, _ = strconv.Atoi(os.Getenv("PORT"))
	s.step, _ = strconv.Atoi(os.Getenv("MIGRATION_STEP"))
	for pair := range strings.SplitSeq(os.Getenv("TEST_CTL"), ",") {
		name, value, _ := strings.Cut(pair, "=")
		s.ctl[name] = value
	}
	if s.ctl["die"] != "" {
		fmt.Println("this instance dies of", s.ctl["die"], "at mongodb://bill:hunter2@db/")
		os.Exit(3)
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	if s.ctl["stubborn"] != "" {
		signal.Ignore(syscall.SIGTERM)
	}
	public, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if s.ctl["noadmin"] == "" {
		// Its folder may be deeper than a socket's address: bind from within.
		socket := os.Getenv("MIGRATE_ADMIN_SOCKET")
		if err := os.Chdir(filepath.Dir(socket)); err != nil {
			os.Exit(1)
		}
		l, err := net.Listen("unix", filepath.Base(socket))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		go func() { _ = http.Serve(l, s.admin()) }()
	}
	server := &http.Server{Handler: s.public()}
	go func() { _ = server.Serve(public) }()
	<-stop.Done()
	_ = server.Shutdown(context.Background())
}

func (s *service) public() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := s.get("unready"); why != "" {
			w.WriteHeader(503)
			writeTo(w, map[string]any{"ready": false, "reason": why})
		}
	})
	if s.ctl["noconfig"] == "" {
		m.HandleFunc("/config", func(w http.ResponseWriter, _ *http.Request) {
			step := s.step
			if lie := s.get("lie"); lie != "" {
				step, _ = strconv.Atoi(lie)
			}
			writeTo(w, map[string]any{"migration_step": step, "port": s.port, "instance": s.id(), "version": "v1"})
		})
	}
	m.HandleFunc("/work", func(w http.ResponseWriter, r *http.Request) {
		s.inFlight.Add(1)
		defer s.inFlight.Add(-1)
		s.requests.Add(1)
		if d, err := time.ParseDuration(r.FormValue("for")); err == nil {
			time.Sleep(d)
		}
		fmt.Fprint(w, s.port)
	})
	m.HandleFunc("/ctl", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		s.mu.Lock()
		defer s.mu.Unlock()
		for name := range r.Form {
			s.ctl[name] = r.Form.Get(name)
		}
	})
	return m
}

func (s *service) id() string {
	if id := s.get("id"); id != "" {
		return id
	}
	return fmt.Sprintf("instance-%d-%d", s.port, os.Getpid())
}

func (s *service) admin() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		asked := slices.Clone(s.asked)
		s.mu.Unlock()
		writeTo(w, map[string]any{"instance": s.id(), "build": "v1", "port": s.port, "step": s.step, "ready": true,
			"primary": s.get("primary"), "epoch": 1, "pending": 7, "in_flight": s.inFlight.Load(), "requests": s.requests.Load(), "asked": asked})
	})
	m.HandleFunc("GET /gates", func(w http.ResponseWriter, r *http.Request) {
		gates := []Gate{{Name: "cleared", OK: true, Detail: "nothing pending"}}
		if why := s.get("gate"); why != "" {
			gates = append(gates, Gate{Name: "compared", Detail: why, Remedy: "wait for reads"})
		}
		if why := s.get("fixed"); why != "" {
			gates = append(gates, Gate{Name: "triggers", Detail: why, Remedy: "put them back", Fixed: true})
		}
		writeTo(w, map[string]any{"to": r.FormValue("to"), "gates": gates})
	})
	for _, path := range []string{"/prepare", "/probe", "/advance"} {
		m.HandleFunc("POST "+path, func(w http.ResponseWriter, _ *http.Request) {
			s.mu.Lock()
			s.asked = append(s.asked, path)
			s.mu.Unlock()
			writeTo(w, map[string]any{})
		})
	}
	m.HandleFunc("POST /drain", func(w http.ResponseWriter, _ *http.Request) {
		pending, _ := strconv.Atoi(s.get("pending"))
		writeTo(w, drained{Pending: int64(pending), InFlight: s.inFlight.Load()})
	})
	return m
}

func writeTo(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

// fileTraffic is a stand-in for nginx's links that several processes share:
// two files, and a proxy that reads them at each request.
type fileTraffic struct{ dir, url string }

func (f fileTraffic) read(name string) (int, error) {
	b, err := os.ReadFile(filepath.Join(f.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

func (f fileTraffic) Live() (int, error)     { return f.read("live") }
func (f fileTraffic) Fallback() (int, error) { return f.read("fallback") }
func (f fileTraffic) URL() string            { return f.url }

func (f fileTraffic) write(name string, port int) error {
	tmp := filepath.Join(f.dir, name+".new")
	if err := os.WriteFile(tmp, []byte(strconv.Itoa(port)), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(f.dir, name))
}

func (f fileTraffic) Move(_ context.Context, port int) error        { return f.write("live", port) }
func (f fileTraffic) SetFallback(_ context.Context, port int) error { return f.write("fallback", port) }

func (f fileTraffic) Served(context.Context) (live, fallback int, err error) {
	if exists(filepath.Join(f.dir, "down")) {
		return 0, 0, errors.New("the proxy does not run")
	}
	live, err = f.read("live")
	// "deaf=8001": the proxy does not follow a move to that port.
	if deaf, _ := f.read("deaf"); deaf != 0 && deaf == live {
		live = 0
		if was, _ := f.read("was"); was != 0 {
			live = was
		}
	}
	fallback, _ = f.read("fallback")
	return live, fallback, err
}

func (f fileTraffic) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	port, _ := f.read("live")
	if port == 0 {
		http.Error(w, "no instance", http.StatusServiceUnavailable)
		return
	}
	to, _ := url.Parse(local(port))
	p := httputil.NewSingleHostReverseProxy(to)
	transport := &http.Transport{DisableKeepAlives: true}
	p.Transport = transport
	p.ServeHTTP(w, r)
}

// rig is a state folder with a proxy and free ports.
type rig struct {
	t       *testing.T
	dir     string
	traffic fileTraffic
	first   int
	mu      sync.Mutex
	events  []Event
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: filepath.Join(t.TempDir(), "state"), first: nginxtest.FreePorts(t, 4)}
	r.traffic.dir = t.TempDir()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { r.traffic.ServeHTTP(w, q) }))
	r.traffic.url = server.URL
	t.Cleanup(server.Close)
	t.Cleanup(func() { // whatever the test left
		o := r.open()
		if _, err := o.StopAll(context.Background(), StopOptions{Yes: true}); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return r
}

var testTimeouts = Timeouts{Ready: 20 * time.Second, Confirm: 2 * time.Second, Drain: 10 * time.Second,
	Quiet: 60 * time.Millisecond, Grace: 10 * time.Second, Admin: 5 * time.Second}

func (r *rig) config() Config {
	return Config{Dir: r.dir, Traffic: r.traffic, FirstPort: r.first, Ports: 4, Timeouts: testTimeouts}
}

func (r *rig) open(change ...func(*Config)) *Orchestrator {
	r.t.Helper()
	cfg := r.config()
	cfg.Progress = func(e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	}
	for _, f := range change {
		f(&cfg)
	}
	o, err := Open(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

func spawnOptions(port, step int, ctl string) SpawnOptions {
	exe, _ := os.Executable()
	return SpawnOptions{Port: port, Step: step, Command: []string{exe, "-port={port}", "-step={step}"},
		Env: []string{"TEST_PART=instance", "TEST_CTL=" + ctl}, Build: "v1"}
}

func (r *rig) spawn(n, step int, ctl string) SpawnResult {
	r.t.Helper()
	got, err := r.open().Spawn(r.t.Context(), spawnOptions(r.first+n, step, ctl))
	if err != nil {
		r.t.Fatalf("spawn step %d: %v", step, err)
	}
	return got
}

func (r *rig) change() SwitchResult {
	r.t.Helper()
	got, err := r.open().Switch(r.t.Context(), SwitchOptions{})
	if err != nil {
		r.t.Fatalf("switch: %v", err)
	}
	return got
}

// ctl changes how the instance on a port behaves.
func (r *rig) ctl(port int, query string) {
	r.t.Helper()
	if status, _, err := get(r.t.Context(), local(port)+"/ctl?"+strings.ReplaceAll(query, " ", "+")); err != nil || status != 200 {
		r.t.Fatalf("ctl: %d %v", status, err)
	}
}

// asked lists what the admin socket of the instance on a port was asked.
func (r *rig) asked(port int) []string {
	r.t.Helper()
	o := r.open()
	s, err := o.admin(o.plan(SpawnOptions{Port: port})).status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	var got struct{ Asked []string }
	if err := json.Unmarshal(s.Raw, &got); err != nil {
		r.t.Fatal(err)
	}
	return got.Asked
}

func (r *rig) links(wantLive, wantFallback int) {
	r.t.Helper()
	live, _ := r.traffic.Live()
	fallback, _ := r.traffic.Fallback()
	if live != wantLive || fallback != wantFallback {
		r.t.Errorf("live %d, fallback %d; want %d and %d", live, fallback, wantLive, wantFallback)
	}
}

// refused checks a refusal: what it wraps, what it says, that it says what
// comes next.
func refused(t *testing.T, err error, want error, says ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
	var p *Problem
	if !errors.As(err, &p) || p.State == "" || p.Next == "" {
		t.Errorf("%v: does not say the state or the next command: %+v", err, p)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
}
