package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// earlierWords is how the test's caller reads what an earlier version has kept.
func earlierWords(b []byte) (Databases, error) {
	var was struct{ File, Server, Called string }
	if err := json.Unmarshal(b, &was); err != nil {
		return Databases{}, err
	}
	if was.File == "" {
		return Databases{}, errors.New("no file")
	}
	return Databases{Old: "file:" + was.File, New: was.Server, Name: was.Called}, nil
}

func reading(c *Config) { c.Earlier = earlierWords }

// rename has the state file and the journal name the databases as an earlier
// version did.
func rename(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer(`"old": "file:`, `"file": "`, `"new": "`, `"server": "`, `"name": "todo"`, `"called": "todo"`,
			`"old":"file:`, `"file":"`, `"new":"`, `"server":"`, `"name":"todo"`, `"called":"todo"`, `"schema": 2`, `"schema": 1`).Replace(string(b))
		if text == string(b) {
			t.Fatalf("%s names no database: %s", path, b)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A state that an earlier version has written is read by its own words, and
// written anew in ours; so is one that is put together again from the journal.
func TestStateOfAnEarlierVersion(t *testing.T) {
	r := newRig(t)
	if err := spawnWith(t, r, 0, 1, "", testDatabases); err != nil {
		t.Fatal(err)
	}
	r.change()
	o := r.open(reading)
	before, err := o.Databases()
	if err != nil {
		t.Fatal(err)
	}
	rename(t, o.statePath(), o.journal.path)
	if _, err := r.open().Databases(); err == nil || !strings.Contains(err.Error(), "written by an earlier version") {
		t.Errorf("nobody can read it: %v", err)
	}
	after, err := o.Databases()
	if err != nil || after == nil || *after != *before {
		t.Fatalf("%+v, %v; want %+v", after, err, before)
	}
	if err := os.Remove(o.statePath()); err != nil {
		t.Fatal(err)
	}
	if after, err = o.Databases(); err != nil || after == nil || *after != *before {
		t.Fatalf("from the journal: %+v, %v; want %+v", after, err, before)
	}
	opts := spawnOptions(r.first+1, 2, "")
	opts.Databases, opts.Settings.ReadyTimeout = new(testDatabases), Duration(5*time.Second)
	if _, err := o.Spawn(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(o.statePath())
	if err != nil || !strings.Contains(string(b), `"old": "file:/data/old.db"`) || strings.Contains(string(b), `"called"`) || strings.Contains(string(b), "hunter2") {
		t.Errorf("%s, %v", b, err)
	}
}

func TestStateThatNobodyUnderstands(t *testing.T) {
	r := newRig(t)
	o := r.open(reading)
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"schema":1,"databases":{"called":"x"}}`: "no file",
		`{"schema":3}`: "written by a newer migrate (schema 3; this one knows 2)",
	} {
		if err := os.WriteFile(o.statePath(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := o.Status(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := os.Remove(o.statePath()); err != nil {
		t.Fatal(err)
	}
}

// The old database is taken over before anything is started, and a take-over that
// fails starts nothing.
func TestSpawnTakesOverFirst(t *testing.T) {
	r := newRig(t)
	opts := spawnOptions(r.first, 1, "")
	broken := errors.New("a view is in the way")
	opts.Adopt = func(context.Context) (*FirstContact, error) { return nil, broken }
	_, err := r.open().Spawn(t.Context(), opts)
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	st, err := r.open().Status(t.Context())
	if err != nil || len(st.Instances) != 0 {
		t.Errorf("%+v, %v", st.Instances, err)
	}
	called := 0
	opts.Adopt = func(context.Context) (*FirstContact, error) {
		called++
		return &FirstContact{Copy: "/data/old.db.copy", Rows: 3}, nil
	}
	got, err := r.open().Spawn(t.Context(), opts)
	if err != nil || got.First == nil || got.First.Rows != 3 || called != 1 {
		t.Errorf("%+v, %v, called %d times", got.First, err, called)
	}
	opts.DryRun = true
	opts.Port = r.first + 1
	if _, err := r.open().Spawn(t.Context(), opts); err != nil || called != 1 {
		t.Errorf("a dry run: %v, called %d times", err, called)
	}
}

// An instance is told the epoch of its spawn; one in the place of an active one
// that has died is told the same, whatever the epoch is then.
func TestARestartKeepsItsEpoch(t *testing.T) {
	r := newRig(t)
	epoch := int64(7)
	spawn := func(port, step int) Instance {
		t.Helper()
		opts := spawnOptions(r.first+port, step, "")
		opts.Epoch = func(context.Context) (int64, error) { return epoch, nil }
		opts.Env, opts.Unset = append(opts.Env, "KEPT=1"), []string{"LEFT_OUT"}
		got, err := r.open().Spawn(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		return got.Instance
	}
	t.Setenv("LEFT_OUT", "1")
	first := spawn(0, 1)
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", first.Process.PID))
	if err != nil {
		t.Skip("this system does not show an environment")
	}
	if s := string(env); !strings.Contains(s, "MIGRATE_FROM_EPOCH=7\x00") || strings.Contains(s, "LEFT_OUT") || !strings.Contains(s, "KEPT=1\x00") {
		t.Errorf("%q", s)
	}
	r.change()
	epoch = 9
	if err := syscall.Kill(first.Process.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for first.Process.Runs() {
		time.Sleep(5 * time.Millisecond)
	}
	if again := spawn(0, 1); again.FromEpoch != 7 {
		t.Errorf("restarted under epoch %d, want 7", again.FromEpoch)
	}
	if next := spawn(1, 2); next.FromEpoch != 9 {
		t.Errorf("the next step under epoch %d, want 9", next.FromEpoch)
	}
}

// A migration is forgotten only where nothing of it lives, and only at its first step.
func TestForget(t *testing.T) {
	r := newRig(t)
	if err := spawnWith(t, r, 0, 1, "", testDatabases); err != nil {
		t.Fatal(err)
	}
	r.change()
	o := r.open()
	worked := 0
	work := func(context.Context) error { worked++; return nil }
	refused(t, o.Forget(t.Context(), "adopt --undo", work), ErrUsage, "runs and has the old database open")
	refused(t, o.MayForget(t.Context()), ErrUsage, "runs and has the old database open")
	if _, err := o.StopAll(t.Context(), StopOptions{Yes: true}); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the disk is full")
	if err := o.Forget(t.Context(), "adopt --undo", func(context.Context) error { return broken }); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if d, err := o.Databases(); d == nil || err != nil {
		t.Errorf("a failure has forgotten them: %v", err)
	}
	if err := errors.Join(o.MayForget(t.Context()), o.Forget(t.Context(), "adopt --undo", work)); err != nil || worked != 1 {
		t.Fatalf("%v, worked %d times", err, worked)
	}
	for range 2 {
		if d, err := o.Databases(); d != nil || err != nil {
			t.Errorf("%+v, %v", d, err)
		}
		if err := os.Remove(o.statePath()); err != nil && !errors.Is(err, os.ErrNotExist) { // the journal knows it, too
			t.Fatal(err)
		}
	}
	other := testDatabases
	other.Old = "file:/data/other.db"
	if err := spawnWith(t, r, 0, 1, "", other); err != nil {
		t.Errorf("another migration: %v", err)
	}
}

func TestForgetBeyondTheFirstStep(t *testing.T) {
	r := newRig(t)
	r.spawn(0, 1, "")
	r.change()
	r.spawn(1, 2, "")
	r.change()
	refused(t, r.open().Forget(t.Context(), "adopt --undo", nil), ErrUsage, "last at step 2, and a migration is undone at step 1")
}
