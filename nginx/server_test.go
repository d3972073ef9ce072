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

	"migrate.invalid/migrate/nginx"
	"migrate.invalid/migrate/nginx/nginxtest"
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

// Another folder's nginx on the same address is another program.
func TestAnotherFolder(t *testing.T) {
	theirs := nginxtest.Start(t, 1)
	cfg := theirs.Config()
	cfg.Dir = t.TempDir()
	ours, err := nginx.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := ours.Start(t.Context()); !errors.Is(err, nginx.ErrAddressTaken) {
		t.Errorf("start: %v", err)
	}
	if route, err := ours.Served(t.Context()); err == nil {
		t.Errorf("served: %+v", route)
	}
}

// All of it works for a user who isn't root, and in a folder that only root
// may enter when it is root's: the other tests are run again as nobody.
func TestAsNobody(t *testing.T) {
	nginxtest.Binary(t)
	if os.Geteuid() != 0 {
		t.Skip("the tests don't run as root: they have shown it already")
	}
	cmd := asNobody(t, "", "^(TestStartStop|TestLinks|TestRejected.*|TestStopSpares.*|TestFailover)$")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := strings.Count(string(out), "\n--- PASS: "); n != 6 {
		t.Errorf("%d tests were run as nobody, want 6\n%s", n, out)
	}
}

// asNobody runs some of these tests again, in a shell after its other words, as
// nobody if we are root.
func asNobody(t *testing.T, words, tests string) *exec.Cmd {
	t.Helper()
	dir, err := os.MkdirTemp("", "nginx-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "nginx.test")
	if err := errors.Join(os.WriteFile(copied, program, 0o755), os.Chmod(copied, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", words+`exec "$0" -test.v -test.run "$1"`, copied, tests)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	if os.Geteuid() == 0 {
		const nobody = 65534
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
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

func TestLinks(t *testing.T) { bothWays(t, testLinks) }

func testLinks(t *testing.T, by nginx.Cutover) {
	server := newStage(t, 3, by).Server
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
	if by != nginx.ByLink {
		return // nginx does not look at the links
	}

	// Whatever else is in the link's place is no instance.
	for _, target := range []string{"routes/1", "routes", cfg.Dir, "/nowhere", "live", fmt.Sprintf("routes/%d0", port)} {
		for _, dir := range []string{cfg.Dir, filepath.Dir(server.LinkPath())} { // ours, and the one that nginx walks to
			must(os.MkdirAll(filepath.Join(dir, "routes", "1"), 0o711))
			must(os.MkdirAll(filepath.Join(dir, "routes", fmt.Sprintf("%d0", port)), 0o711))
			must(os.Remove(filepath.Join(dir, "live")))
			must(os.Symlink(target, filepath.Join(dir, "live")))
		}
		if route, err := server.Served(ctx); err != nil || route.Live != 0 {
			t.Errorf("link to %s: served %+v, %v", target, route, err)
		}
		if target != "live" { // a circle is an error
			if live, err := server.Live(); err != nil || live != 0 {
				t.Errorf("link to %s: %d, %v", target, live, err)
			}
		}
	}
}
