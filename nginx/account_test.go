package nginx_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"migrate.invalid/migrate/nginx"
	"migrate.invalid/migrate/nginx/nginxtest"
)

// workersOf are the users of an nginx's workers. One that was only just forked
// is still root's, and has its master's title: it is waited for.
func workersOf(t *testing.T, s *nginx.Server) (uids []int) {
	t.Helper()
	st, err := s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, err := exec.Command("ps", "-A", "-o", "ppid=", "-o", "uid=", "-o", "args=").Output()
		if err != nil {
			t.Fatal(err)
		}
		uids = nil
		forked := 0
		for line := range strings.Lines(string(out)) {
			fields := strings.Fields(line)
			if len(fields) < 3 || fields[0] != strconv.Itoa(st.PID) {
				continue
			}
			if !strings.Contains(line, "nginx: worker process") {
				forked++
				continue
			}
			uid, _ := strconv.Atoi(fields[1])
			uids = append(uids, uid)
		}
		if len(uids) > 0 && forked == 0 {
			return uids
		}
		if time.Now().After(until) {
			t.Fatalf("nginx %d has %d workers, and %d that are none yet:\n%s", st.PID, len(uids), forked, out)
		}
	}
}

// Root's nginx has workers without rights: they are nobody, or the owner of the
// state folder. They reach links, routes and temporary files wherever the folder
// is: also below one that only root may enter.
func TestWorkersAreNotRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root's nginx can change its user")
	}
	const someone, nobody = 1, 65534 // daemon, on every Linux
	for name, test := range map[string]struct {
		above string // below which the state folder is
		owner int    // of it
		uid   int    // that the workers should have
		ours  bool   // they walk to our own folder
	}{
		"root's, in the temporary folder": {"", 0, nobody, false},
		"root's, below /root":             {"/root", 0, nobody, false},
		"somebody's":                      {"/tmp", someone, someone, true},
		"somebody's, below /root":         {"/root", someone, someone, false},
		"of a number that no account has": {"/tmp", 54321, nobody, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothWays(t, func(t *testing.T, by nginx.Cutover) {
				above, err := os.MkdirTemp(test.above, "migrate-test-")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { os.RemoveAll(above) })
				state := filepath.Join(above, "state")
				if err := errors.Join(os.Mkdir(state, 0o700), os.Chown(state, test.owner, test.owner), os.Chmod(above, 0o711)); err != nil {
					t.Fatal(err)
				}
				server := nginxtest.StartIn(t, filepath.Join(state, "nginx"), 4, func(cfg *nginx.Config) { cfg.Cutover = by })
				s := &stage{Server: server, next: server.Config().FirstPort}
				for _, uid := range workersOf(t, server) {
					if uid != test.uid {
						t.Errorf("a worker has the user %d, want %d", uid, test.uid)
					}
				}
				second := filepath.Dir(server.LinkPath())
				if ours := second == server.Config().Dir; ours != test.ours {
					t.Errorf("nginx walks to %s", second)
				}
				passes(t, s)
				if err := server.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, err := os.Lstat(second); !test.ours && !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is left behind (%v)", second, err)
				}
				// It is all there again for the next start, at what was meant.
				was, err := server.Live()
				if err != nil || was == 0 {
					t.Errorf("live %d, %v", was, err)
				}
				if err := server.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				if route, err := server.Served(t.Context()); err != nil || route.Live != was {
					t.Errorf("served %+v, %v; want %d", route, err, was)
				}
				belongs(t, server.Config().Dir, test.owner)
			})
		})
	}
}

// passes moves traffic, and wants bodies that are stored to pass, what is hidden
// to be hidden, and a reload to be seen.
func passes(t *testing.T, s *stage) {
	t.Helper()
	size := func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d %v", n, err)
	}
	first, second := s.serve(t, size), s.serve(t, size)
	if err := s.Describe(second.port, true); err != nil {
		t.Fatal(err)
	}
	for _, in := range []*instance{first, second, first} {
		s.with(t, in.port, 0)
		if err := s.sends(t, 900_000, is(200, "900000 <nil>")); err != nil {
			t.Error(err)
		}
		got, err := send(t.Context(), "GET", s.url()+"/readyz", nil)
		if want := map[bool]int{true: 404, false: 200}[in == second]; err != nil || got.status != want {
			t.Errorf("/readyz: got %+v, %v; want %d", got, err, want)
		}
	}
	if err := s.Reload(t.Context()); err != nil {
		t.Error(err)
	}
}

// belongs wants everything that is not a worker's own to be its owner's.
func belongs(t *testing.T, dir string, owner int) {
	t.Helper()
	if owner == 0 {
		return
	}
	for _, name := range []string{"", "nginx.conf", "live", "routes", "logs", "closing", "started"} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if uid := int(info.Sys().(*syscall.Stat_t).Uid); uid != owner {
			t.Errorf("%s belongs to %d, want %d", name, uid, owner)
		}
	}
}

// A folder of somebody else in the place of the second one is not used.
func TestSecondFolderOfAStranger(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root's nginx has a second folder")
	}
	server := nginxtest.Start(t, 1)
	second := filepath.Dir(server.LinkPath())
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(second, 0o777), os.Chmod(second, 0o777)); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(second)
	if err := server.Start(t.Context()); err == nil || !strings.Contains(err.Error(), second) || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("got %v", err)
	}
}

// A second folder that somebody has removed is made anew by a start, while nginx
// runs, and a stop of nginx doesn't miss it.
func TestSecondFolderLost(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root's nginx has a second folder")
	}
	s := newStage(t, 1)
	s.with(t, s.serve(t, named("live")).port, 0)
	for _, again := range []func() error{func() error { return s.Start(t.Context()) }, func() error { return s.Stop(t.Context()) }} {
		if err := os.RemoveAll(filepath.Dir(s.LinkPath())); err != nil {
			t.Fatal(err)
		}
		if err := s.each(t, []string{"GET"}, down("unavailable")); err != nil {
			t.Error(err)
		}
		if err := errors.Join(again(), s.Start(t.Context()), s.each(t, []string{"GET"}, is(200, "live"))); err != nil {
			t.Error(err)
		}
	}
}

// A copy of a state folder has the link to the second folder of the original.
// It neither moves the traffic there nor removes that folder.
func TestSecondFolderOfTheOriginal(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root's nginx has a second folder")
	}
	first := newStage(t, 2)
	first.with(t, first.serve(t, named("original")).port, 0)
	original := first.Config()
	cfg := original
	cfg.Dir = filepath.Join(t.TempDir(), "nginx")
	if out, err := exec.Command("cp", "-a", original.Dir, cfg.Dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cfg.Listen = fmt.Sprintf("127.0.0.1:%d", nginxtest.FreePorts(t, 1))
	second, err := nginx.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := second.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"move before it runs", func() error { return second.Move(t.Context(), cfg.FirstPort+1) }},
		{"start", func() error { return second.Start(t.Context()) }},
		{"move", func() error { return second.Move(t.Context(), cfg.FirstPort+1) }},
		{"stop", func() error { return second.Stop(t.Context()) }},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if err := first.each(t, []string{"GET"}, is(200, "original")); err != nil {
			t.Errorf("after a %s of the copy: %v", step.name, err)
		}
	}
}

// A limit of open files that can't be raised is kept to, and said. (Run again
// with such a limit, by a user who can't raise it.)
func TestLowLimitOfFiles(t *testing.T) {
	const inside = "MIGRATE_TEST_LOW_LIMIT"
	if os.Getenv(inside) == "1" {
		s := nginxtest.Start(t, 1)
		st, err := s.Status(t.Context())
		if err != nil || st.OpenFiles != 600 || st.Workers == 0 || st.Clients != st.Workers*450/2 || !strings.Contains(st.Low(), "600 files") {
			t.Errorf("%+v, %v: %s", st, err, st.Low())
		}
		log, err := os.ReadFile(filepath.Join(s.Config().Dir, "logs", "error.log"))
		if err != nil || len(log) > 0 {
			t.Errorf("nginx has something to say: %s, %v", log, err)
		}
		return
	}
	nginxtest.Binary(t)
	cmd := asNobody(t, "ulimit -n 600 && ", "^TestLowLimitOfFiles$")
	cmd.Env = append(cmd.Env, inside+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: ") {
		t.Errorf("%v\n%s", err, out)
	}
	s := nginxtest.Start(t, 1)
	if st, err := s.Status(t.Context()); err != nil || st.OpenFiles >= 16384 && st.Low() != "" {
		t.Errorf("%+v, %v: %s", st, err, st.Low())
	}
}
