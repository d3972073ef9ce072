package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"migrate.invalid/migrate/nginx/nginxtest"
)

// program builds the program once for all tests of the package.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "migrate-test")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "migrate")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	if signal.Ignored(os.Interrupt) { // as a shell starts what runs in the background
		signal.Notify(make(chan os.Signal, 1), os.Interrupt) // the programs that tests start must not inherit that
	}
	code := m.Run()
	if path, err := program(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// site is a state folder with free ports, and the program to run on it.
type site struct {
	t     *testing.T
	bin   string
	dir   string
	first int
	env   []string
	drop  func() error // of what was made on a server that goes on running
}

// newSite finds free ports and ends whatever runs in the folder when the test ends.
func newSite(t *testing.T) *site {
	t.Helper()
	nginxtest.Binary(t)
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	first := nginxtest.FreePorts(t, 40)
	s := &site{t: t, bin: bin, dir: filepath.Join(t.TempDir(), "state"), first: first}
	s.env = append(os.Environ(),
		"MIGRATE_DIR="+s.dir, fmt.Sprintf("MIGRATE_FIRST_PORT=%d", first),
		fmt.Sprintf("MIGRATE_NGINX_LISTEN=127.0.0.1:%d", first+38), fmt.Sprintf("MIGRATE_MONGO_LISTEN=127.0.0.1:%d", first+39))
	t.Cleanup(func() {
		if _, err := os.Stat(s.dir); err == nil {
			if out, errs, code := s.run("stop", "--all", "--yes"); code != 0 {
				t.Errorf("stop --all: exit %d\n%s%s", code, out, errs)
			}
		}
		if s.drop != nil { // an instance that still ran would make it anew
			if err := s.drop(); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			s.showLogs()
		}
	})
	return s
}

// startMongo starts the embedded server, unless the tests were given another one.
func (s *site) startMongo() {
	s.t.Helper()
	uri := os.Getenv("MIGRATE_TEST_MONGO_URI")
	if uri == "" {
		s.must("mongo", "start")
		return
	}
	name := fmt.Sprintf("migrate_test_%d_%d", os.Getpid(), s.first)
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		s.t.Fatal(err)
	}
	s.drop = func() error {
		ctx := context.Background()
		err := client.Database(name).Drop(ctx)
		left, lerr := client.ListDatabaseNames(ctx, bson.D{{Key: "name", Value: name}})
		if len(left) > 0 {
			lerr = fmt.Errorf("%s is still there", name)
		}
		return errors.Join(err, lerr, client.Disconnect(ctx))
	}
	s.env = append(s.env, "MIGRATE_MONGO_URI="+uri, "MIGRATE_MONGO_DB="+name)
}

func (s *site) url() string { return fmt.Sprintf("http://127.0.0.1:%d", s.first+38) }

// run runs the program and returns what it wrote and its exit code.
func (s *site) run(args ...string) (stdout, stderr string, code int) {
	return s.runContext(context.Background(), args...)
}

func (s *site) runContext(ctx context.Context, args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.bin, args...)
	cmd.Env = s.env
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = time.Minute
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && ctx.Err() == nil {
		s.t.Fatalf("migrate %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must runs the program and wants exit code 0.
func (s *site) must(args ...string) string {
	s.t.Helper()
	out, errs, code := s.run(args...)
	if code != 0 {
		s.t.Fatalf("migrate %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// refused runs the program, wants this exit code, and all of these words.
func (s *site) refused(code int, words []string, args ...string) {
	s.t.Helper()
	out, errs, got := s.run(args...)
	if got != code {
		s.t.Errorf("migrate %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, code, out, errs)
	}
	for _, w := range words {
		if !strings.Contains(errs, w) {
			s.t.Errorf("migrate %s: the error does not mention %q:\n%s", strings.Join(args, " "), w, errs)
		}
	}
}

// json runs the program with --json and decodes its answer.
func (s *site) json(into any, args ...string) {
	s.t.Helper()
	out := s.must(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		s.t.Fatalf("migrate %s --json: %v in %s", strings.Join(args, " "), err, out)
	}
}

func (s *site) showLogs() {
	logs, _ := filepath.Glob(filepath.Join(s.dir, "instances", "*", "log"))
	more, _ := filepath.Glob(filepath.Join(s.dir, "data", "mongo", "log"))
	for _, path := range append(logs, more...) {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		s.t.Logf("%s:\n%s", path, b[max(0, len(b)-2000):])
	}
}
