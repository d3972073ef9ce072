package local_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/store/postgres/local"
	"migrate.invalid/migrate/app/store/postgres/pgtest"
)

// parent is set in the process that a test starts to have a server end with it.
const parent = "MIGRATE_TEST_POSTGRES_PARENT"

func TestMain(m *testing.M) {
	if dir := os.Getenv(parent); dir != "" {
		s, err := local.Start(context.Background(), local.Config{Dir: dir})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(s.PID())
		select {} // until it is killed
	}
	os.Exit(pgtest.Main(m))
}

// quick is for servers whose machine does not crash.
var quick = map[string]string{"fsync": "off"}

// ask returns what a query answers, as a text.
func ask(t *testing.T, uri, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var text string
	if err := conn.QueryRow(t.Context(), "select ("+sql+")::text").Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

func do(t *testing.T, s *local.Server, sql string) {
	t.Helper()
	if err := s.Exec(t.Context(), "postgres", sql); err != nil {
		t.Fatal(err)
	}
}

func TestServer(t *testing.T) {
	s := pgtest.Start(t, map[string]string{"fsync": "off", "max_prepared_transactions": "7"})
	uri := s.URI("postgres")
	for sql, want := range map[string]string{
		"current_setting('max_prepared_transactions')":                  "7",
		"current_setting('listen_addresses')":                           "127.0.0.1",
		"current_setting('server_encoding')":                            "UTF8",
		"select datcollate from pg_database where datname = 'postgres'": "C.UTF-8",
	} {
		if got := ask(t, uri, sql); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
	wrong := strings.Replace(uri, ":", ":x", 2) // the password
	if conn, err := pgx.Connect(t.Context(), wrong); err == nil {
		conn.Close(t.Context())
		t.Error("a wrong password is let in")
	}
	for _, mode := range []string{"fast", "immediate"} {
		do(t, s, "create table "+mode+" as select 1 n")
		if err := s.Restart(t.Context(), mode); err != nil {
			t.Fatal(err)
		}
		if got := ask(t, uri, "select n from "+mode); got != "1" {
			t.Errorf("after a restart, %s: %s", mode, got)
		}
	}
	text, err := os.ReadFile(s.LogPath())
	if err != nil || !strings.Contains(string(text), "database system was not properly shut down") {
		t.Errorf("immediate was no crash (%v):\n%s", err, text)
	}
}

func TestTwoServersSideBySide(t *testing.T) {
	a, b := pgtest.Start(t, quick), pgtest.Start(t, quick)
	do(t, a, "create table here as select 1 n")
	if got := ask(t, b.URI("postgres"), "select count(*) from pg_class where relname = 'here'"); got != "0" {
		t.Errorf("the other server has %s such tables", got)
	}
}

func TestPause(t *testing.T) {
	s := pgtest.Start(t, quick)
	conn, err := pgx.Connect(t.Context(), s.URI("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := conn.Exec(ctx, "select 1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a session of a paused server: %v", err)
	}
	if err := s.Continue(); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, s.URI("postgres"), "select 1"); got != "1" {
		t.Error(got)
	}
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := s.Stop("immediate"); err != nil || time.Since(began) > 10*time.Second {
		t.Errorf("stopped while paused: %v after %v", err, time.Since(began))
	}
}

func TestSynchronousStandbyHasWhatWasAcknowledged(t *testing.T) {
	primary := pgtest.Start(t, quick)
	standby, err := primary.Standby(t.Context(), filepath.Join(pgtest.Folder(t), "server"), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pgtest.Stop(t, standby) })
	do(t, primary, "create table kept as select 1 n")
	if err := primary.Stop("immediate"); err != nil {
		t.Fatal(err)
	}
	if err := standby.Exec(t.Context(), "postgres", "create table x ()"); err == nil {
		t.Error("a standby takes writes")
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	do(t, standby, "insert into kept values (2)")
	if got := ask(t, standby.URI("postgres"), "select sum(n) from kept"); got != "3" {
		t.Errorf("the promoted server has %s", got)
	}
}

func TestServerEndsWithItsParent(t *testing.T) {
	pgtest.Shared(t) // the programs are there
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), parent+"="+filepath.Join(pgtest.Folder(t), "server"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for until := time.Now().Add(10 * time.Second); running(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			_ = syscall.Kill(pid, syscall.SIGQUIT)
			t.Fatal("the server outlives the process that started it")
		}
	}
}

// running reports whether the process is there, and no zombie that nobody has waited for.
func running(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(state, "Z")
}

func TestStartRefusesAFolderInUse(t *testing.T) {
	s := pgtest.Start(t, quick)
	if _, err := local.Start(t.Context(), local.Config{Dir: filepath.Dir(s.LogPath())}); err == nil || !strings.Contains(err.Error(), "holds a server already") {
		t.Errorf("%v", err)
	}
}

// In transaction mode the next statement of a client may be another session's:
// what a session keeps is lost, or somebody else's.
func TestBouncer(t *testing.T) {
	s := pgtest.Shared(t)
	b := pgtest.Bouncer(t, s, "transaction")
	uri, err := b.URI(s.URI("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	one, other := raw(t, uri), raw(t, uri)
	exec := func(c *pgx.Conn, sql string) {
		t.Helper()
		if _, err := c.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	exec(one, "set search_path to nowhere")
	var path string
	if err := other.QueryRow(t.Context(), "show search_path", pgx.QueryExecModeSimpleProtocol).Scan(&path); err != nil || path != "nowhere" {
		t.Errorf("the other client's session has the search_path %q (%v), not that of the one before", path, err)
	}
	if _, err := one.Prepare(t.Context(), "p", "select 1"); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Prepare(t.Context(), "p", "select 2"); err == nil || !strings.Contains(err.Error(), "42P05") {
		t.Errorf("a second client prepares a statement of the same name: %v", err)
	}
	cfg, err := pgx.ParseConfig(uri + "&statement_timeout=1000")
	if err != nil {
		t.Fatal(err)
	}
	if conn, err := pgx.ConnectConfig(t.Context(), cfg); err == nil {
		conn.Close(t.Context())
		t.Error("a parameter at the beginning of a session is let pass")
	}
}

func raw(t *testing.T, uri string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
