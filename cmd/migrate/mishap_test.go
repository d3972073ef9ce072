package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What goes wrong in an operator's day: mistyped paths, a database that is
// down, a command that was cut off, a state file that is lost. Each time the
// service goes on, and the next command is the right one.
func TestMishaps(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	port := func(n int) string { return strconv.Itoa(s.first + n) }
	typo, file := filepath.Join(t.TempDir(), "tood.sqlite"), filepath.Join(t.TempDir(), "todo.sqlite")
	legacy(t, file)

	s.must("nginx", "start")
	s.refused(2, []string{typo, "--create"}, "spawn", "--step", "1", "--sqlite", typo)
	s.refused(2, []string{typo, "--create"}, "serve", "--port", port(0), "--sqlite", typo)
	if _, err := os.Stat(typo); err == nil {
		t.Error("a mistyped path has become an empty database")
	}
	empty := filepath.Join(t.TempDir(), "empty.sqlite")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.refused(1, []string{"can't be migrated", "no table tasks", "UTF-8"}, "serve", "--port", port(0), "--sqlite", empty)
	s.refused(4, []string{"no table tasks", "migrate adopt --dry-run"}, "spawn", "--step", "1", "--sqlite", empty)
	s.must("mongo", "start")
	out := s.must("spawn", "--step", "1", "--sqlite", file) // a failed spawn has pinned nothing
	if !strings.Contains(out, "4 rows taken over, 1 in quarantine") || !strings.Contains(out, ".before-migrate-") {
		t.Errorf("first contact is not told of:\n%s", out)
	}
	s.must("switch")
	s.refused(1, []string{"step 5", "--from-epoch"}, "serve", "--port", port(3), "--step", "5", "--sqlite", file)
	if out := s.must("switch", "--to", port(0)); !strings.Contains(out, "already") {
		t.Errorf("a switch to where traffic is:\n%s", out)
	}
	s.refused(2, []string{"migrate advance", "step 2"}, "backfill")

	s.must("mongo", "stop")
	s.refused(3, []string{"new database at mongodb://127.0.0.1:" + port(39), "migrate mongo start"}, "spawn", "--step", "2")
	s.must("mongo", "start")
	s.must("advance")
	s.refused(2, []string{"/nonexistent"}, "spawn", "--step", "3", "--", "/nonexistent")
	if out := s.must("status"); !strings.Contains(out, port(0)+" stands by") {
		t.Errorf("a spawn that was bound to fail has ended what stood by:\n%s", out)
	}

	// Another folder's migration with this new database is told at once.
	other := *s
	other.env = append(slices.Clone(s.env), "MIGRATE_DIR="+filepath.Join(t.TempDir(), "other"), "MIGRATE_MONGO_URI=mongodb://127.0.0.1:"+port(39)+"/")
	other.refused(2, []string{"of migration", "--new"}, "spawn", "--step", "1", "--port", port(20))
	s.refused(2, []string{"--first-port"}, "status", "--first-port", "70000")
	s.refused(2, []string{"--nginx-listen"}, "status", "--nginx-listen", "nonsense")
	s.refused(2, []string{"steps 1 to 8"}, "serve", "--step", "9")

	// The command was cut off while the previous instance drained.
	cutOff := func(phase string) {
		t.Helper()
		path := filepath.Join(s.dir, "journal.jsonl")
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.SplitAfter(b, []byte("\n"))
		last := len(lines) - 1
		for !bytes.Contains(lines[last], []byte(`"phase":"`+phase+`"`)) {
			last--
		}
		if err := os.WriteFile(path, slices.Concat(lines[:last+1]...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := &browser{t, s.url(), nil}
	for _, command := range []string{"advance", "switch"} {
		cutOff("drain")
		if s.must(command); b.step() != 2 {
			t.Fatalf("%s after one that was cut off on its way to step 2 leads to step %d", command, b.step())
		}
	}
	s.must("advance")
	s.must("rollback")
	cutOff("drain")
	if s.must("rollback"); b.step() != 2 {
		t.Fatalf("a repeated rollback to step 2 leads to step %d", b.step())
	}

	if err := os.Remove(filepath.Join(s.dir, "state.json")); err != nil {
		t.Fatal(err)
	}
	if out := s.must("status"); !strings.Contains(out, "Step 2 of 8") || !strings.Contains(out, "was missing") {
		t.Errorf("status without a state file:\n%s", out)
	}
	s.must("mongo", "status")
	s.must("stop", "--all", "--yes")
	s.refused(3, nil, "mongo", "status")
}

// Going on by itself must never replace a service of one's own by ours.
func TestAdvanceLeavesAServiceOfYourOwnAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.env = append(s.env, "MIGRATE_CREATE=true")
	s.must("nginx", "start")
	s.must("spawn", "--port", fmt.Sprint(s.first), "--step", "1", "--", "/usr/bin/env", s.bin, "serve", "--port", "{port}", "--step", "{step}")
	s.must("switch")
	again := "-- /usr/bin/env " + s.bin + " serve --port {port} --step {step}"
	s.refused(2, []string{"the service of your own", "next: migrate advance --drain-timeout 4s --until 3 " + again}, "advance", "--until", "3", "--drain-timeout", "4s")
	s.must("mongo", "start")
	s.env = append(s.env, fmt.Sprintf("MIGRATE_MONGO_URI=mongodb://127.0.0.1:%d/", s.first+39))
	if out := s.must("advance", "--", "/usr/bin/env", s.bin, "serve", "--port", "{port}", "--step", "{step}"); !strings.Contains(out, "Next: migrate advance "+again) {
		t.Errorf("advance names a next command that would be refused:\n%s", out)
	}
	if out := s.must("rollback"); !strings.Contains(out, "or migrate advance "+again) {
		t.Errorf("rollback names a next command that would be refused:\n%s", out)
	}
	s.must("advance") // takes what waits at step 2
	s.refused(2, []string{"next: migrate advance " + again}, "advance")
	s.must("stop", "--all", "--yes")
	if out := s.must("status"); !strings.Contains(out, "Next: migrate spawn --step 2 "+again) {
		t.Errorf("status names a next command that would be refused:\n%s", out)
	}
}

// A move that can't end well must not begin: without nginx, advance would end
// the fallback and start an instance for nothing.
func TestAdvanceWantsNginx(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.env = append(s.env, "MIGRATE_CREATE=true")
	s.refused(1, []string{"nginx is not running", "nothing was started", "migrate nginx start"}, "advance")
	s.refused(2, []string{"there is no migration in"}, "status") // it has left nothing behind
}

// Where two instances wait, status names the switch that each would take.
func TestStatusNamesASwitchThatWorks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.env = append(s.env, "MIGRATE_CREATE=true")
	s.must("nginx", "start")
	for _, way := range []string{"reload", "link"} {
		if out := s.must("nginx", "start", "--cutover", way); !strings.Contains(out, "Traffic moves by "+way+".\n") {
			t.Errorf("nginx start --cutover %s does not say so:\n%s", way, out)
		}
	}
	s.must("spawn", "--port", fmt.Sprint(s.first), "--step", "1")
	if out := s.must("status"); !strings.Contains(out, "Next: migrate switch\n") {
		t.Errorf("status with one that waits:\n%s", out)
	}
	s.must("spawn", "--port", fmt.Sprint(s.first+1), "--step", "1")
	want := fmt.Sprintf("Next: migrate switch --to %d, or migrate switch --to %d\n", s.first, s.first+1)
	if out := s.must("status"); !strings.Contains(out, want) {
		t.Errorf("status with two that wait does not say %q:\n%s", want, out)
	}
}

// Ctrl-C is what happened, not what it made fail on its way.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	file := filepath.Join(t.TempDir(), "todo.sqlite")
	legacy(t, file)
	s.must("mongo", "start")
	s.must("nginx", "start")
	interrupted := func(state string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, errs, code := s.runContext(ctx, args...)
		if code != 1 || !strings.Contains(errs, "migrate: interrupted\n  now:  "+state) || strings.Contains(errs, "context canceled") {
			t.Errorf("%q, interrupted: exit %d, want 1 and %q\n%s", args, code, state, errs)
		}
		var ops []struct {
			Outcome string
			Last    struct{ Error string }
		}
		s.json(&ops, "history", "--command", args[0], "--limit", "1")
		if len(ops) != 1 || ops[0].Outcome != "failed" || ops[0].Last.Error != "interrupted" {
			t.Errorf("%q in the journal: %+v", args, ops)
		}
	}
	interrupted("the new instance was ended; no instance is active", "spawn", "--step", "1", "--", "sleep", "60")
	s.must("advance", "--until", "3", "--sqlite", file)
	interrupted("1 records were copied", "backfill", "--rate", "0.1", "--batch", "1")
}
