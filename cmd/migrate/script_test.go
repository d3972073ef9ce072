package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gofrs/flock"
	"github.com/rogpeppe/go-internal/testscript"

	"migrate.invalid/migrate/app/store/postgres/local"
	"migrate.invalid/migrate/nginx/nginxtest"
)

// The built program as people and scripts meet it: each file under
// testdata/script has a state folder, free ports, and what runs in it ended.
//
// Beside testscript's own there are these commands:
//
//	code N PROGRAM ARG…    run it and want this exit code
//	lines N PROGRAM ARG…   read N lines of its output into the file "lines",
//	                       interrupt it, and want exit code 0
//	legacy FILE            write a database as the original had it
//	postgres FILE          start a server of PostgreSQL and run the file's SQL there
//	lock, unlock           hold the state folder's lock, as another command would
func TestScripts(t *testing.T) {
	t.Parallel()
	nginxtest.Binary(t)
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	services := t.TempDir() // of somebody's own
	for _, name := range []string{"fickle", "odd"} {
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", services, "./testdata/"+name).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               func(env *testscript.Env) error { return setUp(env, bin, services) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": wantCode, "lines": readLines, "legacy": writeLegacy, "lock": takeLock, "unlock": letGo, "postgres": startPostgres,
		},
	})
}

func setUp(env *testscript.Env, bin, services string) error {
	tb, ok := env.T().(testing.TB)
	if !ok {
		return errors.New("the script's test is no testing.TB")
	}
	first := nginxtest.FreePorts(tb, 40)
	dir := filepath.Join(env.WorkDir, "state")
	env.Setenv("PATH", filepath.Dir(bin)+string(filepath.ListSeparator)+env.Getenv("PATH"))
	for name, value := range map[string]any{
		"MIGRATE_DIR": dir, "MIGRATE_FIRST_PORT": first, "PORT0": first, "PORT1": first + 1, "FICKLE": filepath.Join(services, "fickle"), "ODD": filepath.Join(services, "odd"),
		"MIGRATE_NGINX_LISTEN": fmt.Sprint("127.0.0.1:", first+38), "MIGRATE_MONGO_LISTEN": fmt.Sprint("127.0.0.1:", first+39), "MONGO_PORT": first + 39,
		"TZ": "UTC", "MIGRATE_NGINX": nginxtest.Binary(tb),
	} {
		env.Setenv(name, fmt.Sprint(value))
	}
	h := &holding{}
	env.Values[locked{}] = h
	env.Defer(func() {
		if h.lock != nil {
			_ = h.lock.Close()
		}
		others, _ := filepath.Glob(filepath.Join(env.WorkDir, "*", "state.json"))
		for _, state := range others {
			if other := filepath.Dir(state); other != dir { // it may have been broken on purpose
				_ = exec.Command(bin, "stop", "--all", "--yes", "--dir", other).Run()
			}
		}
		if _, err := os.Stat(dir); err != nil {
			return
		}
		cmd := exec.Command(bin, "stop", "--all", "--yes", "--dir", dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			tb.Errorf("stop --all: %v\n%s", err, out)
		}
	})
	return nil
}

func wantCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s: exit %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

func readLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: lines N PROGRAM ARG…")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	path, err := program()
	ts.Check(err)
	cmd := exec.Command(path, args[2:]...)
	for _, name := range []string{"MIGRATE_DIR", "MIGRATE_FIRST_PORT", "MIGRATE_NGINX_LISTEN", "MIGRATE_MONGO_LISTEN", "PATH"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	var got strings.Builder
	scanner := bufio.NewScanner(out)
	scanner.Buffer(nil, 1<<20)
	for range n {
		if !scanner.Scan() {
			break
		}
		fmt.Fprintln(&got, scanner.Text())
	}
	ts.Check(cmd.Process.Signal(syscall.SIGINT))
	for scanner.Scan() { // what it had begun to write
	}
	if err := cmd.Wait(); err != nil {
		ts.Fatalf("%s, interrupted: %v", strings.Join(args[1:], " "), err)
	}
	ts.Check(os.WriteFile(ts.MkAbs("lines"), []byte(got.String()), 0o600))
}

func writeLegacy(ts *testscript.TestScript, _ bool, args []string) {
	switch len(args) {
	case 1:
		ts.Check(makeLegacy(ts.MkAbs(args[0])))
	case 2:
		ts.Check(makeFile(ts.MkAbs(args[0]), args[1]))
	default:
		ts.Fatalf("usage: legacy FILE [STATEMENTS]")
	}
}

// locked is the key of the lock that a script holds.
type locked struct{}

func takeLock(ts *testscript.TestScript, _ bool, _ []string) {
	f := flock.New(filepath.Join(ts.Getenv("MIGRATE_DIR"), "lock"))
	held, err := f.TryLock()
	ts.Check(err)
	if !held {
		ts.Fatalf("somebody else holds the lock")
	}
	ts.Value(locked{}).(*holding).lock = f
}

func letGo(ts *testscript.TestScript, _ bool, _ []string) {
	if f := ts.Value(locked{}).(*holding).lock; f != nil {
		ts.Check(f.Close())
	}
}

type holding struct{ lock *flock.Flock }

// startPostgres starts a server of PostgreSQL with a database shop, and a role clerk
// that owns nothing, has the rights on its tables and no others. The script has
// their connection strings in OWNER and CLERK.
func startPostgres(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: postgres file.sql")
	}
	dir, err := os.MkdirTemp("", "migrate-script")
	ts.Check(err)
	ts.Defer(func() { _ = os.RemoveAll(dir) })
	ts.Check(os.Chmod(dir, 0o711))
	s, err := local.Start(context.Background(), local.Config{Dir: filepath.Join(dir, "server"), Settings: map[string]string{"fsync": "off"}})
	ts.Check(err)
	ts.Defer(func() { ts.Check(s.Stop("immediate")) })
	ts.Check(s.Create(context.Background(), "shop"))
	ts.Check(s.Exec(context.Background(), "shop", ts.ReadFile(args[0])))
	ts.Check(s.Exec(context.Background(), "shop", "create role clerk login password 'hunter2'; grant select, insert, update, delete on all tables in schema public to clerk"))
	clerk, err := url.Parse(s.URI("shop"))
	ts.Check(err)
	clerk.User = url.UserPassword("clerk", "hunter2")
	ts.Setenv("OWNER", s.URI("shop"))
	ts.Setenv("CLERK", clerk.String())
}
