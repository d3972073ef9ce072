package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"migrate.invalid/migrate/cmd/migrate/fire"
	"migrate.invalid/migrate/nginx"
)

// What TestFire does for longer than a test should: scripts/prove.sh fire.
const (
	envFireMinutes = "MIGRATE_FIRE_MINUTES"
	envFireSeed    = "MIGRATE_FIRE_SEED"
)

// The service under fire: real instances behind a real nginx, moved forwards
// and back, their primary returned, while they, the tool, nginx and both
// databases are killed, stopped, cut off, slowed down and filled up. Whatever
// was answered must be explained by one order of requests a record, nothing
// acknowledged may be lost, and once a fault has gone the service serves.
func TestFire(t *testing.T) {
	lasts, seed := fireLength(t)
	setFire(t, nginx.ByLink, lasts, seed)
}

// The same with traffic that moves by rewritten upstreams and reloads.
func TestFireByReload(t *testing.T) {
	lasts, seed := fireLength(t)
	setFire(t, nginx.ByReload, lasts, seed+1)
}

func setFire(t *testing.T, by nginx.Cutover, lasts time.Duration, seed uint64) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes two minutes")
	}
	needShell(t)
	t.Logf("by %s, seed %d, %v", by, seed, lasts)

	disk := newDisk(t)
	s := newSite(t)
	s.env = append(s.env, "MIGRATE_CUTOVER="+string(by))
	link := newLink(t, fmt.Sprintf("127.0.0.1:%d", s.first+39))
	file := filepath.Join(disk.dir, "old.sqlite")
	s.env = append(s.env, "MIGRATE_SQLITE="+file, "MIGRATE_MONGO_URI=mongodb://"+link.address()+"/", "MIGRATE_LOCK_WAIT=60s")
	s.must("mongo", "start")
	s.must("nginx", "start")
	rows := fireLegacy(t, file)
	s.must("advance", "--quiet")

	f := fire.Start(t.Context(), fire.Config{
		Address: strings.TrimPrefix(s.url(), "http://"), Seed: seed, Timeout: 12 * time.Second,
		Legacy: rows, Foreign: foreignShell(file),
	})
	stop := sync.OnceFunc(f.Stop)
	defer stop()
	newNemesis(s, f, link, disk, file, seed).burn(lasts, stop)
	if t.Failed() {
		t.Logf("again: %s=%v %s=%d", envFireMinutes, lasts.Minutes(), envFireSeed, seed)
	}
}

// burn sets the service on fire at step 4, ends the fire, and judges what it
// answered.
func (n *nemesis) burn(lasts time.Duration, stop func()) {
	t := n.t
	t.Helper()
	n.settle("the way to step 4", "advance", "--until", "4")
	n.rage(lasts)
	stop()

	n.settle("to the end", "advance", "--until", "8", "--backfill")
	n.settle("the last verify", "verify")
	rep, err := n.f.Judge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v\n%v", n, rep)
	for _, v := range rep.Violations {
		t.Error(v)
	}
	for _, story := range rep.Stories[:min(3, len(rep.Stories))] {
		t.Log(story)
	}
	if rep.Acknowledged < 500 || rep.Unknown == 0 || n.total() < 5 {
		t.Errorf("too little happened to prove anything")
	}
	if t.Failed() {
		t.Log(n.must("history", "--limit", "0"))
	}
}

// needShell skips the test where the sqlite3 program is not installed, or
// fails it where nothing may be left out.
func needShell(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("sqlite3"); err == nil {
		return
	}
	const message = "needs the sqlite3 program, which is not installed: run scripts/test.sh"
	if os.Getenv("MIGRATE_TEST_ALL") == "1" {
		t.Fatal(message)
	}
	t.Skip(message)
}

func fireLength(t *testing.T) (lasts time.Duration, seed uint64) {
	t.Helper()
	lasts, seed = 100*time.Second, 1
	if text := os.Getenv(envFireMinutes); text != "" {
		m, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("%s: %v", envFireMinutes, err)
		}
		lasts = time.Duration(m * float64(time.Minute))
	}
	if text := os.Getenv(envFireSeed); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", envFireSeed, err)
		}
	}
	return lasts, seed
}

// fireLegacy writes a database as the original had it.
func fireLegacy(t *testing.T, file string) (rows []fire.Legacy) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE tasks(id text, assignee text, description text, done boolean)`); err != nil {
		t.Fatal(err)
	}
	for n := range 120 {
		r := fire.Legacy{ID: fmt.Sprint("legacy-", n), Assignee: fmt.Sprint("old hand ", n/12), Description: fmt.Sprint("legacy task ", n)}
		if _, err := db.Exec(`INSERT INTO tasks VALUES(?,?,?,0)`, r.ID, r.Assignee, r.Description); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, r)
	}
	return rows
}

// foreignShell is the plain sqlite3 program: another build of SQLite, which
// knows nothing of us.
func foreignShell(file string) fire.Foreign {
	return func(ctx context.Context, statement string) (rows int, refused bool, err error) {
		script := "BEGIN IMMEDIATE;\n" + statement + ";\nSELECT changes();\nCOMMIT;\n"
		cmd := exec.CommandContext(ctx, "sqlite3", "-batch", "-bail", "-cmd", ".timeout 3000", file)
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.Output()
		if err == nil {
			rows, err = strconv.Atoi(strings.TrimSpace(string(out)))
			return rows, false, err
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			text := string(exit.Stderr)
			refused = strings.Contains(text, "migrate:") || strings.Contains(text, "UNIQUE") ||
				len(out) == 0 && strings.Contains(text, "locked") // at BEGIN: no row count was printed
			err = fmt.Errorf("%w: %s", err, text)
		}
		return 0, refused, err
	}
}

// disk is a small file system of its own for the old database, so that it can
// be full; without the rights to mount one there is none.
type disk struct {
	dir     string
	mounted bool
}

func newDisk(t *testing.T) disk {
	t.Helper()
	d := disk{dir: filepath.Join(t.TempDir(), "disk")}
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=24m", "none", d.dir).CombinedOutput()
	if err != nil {
		t.Logf("no file system of its own for the old database, whose files are limited instead: %s", out)
		return d
	}
	d.mounted = true
	t.Cleanup(func() {
		if out, err := exec.Command("umount", d.dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return d
}

// fill takes all the room there is; the function that it returns gives it back.
func (d disk) fill() (empty func(), err error) {
	name := filepath.Join(d.dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	for size := 1 << 20; size > 0; {
		if n, err := f.Write(make([]byte, size)); err != nil || n < size {
			size /= 2
		}
	}
	return func() { _ = os.Remove(name) }, f.Close()
}

// waitFor reports whether a condition came true in time.
func waitFor(ctx context.Context, limit time.Duration, holds func() bool) bool {
	deadline := time.Now().Add(limit)
	for !holds() {
		if ctx.Err() != nil || time.Now().After(deadline) {
			return false
		}
		time.Sleep(20 * time.Millisecond)
	}
	return true
}
