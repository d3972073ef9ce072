package main

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gofrs/flock"
	_ "modernc.org/sqlite"
)

// legacy writes a database as the original had it, with rows that have no
// place in the protocol.
func legacy(t *testing.T, path string) {
	t.Helper()
	if err := makeLegacy(path); err != nil {
		t.Fatal(err)
	}
}

func makeLegacy(path string) error {
	return makeFile(path,
		`CREATE TABLE tasks(id text, assignee text, description text, done boolean)`,
		`CREATE INDEX by_assignee ON tasks(assignee, done)`,
		`INSERT INTO tasks VALUES('l-1','Bill','first',0),('l-2','Jane','second',1),('l-3','Bill','third',0)`,
		`INSERT INTO tasks VALUES('l-1','Bill','the same id again',0)`,
		`INSERT INTO tasks VALUES('l-4','Bill','done as text','true')`)
}

// makeFile makes a database by statements.
func makeFile(path string, statements ...string) error {
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			return err
		}
	}
	return nil
}

// browser is a client of the service through nginx.
type browser struct {
	t   *testing.T
	url string
	ids map[string]string // description by id, of what must be there
}

func (b *browser) do(method, path string, form url.Values, want int) []byte {
	b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if resp.StatusCode != want {
		b.t.Fatalf("%s %s: %d, want %d: %s", method, path, resp.StatusCode, want, got)
	}
	return got
}

func (b *browser) create(description string) {
	b.t.Helper()
	var made struct{ ID string }
	if err := json.Unmarshal(b.do("POST", "/tasks", url.Values{"assignee": {"Bill"}, "description": {description}}, 201), &made); err != nil {
		b.t.Fatal(err)
	}
	b.ids[made.ID] = description
}

// all wants each task, by its id and in Bill's list of undone ones, and no other in the list.
func (b *browser) all(where string) {
	b.t.Helper()
	for id, description := range b.ids {
		var got struct{ Description string }
		if err := json.Unmarshal(b.do("GET", "/tasks/"+id, nil, 200), &got); err != nil || got.Description != description {
			b.t.Errorf("%s: task %s is %q (%v), want %q", where, id, got.Description, err, description)
		}
	}
	var list []struct{ ID string }
	if err := json.Unmarshal(b.do("GET", "/tasks?assignee=Bill", nil, 200), &list); err != nil {
		b.t.Fatal(err)
	}
	for _, task := range list {
		if _, known := b.ids[task.ID]; !known {
			b.t.Errorf("%s: %s is listed", where, task.ID)
		}
	}
	if len(list) != len(b.ids) {
		b.t.Errorf("%s: %d tasks listed, want %d", where, len(list), len(b.ids))
	}
}

func (b *browser) step() int {
	b.t.Helper()
	var c struct {
		Step int `json:"migration_step"`
	}
	if err := json.Unmarshal(b.do("GET", "/config", nil, 200), &c); err != nil {
		b.t.Fatal(err)
	}
	return c.Step
}

// The eight steps by hand, there and back to 4, as a person would do it: each
// refusal with its exit code, its reason and the next command.
func TestWalkByHand(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	file := filepath.Join(t.TempDir(), "old todo.sqlite")
	legacy(t, file)
	port := func(n int) string { return strconv.Itoa(s.first + n) }
	spawn := func(n, step int) []string { return []string{"spawn", "--port", port(n), "--step", strconv.Itoa(step)} }

	s.refused(2, []string{"unknown flag", "--help"}, "spawn", "--nonsense")
	s.refused(2, []string{"step 9", "migrate spawn"}, spawn(0, 9)...)
	s.refused(2, []string{"step 1"}, spawn(2, 3)...)
	s.startMongo()
	if os.Getenv("MIGRATE_TEST_MONGO_URI") == "" {
		s.must("mongo", "status")
	}
	s.must("nginx", "start")
	s.must("nginx", "test")
	s.refused(2, []string{"migrate spawn"}, "switch")
	s.must(append(spawn(0, 1), "--sqlite", file)...)
	if copies, _ := filepath.Glob(file + ".before-migrate-*"); len(copies) != 1 {
		t.Errorf("copies of the old database before first contact: %q, want one", copies)
	}
	s.must("switch")
	b := &browser{t, s.url(), map[string]string{"l-1": "first", "l-3": "third"}}
	b.create("at step 1")
	b.all("step 1")

	s.refused(2, []string{port(0), "migrate"}, spawn(0, 2)...)                                                                // its port is taken
	s.refused(2, []string{"step 3", "step 1"}, spawn(1, 3)...)                                                                // two steps away
	s.refused(2, []string{"in use is " + file, "/elsewhere.sqlite"}, append(spawn(1, 2), "--sqlite", "/elsewhere.sqlite")...) // other databases
	s.refused(3, []string{"exit", "migrate"}, append(spawn(1, 2), "--", "false")...)
	s.refused(2, []string{"active", "--yes"}, "stop", port(0))

	lock := flock.New(filepath.Join(s.dir, "lock"))
	if held, err := lock.TryLock(); err != nil || !held {
		t.Fatalf("lock: %v, %v", held, err)
	}
	s.refused(5, []string{"migrate"}, spawn(1, 2)...)
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}

	for step := 2; step <= 4; step++ {
		s.must(append(spawn(step-1, step), "--json")...)
		s.must("switch")
		b.create(fmt.Sprintf("at step %d", step))
		b.all(fmt.Sprintf("step %d", step))
	}
	s.env = append(s.env, "MIGRATE_COMPARE_MIN=777")
	s.must(spawn(4, 5)...)
	s.refused(4, []string{"compared", "777 wanted", "migrate backfill", "migrate verify"}, "switch")
	s.refused(4, []string{"compared"}, "gates")
	if got := b.step(); got != 4 {
		t.Errorf("after a refused switch traffic is at step %d", got)
	}
	s.must("backfill")
	s.must("verify")
	s.refused(4, []string{"quarantine", "1 rows", "--accept quarantine:1"}, "gates")
	s.refused(4, []string{"quarantine"}, "switch", "--dry-run")
	s.refused(4, []string{"quarantine"}, "switch", "--force", "quarantine")
	if got := b.step(); got != 4 {
		t.Errorf("a dry run moved traffic to step %d", got)
	}
	for step := 5; step <= 7; step++ {
		if step > 5 {
			s.must(spawn(step-1, step)...)
		}
		if step == 5 {
			s.must("switch", "--accept", "quarantine:1")
		} else {
			s.must("switch")
		}
		b.create(fmt.Sprintf("at step %d", step))
		b.all(fmt.Sprintf("step %d", step))
	}
	s.must(spawn(7, 8)...)
	s.refused(4, []string{"complete", "migrate backfill"}, "switch")
	s.must("backfill")
	var v struct {
		Clean      bool
		Quarantine int
		Converted  int
	}
	s.json(&v, "verify")
	if !v.Clean || v.Quarantine != 1 || v.Converted != 1 {
		t.Errorf("verify: %+v; want it clean, one row in quarantine, one converted", v)
	}
	s.refused(4, []string{"quarantine", "migrate quarantine list"}, "switch")
	if out := s.must("verify"); !strings.Contains(out, "the same id again") || !strings.Contains(out, "l-4") {
		t.Errorf("verify does not show the rows:\n%s", out)
	}
	s.refused(2, []string{"nobody"}, "verify", "--drop", "nobody")
	s.must("verify", "--drop", "l-1")
	s.refused(4, []string{"complete", "migrate backfill"}, "switch") // a row was undecided when it was copied
	s.must("backfill")
	s.must("switch")
	b.create("at step 8")
	b.all("step 8")

	for step := 7; step >= 4; step-- {
		s.must("spawn", "--port", port(8+7-step), "--step", strconv.Itoa(step))
		s.must("switch")
		if got := b.step(); got != step {
			t.Errorf("on the way back at step %d, want %d", got, step)
		}
		b.create(fmt.Sprintf("back at step %d", step))
		b.all(fmt.Sprintf("back at step %d", step))
	}
	out, errs, code := s.run("spawn", "--port", port(12), "--step", "3")
	if code == 0 {
		out, errs, code = s.run("switch")
	}
	if code == 0 || !strings.Contains(errs, "return of the primary") {
		t.Errorf("4 to 3 under the new primary: exit %d, want it refused by name\n%s%s", code, out, errs)
	}
	b.all("after the refusal")

	for step := 3; step >= 1; step-- {
		out := s.must("rollback")
		if step == 3 && !strings.Contains(out, "primary again (epoch 3)") {
			t.Errorf("the return of the primary is not told of:\n%s", out)
		}
		if got := b.step(); got != step {
			t.Errorf("rolled back to step %d, want %d", got, step)
		}
		b.create(fmt.Sprintf("rolled back to step %d", step))
		b.all(fmt.Sprintf("rolled back to step %d", step))
	}
	s.refused(2, []string{"nothing to go back to"}, "rollback")

	var st struct {
		Live      int
		Instances []struct {
			Port    int
			Role    string
			Running bool
		}
	}
	s.json(&st, "status")
	running := 0
	for _, i := range st.Instances {
		if i.Running {
			running++
		}
	}
	if running > 2 {
		t.Errorf("status: %+v", st)
	}
	if out := s.must("status"); !strings.Contains(out, "deploy the new database") || !strings.Contains(out, file) {
		t.Errorf("status:\n%s", out)
	}
	if out := s.must("history", "--limit", "0"); !strings.Contains(out, "switch") || !strings.Contains(out, "refused") {
		t.Errorf("history:\n%s", out)
	}
	s.must("stop", "--all", "--yes")
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the old database: %v", err)
	}
	s.refused(3, []string{"migrate mongo start"}, "mongo", "status")
	if os.Getenv("MIGRATE_TEST_MONGO_URI") != "" {
		return // the rest is about the embedded server
	}
	s.env = slices.DeleteFunc(s.env, func(v string) bool { return strings.HasPrefix(v, "MIGRATE_MONGO_LISTEN=") })
	if out, want := s.must("mongo", "start"), fmt.Sprint(s.first+39); !strings.Contains(out, want) {
		t.Errorf("the embedded server did not come back on port %s: %s", want, out)
	}
}

// What is in the state folder is its owner's alone, whatever the umask; only
// nginx writes its log and its process number as it likes, in a closed folder.
func TestFilesAreTheirOwners(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o022)) // what most people have, and what the program inherits
	s := newSite(t)
	s.must("mongo", "start")
	s.must("nginx", "start")
	s.must("advance", "--until", "3", "--create")
	seen := map[string]bool{}
	err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) || d.Type() == os.ModeSymlink {
			return nil // put in place under another name meanwhile
		}
		if err != nil {
			return err
		}
		seen[d.Name()] = true
		if name := d.Name(); name == "nginx.pid" || name == "error.log" {
			return nil
		}
		allowed := fs.FileMode(0)
		if d.IsDir() && filepath.Dir(path) == filepath.Join(s.dir, "nginx", "routes") {
			allowed = 0o011 // empty folders, which nginx's workers walk to without reading
		}
		if open := info.Mode().Perm() & 0o077 &^ allowed; open != 0 {
			t.Errorf("%s: %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for _, name := range []string{"todo.sqlite", "todo.sqlite-wal", "state.json", "admin.sock", "nginx.conf", "ferretdb.sock"} {
		if !seen[name] {
			t.Errorf("%s was not looked at", name)
		}
	}
}

// A password is in no process list, log, journal, state or answer.
func TestPasswordsShowNowhere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const secret = "s3cr3t-w0rd"
	s.env = append(s.env, fmt.Sprintf("MIGRATE_MONGO_URI=mongodb://bill:%s@127.0.0.1:%d/?authSource=admin", secret, s.first+39))
	s.must("nginx", "start")
	out := s.must("spawn", "--port", strconv.Itoa(s.first), "--step", "1", "--json")
	out += s.must("switch", "--json") + s.must("status", "--json") + s.must("history", "--json")
	_, errs, _ := s.run("spawn", "--port", strconv.Itoa(s.first+1), "--step", "2") // no server is there: not ready or degraded, but never a leak
	out += errs
	b := &browser{t, s.url(), nil}
	out += string(b.do("GET", "/config", nil, 200))
	if strings.Contains(out, secret) {
		t.Errorf("an answer shows the password:\n%s", out)
	}
	err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), secret) {
			t.Errorf("%s holds the password", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), secret) {
			t.Errorf("%s shows the password: %s", path, b)
		}
	}
}
