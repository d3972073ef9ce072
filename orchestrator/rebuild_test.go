package orchestrator

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"migrate.invalid/migrate/app/redact"
)

var testDatabases = Databases{Old: "file:/data/old.db", New: "db://bill:hunter2@h1:1/?x=1", Name: "todo"}

func spawnWith(t *testing.T, r *rig, n, step int, ctl string, d Databases) error {
	t.Helper()
	opts := spawnOptions(r.first+n, step, ctl)
	opts.Databases, opts.Settings.ReadyTimeout = &d, Duration(5*time.Second)
	_, err := r.open().Spawn(t.Context(), opts)
	return err
}

// A state file that is lost takes nothing with it: neither instances nor
// daemons, neither the databases nor where the service stands.
func TestStateIsFoundAgain(t *testing.T) {
	r := newRig(t)
	o := r.open()
	exe, _ := os.Executable()
	mongo := DaemonOptions{Name: "mongo", Command: []string{exe}, Env: []string{"TEST_PART=instance", "TEST_CTL=noadmin=1", "PORT=0"}}
	d, err := o.StartDaemon(t.Context(), mongo)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.StopDaemon(context.Background(), "mongo"); err != nil {
			t.Error(err)
		}
	})
	for step := 1; step <= 3; step++ {
		if err := spawnWith(t, r, step-1, step, "", testDatabases); err != nil {
			t.Fatal(err)
		}
		r.change()
	}
	before, err := o.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lose := func() {
		if err := os.Remove(o.statePath()); err != nil {
			t.Fatal(err)
		}
	}
	lose()
	after, err := o.Status(t.Context())
	if err != nil || len(after.Instances) != 2 || after.Instances[1].Role != RoleFallback && after.Instances[1].Role != RoleActive ||
		len(after.Warnings) != 1 || !strings.Contains(after.Warnings[0], "was missing") {
		t.Fatalf("%+v, %v", after, err)
	}
	for n, i := range after.Instances {
		if i.Process != before.Instances[n].Process || !i.Admin || i.ID != before.Instances[n].ID {
			t.Errorf("port %d: %+v, was %+v", i.Port, i.Instance, before.Instances[n].Instance)
		}
	}
	if after.Databases == nil || *after.Databases != *before.Databases || after.LastSwitch == nil || after.LastSwitch.Step != 3 {
		t.Errorf("%+v, %+v", after.Databases, after.LastSwitch)
	}
	if again, err := o.StartDaemon(t.Context(), mongo); err != nil || again.Process != d.Process {
		t.Errorf("the daemon that runs is a stranger: %+v, %v", again, err)
	}
	lose()
	elsewhere := testDatabases
	elsewhere.Old = "file:/typo.db"
	refused(t, spawnWith(t, r, 0, 4, "", elsewhere), ErrUsage, "the old one is file:/data/old.db")
	if err := spawnWith(t, r, 0, 4, "", testDatabases); err != nil {
		t.Fatal(err)
	}
	lose()
	got, err := o.StopAll(t.Context(), StopOptions{Yes: true})
	if err != nil || !slices.Equal(got.Stopped, []int{r.first, r.first + 2}) {
		t.Errorf("%+v, %v", got, err)
	}
	lose() // nothing runs any more: the journal still knows the step
	_, err = o.Spawn(t.Context(), spawnOptions(r.first, 1, ""))
	refused(t, err, ErrUsage, "last at step 3")
}

func TestStateThatCannotBeHad(t *testing.T) {
	r := newRig(t)
	o := r.open()
	r.spawn(0, 1, "")
	r.change()
	if err := os.WriteFile(o.statePath(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := o.StopAll(t.Context(), StopOptions{Yes: true})
	if p := (*Problem)(nil); !errors.As(err, &p) || !strings.Contains(p.Next, "move the file away") {
		t.Fatalf("got %v", err)
	}
	record := filepath.Join(o.instanceDir(r.first), recordFile)
	good, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(o.statePath()), os.WriteFile(record, []byte("{"), 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err = o.Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), record) {
		t.Errorf("a record that can't be read: %v", err)
	}
	// Nothing is left but the link: whoever has the traffic must not lose the
	// proxy while nobody can end it.
	if err := errors.Join(os.Remove(record), os.Remove(o.journal.path)); err != nil {
		t.Fatal(err)
	}
	_, err = o.StopAll(t.Context(), StopOptions{Yes: true})
	refused(t, err, ErrUsage, "no instance of ours is known")
	if err := os.WriteFile(record, good, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFailedSpawnPinsNothing(t *testing.T) {
	r := newRig(t)
	typo := testDatabases
	typo.Old = "file:/typo.db"
	if err := spawnWith(t, r, 0, 1, "die=a typo", typo); !errors.Is(err, ErrNotReady) {
		t.Fatal(err)
	}
	if d, err := r.open().Databases(); d != nil || err != nil {
		t.Errorf("remembered %+v, %v", d, err)
	}
	if err := spawnWith(t, r, 0, 1, "", testDatabases); err != nil {
		t.Fatal(err)
	}
	refused(t, spawnWith(t, r, 0, 1, "", typo), ErrUsage, "taken")
	refused(t, spawnWith(t, r, 1, 1, "", typo), ErrUsage, "remembered")
}

// Until an instance that holds the new database has had traffic, another may take
// its place; then it is fixed, and going back to step 1 does not release it.
func TestNewDatabaseIsFixedByTraffic(t *testing.T) {
	r := newRig(t)
	open := Databases{Old: "file:/data/old.db", Untouched: true} // nobody has named a new one
	named := open
	named.New, named.Name = "mongodb://first:1/", "todo"
	held := testDatabases
	want := func(d Databases) {
		t.Helper()
		d.New = redact.URI(d.New)
		if got, err := r.open().Databases(); err != nil || got == nil || *got != d {
			t.Fatalf("remembered %+v (%v), want %+v", got, err, d)
		}
	}
	for n, d := range []Databases{open, named, open} {
		if err := spawnWith(t, r, n, 1, "", d); err != nil {
			t.Fatal(err)
		}
		want(d)
		r.change()
	}
	elsewhere := open
	elsewhere.Old = "file:/data/other.db"
	refused(t, spawnWith(t, r, 3, 1, "", elsewhere), ErrUsage, "the old one is file:/data/old.db, not file:/data/other.db")
	// One that has had no traffic fixes nothing.
	mistyped := held
	mistyped.New, mistyped.Untouched = "mongodb://h8:8/", true
	if err := spawnWith(t, r, 3, 2, "", mistyped); err != nil {
		t.Fatal(err)
	}
	want(mistyped)
	if err := spawnWith(t, r, 0, 2, "", held); err != nil {
		t.Fatal(err)
	}
	r.change()
	want(held)
	elsewhere = held
	elsewhere.New = "mongodb://h9:9/"
	refused(t, spawnWith(t, r, 1, 2, "", elsewhere), ErrUsage, "the new one is", "mongodb://h9:9/")
	// What proves that it is the same one is believed, and remembered as it is named.
	opts := spawnOptions(r.first+1, 2, "")
	opts.Databases = &elsewhere
	for _, proven := range []error{errors.New("of another migration"), nil} {
		opts.Same = func(_ context.Context, d Difference) error {
			if d.Old || !d.New || d.Was.New != redact.URI(held.New) {
				t.Errorf("asked about %+v", d)
			}
			return proven
		}
		if _, err := r.open().Spawn(t.Context(), opts); !errors.Is(err, proven) {
			t.Fatalf("%v, want %v", err, proven)
		}
	}
	want(elsewhere)
	held = elsewhere
	elsewhere.New = "mongodb://h7:7/"
	elsewhere.Untouched = true
	refused(t, spawnWith(t, r, 2, 1, "", elsewhere), ErrUsage, "the new one is")
	back := held
	back.Untouched = true // as whoever starts step 1 says
	if err := spawnWith(t, r, 2, 1, "", back); err != nil {
		t.Fatal(err)
	}
	want(held)
}

// The lock is a file, and a file can be removed: what is at work is then still
// not settled by the next one.
func TestLockFileRemoved(t *testing.T) {
	r := newRig(t)
	r.spawn(0, 1, "")
	r.change()
	r.spawn(1, 2, "")
	do := task{Do: "switch", Stop: "after move", Points: filepath.Join(t.TempDir(), "points")}
	tool, wait := r.start(do)
	o := r.open()
	if err := os.Remove(o.lockPath()); err != nil {
		t.Fatal(err)
	}
	_, err := o.Switch(t.Context(), SwitchOptions{})
	refused(t, err, ErrLocked, "lock file")
	if s, err := o.Status(t.Context()); err != nil || len(s.Warnings) != 0 {
		t.Errorf("what is at work is told as cut off: %q, %v", s.Warnings, err)
	}
	resume(t, tool)
	if err := wait(); err != nil {
		t.Error(err)
	}
	r.links(r.first+1, r.first)
	r.next()
}
