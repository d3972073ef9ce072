package nginx_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"migrate/nginx"
	"migrate/nginx/nginxtest"
)

func TestNewRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		cfg  nginx.Config
		want string
	}{
		"dollar":           {nginx.Config{Dir: "/tmp/a$b"}, `no way to write "$"`},
		"quote":            {nginx.Config{Dir: `/tmp/a"b`}, `choose another state folder`},
		"newline":          {nginx.Config{Dir: "/tmp/a\nb"}, `"\n"`},
		"no folder":        {nginx.Config{}, "no folder"},
		"no port":          {nginx.Config{Dir: "/tmp/a", Listen: "127.0.0.1"}, "missing port"},
		"port 0":           {nginx.Config{Dir: "/tmp/a", Listen: "127.0.0.1:0"}, "1 to 65535"},
		"injected":         {nginx.Config{Dir: "/tmp/a", Listen: "127.0.0.1;:80"}, "want an IP address"},
		"instances' port":  {nginx.Config{Dir: "/tmp/a", Listen: "127.0.0.1:8003"}, "are the instances'"},
		"ports past 65535": {nginx.Config{Dir: "/tmp/a", FirstPort: 65530}, "no 32 ports"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := nginx.New(test.cfg)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestNotInstalled(t *testing.T) {
	t.Setenv("MIGRATE_NGINX", filepath.Join(t.TempDir(), "nginx"))
	server, err := nginx.New(nginx.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); !errors.Is(err, nginx.ErrNotInstalled) {
		t.Errorf("got %v", err)
	}
}

func TestStartStop(t *testing.T) {
	server := nginxtest.Start(t, 2)
	ctx := t.Context()
	status, err := server.Status(ctx)
	if err != nil || !status.Running || status.PID == 0 || status.Started.IsZero() {
		t.Fatalf("status %+v, %v", status, err)
	}
	if err := server.Start(ctx); err != nil {
		t.Fatalf("second start: %v", err)
	}
	again, err := server.Status(ctx)
	if err != nil || again.PID != status.PID {
		t.Fatalf("second start replaced the process: %+v, %v; was %+v", again, err, status)
	}
	if err := server.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if status, err = server.Status(ctx); err != nil || status.Running {
		t.Fatalf("after stop: %+v, %v", status, err)
	}
	if _, err := server.Served(ctx); !errors.Is(err, nginx.ErrNotRunning) {
		t.Errorf("served after stop: %v", err)
	}
	if err := server.Stop(ctx); err != nil {
		t.Errorf("second stop: %v", err)
	}
	if err := server.Reload(ctx); !errors.Is(err, nginx.ErrNotRunning) {
		t.Errorf("reload after stop: %v", err)
	}
	if err := server.Start(ctx); err != nil {
		t.Errorf("start after stop: %v", err)
	}
}

// A changed configuration is taken by the process that runs.
func TestStartWithMorePorts(t *testing.T) {
	server := nginxtest.Start(t, 1)
	cfg := server.Config()
	before, err := server.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Ports = 2
	wider, err := nginx.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Move(t.Context(), cfg.FirstPort+1); err == nil {
		t.Error("moved to a port that nginx does not know")
	}
	if err := wider.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := wider.Move(t.Context(), cfg.FirstPort+1); err != nil {
		t.Fatal(err)
	}
	route, err := wider.Served(t.Context())
	if err != nil || route.Live != cfg.FirstPort+1 {
		t.Errorf("served %+v, %v", route, err)
	}
	if after, err := wider.Status(t.Context()); err != nil || after.PID != before.PID {
		t.Errorf("status %+v, %v; want process %d still", after, err, before.PID)
	}
}

func TestAddressTaken(t *testing.T) {
	binary := nginxtest.Binary(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	address := listener.Addr().String()
	server, err := nginx.New(nginx.Config{Dir: t.TempDir(), Listen: address, Binary: binary})
	if err != nil {
		t.Fatal(err)
	}
	err = server.Start(t.Context())
	if !errors.Is(err, nginx.ErrAddressTaken) || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "--nginx-listen") {
		t.Errorf("got %v", err)
	}
}

// What nginx rejects never takes the place of what it runs.
func TestRejectedConfigurationLeavesTheOld(t *testing.T) {
	server := nginxtest.Start(t, 1)
	cfg := server.Config()
	conf := filepath.Join(cfg.Dir, "nginx.conf")
	before, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen = "192.0.2.1:" + strconv.Itoa(cfg.FirstPort-1) // not an address of this machine
	wrong, err := nginx.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"test":   func() error { return wrong.Test(t.Context()) },
		"reload": func() error { return wrong.Reload(t.Context()) },
	} {
		if err := call(); !errors.Is(err, nginx.ErrRejected) || !strings.Contains(err.Error(), "192.0.2.1") {
			t.Errorf("%s: got %v, want what nginx said", name, err)
		}
	}
	after, err := os.ReadFile(conf)
	if err != nil || string(after) != string(before) {
		t.Errorf("nginx.conf has changed (%v)", err)
	}
	if _, err := server.Served(t.Context()); err != nil {
		t.Errorf("the running nginx: %v", err)
	}
	drafts, _ := filepath.Glob(filepath.Join(cfg.Dir, ".nginx.conf*"))
	if len(drafts) > 0 {
		t.Errorf("left behind: %v", drafts)
	}
}

// A PID file may name a process that belongs to somebody else by now.
func TestStopSparesStrangers(t *testing.T) {
	nginxtest.Binary(t)
	other := nginxtest.Start(t, 1)
	theirs, err := other.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sleep := exec.Command("sleep", "600")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		sleep.Process.Kill()
		sleep.Wait()
	}()
	for name, pid := range map[string]string{
		"another program":  strconv.Itoa(sleep.Process.Pid),
		"another's nginx":  strconv.Itoa(theirs.PID),
		"this very test":   strconv.Itoa(os.Getpid()),
		"init":             "1",
		"everybody":        "-1",
		"an empty file":    "",
		"no process":       "4194303",
		"something broken": "12x",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "nginx.pid"), []byte(pid+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			server, err := nginx.New(nginx.Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if err := server.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			if status, err := server.Status(t.Context()); err != nil || status.Running {
				t.Errorf("status %+v, %v", status, err)
			}
		})
	}
	if err := sleep.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the other program was ended: %v", err)
	}
	if _, err := other.Served(t.Context()); err != nil {
		t.Errorf("the other nginx was ended: %v", err)
	}
}

// The same number, the same title, another start: not the one we started.
func TestStopSparesASuccessor(t *testing.T) {
	server := nginxtest.Start(t, 1)
	started := filepath.Join(server.Config().Dir, "started")
	text, err := os.ReadFile(started)
	if err != nil {
		t.Fatal(err)
	}
	pid, _, _ := strings.Cut(string(text), " ")
	if err := os.WriteFile(started, []byte(pid+" another time\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := server.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := server.Served(t.Context()); err != nil {
		t.Errorf("it was ended: %v", err)
	}
	if err := os.WriteFile(started, text, 0o600); err != nil { // so that it is stopped in the end
		t.Fatal(err)
	}
}

func TestUnusualFolders(t *testing.T) {
	for _, name := range []string{"with spaces", "re.g(ex)[a-z]*+?^{2}|", "semi;colon #hash", "it's", `back\slash`, "zażółć 🦊", "routes"} {
		t.Run(name, func(t *testing.T) {
			server := nginxtest.StartIn(t, filepath.Join(t.TempDir(), name, "nginx"), 1)
			port := server.Config().FirstPort
			if err := server.Move(t.Context(), port); err != nil {
				t.Fatal(err)
			}
			if route, err := server.Served(t.Context()); err != nil || route.Live != port {
				t.Fatalf("served %+v, %v; want %d", route, err, port)
			}
			if err := server.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			if status, err := server.Status(t.Context()); err != nil || status.Running {
				t.Fatalf("after stop: %+v, %v", status, err)
			}
		})
	}
}

func TestLinks(t *testing.T) {
	server := nginxtest.Start(t, 3)
	ctx, cfg := t.Context(), server.Config()
	check := func(live, fallback int) {
		t.Helper()
		status, err := server.Status(ctx)
		if err != nil || status.Live != live || status.Fallback != fallback {
			t.Errorf("links: %+v, %v; want %d and %d", status, err, live, fallback)
		}
		route, err := server.Served(ctx)
		if err != nil || route.Live != live || route.Fallback != fallback {
			t.Errorf("served: %+v, %v; want %d and %d", route, err, live, fallback)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	port := cfg.FirstPort
	check(0, 0)
	must(server.Move(ctx, port))
	check(port, 0)
	must(server.Move(ctx, port+1))
	must(server.SetFallback(ctx, port))
	check(port+1, port)
	must(server.SetFallback(ctx, 0))
	must(server.SetFallback(ctx, 0))
	must(server.Clear(ctx))
	check(0, 0)
	for _, port := range []int{cfg.FirstPort - 1, cfg.FirstPort + cfg.Ports, -1} {
		if err := server.Move(ctx, port); err == nil || !strings.Contains(err.Error(), fmt.Sprint(port)) {
			t.Errorf("move to %d: %v", port, err)
		}
	}
	check(0, 0)

	// Whatever else is in the link's place is no instance.
	link := filepath.Join(cfg.Dir, "live")
	for _, target := range []string{"routes/1", "routes", cfg.Dir, "/nowhere", "live", fmt.Sprintf("routes/%d0", port)} {
		must(os.MkdirAll(filepath.Join(cfg.Dir, "routes", "1"), 0o700))
		must(os.MkdirAll(filepath.Join(cfg.Dir, "routes", fmt.Sprintf("%d0", port)), 0o700))
		must(os.Symlink(target, link))
		if route, err := server.Served(ctx); err != nil || route.Live != 0 {
			t.Errorf("link to %s: served %+v, %v", target, route, err)
		}
		must(os.Remove(link))
	}
}
