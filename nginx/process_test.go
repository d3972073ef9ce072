package nginx_test

import (
	"context"
	"errors"
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

// Out of patience, Stop ends a request that would never end, and the workers
// with it; what is left behind is in nobody's way.
func TestStopAtOnce(t *testing.T) {
	s := newStage(t, 1)
	begun := make(chan struct{})
	live := s.serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
	})
	s.with(t, live.port, 0)
	held := make(chan error, 1)
	go func() {
		_, err := send(context.Background(), "POST", s.url(), strings.NewReader("{}"))
		held <- err
	}()
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-held; err == nil {
		t.Error("the request was answered")
	}
	if err := s.Start(t.Context()); err != nil {
		t.Errorf("start after it: %v", err)
	}
}

// Workers go on when their master is killed. Stop and Start end them.
func TestKilledMaster(t *testing.T) {
	server := nginxtest.Start(t, 1)
	for name, end := range map[string]func() error{
		"stop":  func() error { return server.Stop(t.Context()) },
		"start": func() error { return server.Start(t.Context()) },
	} {
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		before, err := server.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(patience)
		for after := before; after.Running; {
			if after, err = server.Status(t.Context()); err != nil || time.Now().After(deadline) {
				t.Fatalf("still there: %+v, %v", after, err)
			}
		}
		if _, err := server.Served(t.Context()); err != nil {
			t.Fatalf("its workers don't serve: %v", err)
		}
		if err := end(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		after, err := server.Status(t.Context())
		if err != nil || after.Running != (name == "start") || after.PID == before.PID {
			t.Errorf("%s: %+v, %v", name, after, err)
		}
		if _, err := server.Served(t.Context()); errors.Is(err, nginx.ErrNotRunning) != (name == "stop") {
			t.Errorf("served after %s: %v", name, err)
		}
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

// A worker that was just forked has its master's title. A look at the workers that
// misses it takes one configuration for another's end.
func TestWorkersByTitle(t *testing.T) {
	for title, want := range map[string]int{
		"nginx: worker process":                  1,
		"nginx: master process nginx -p /folder": 1,
		"nginx: worker process is shutting down": 0,
		"nginx: cache manager process":           0,
	} {
		child := exec.Command("cat")
		child.Args[0] = title
		in, err := child.StdinPipe()
		if err == nil {
			err = child.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := nginx.Serving(os.Getpid()); got != want || err != nil {
			t.Errorf("%q: %d serve, %v; want %d", title, got, err, want)
		}
		if err := errors.Join(in.Close(), child.Wait()); err != nil {
			t.Fatal(err)
		}
	}
}
