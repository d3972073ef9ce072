package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWalk(t *testing.T) {
	r := newRig(t)
	databases := Databases{Old: "file:/data/old.db", New: "db://bill:hunter2@h1:1,h2:2/?x=1", Name: "todo"}
	opts := spawnOptions(r.first, 1, "")
	opts.Databases = &databases
	if _, err := r.open().Spawn(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	r.links(0, 0)
	first := r.change()
	if first.Previous != 0 || first.Port != r.first || first.Step != 1 || first.Fallback != 0 {
		t.Errorf("the first switch says %+v", first)
	}
	r.links(r.first, 0)

	for step := 2; step <= 8; step++ {
		port, before := r.first+(step-1)%3, r.first+(step-2)%3
		got := r.spawn((step-1)%3, step, "")
		if step > 2 && !slices.Equal(got.Retired, []int{r.first + step%3}) {
			t.Errorf("step %d: retired %v, want the one that stood by", step, got.Retired)
		}
		r.links(before, 0)
		done := r.change()
		if done.Port != port || done.Previous != before || !done.Drained || done.Fallback != before || done.Pending != 0 || done.PendingBefore != 7 {
			t.Errorf("step %d: %+v", step, done)
		}
		r.links(port, before)
		asked := r.asked(port)
		if !slices.Contains(asked, "/prepare") {
			t.Errorf("step %d was not asked to prepare: %v", step, asked)
		}
		if want := step >= 5 && step <= 7; slices.Contains(asked, "/advance") != want {
			t.Errorf("step %d: asked %v, want advance %v", step, asked, want)
		}
		if step >= 6 { // at its own switch, and again for the gates of this one
			if n := countOf(r.asked(before), "/advance"); n != 2 {
				t.Errorf("to step %d: the active instance was asked to advance %d times, want 2", step, n)
			}
		}
	}
	for step := 7; step >= 4; step-- { // and back
		r.spawn((9-step)%3, step, "gate=backwards has no gates")
		if done := r.change(); done.Step != step || len(done.Gates) != 0 {
			t.Errorf("back to step %d: %+v", step, done)
		}
	}

	s, err := r.open().Status(t.Context())
	if err != nil || len(s.Instances) != 2 || len(s.Warnings) != 0 || s.LastSwitch.Step != 4 || s.Databases.Old != "file:/data/old.db" {
		t.Errorf("status %+v, %v", s, err)
	}
	for _, i := range s.Instances {
		if !i.Running || !i.Ready || i.Told == nil || i.Role == RoleNext {
			t.Errorf("instance %+v", i)
		}
	}
	ops, torn, err := r.open().History(0)
	if err != nil || torn != 0 || len(ops) != 2*(8+4) {
		t.Errorf("history: %d operations, %d torn, %v", len(ops), torn, err)
	}
	for _, op := range ops {
		if op.Outcome != phaseDone || op.Who == "" || op.Took <= 0 {
			t.Errorf("operation %+v", op)
		}
	}
	noPasswords(t, r.dir)

	opts = spawnOptions(0, 4, "")
	opts.Databases = &Databases{Old: "file:/data/other.db", New: databases.New, Name: "todo"}
	_, err = r.open().Spawn(t.Context(), opts)
	refused(t, err, ErrUsage, "/data/old.db", "/data/other.db")
}

func countOf(all []string, what string) (n int) {
	for _, s := range all {
		if s == what {
			n++
		}
	}
	return n
}

func noPasswords(t *testing.T, dir string) {
	t.Helper()
	seen := 0
	for _, name := range []string{"state.json", "journal.jsonl"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "hunter2") {
			t.Errorf("%s holds a password", name)
		}
		seen += strings.Count(string(b), "xxxxx@")
		if info, _ := os.Stat(filepath.Join(dir, name)); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	if seen == 0 {
		t.Error("no redacted password was seen: this proves nothing")
	}
}

func TestSpawnRefusals(t *testing.T) {
	r := newRig(t)
	o := r.open()
	try := func(port, step int, says ...string) {
		t.Helper()
		_, err := o.Spawn(t.Context(), spawnOptions(port, step, ""))
		refused(t, err, ErrUsage, says...)
	}
	try(r.first, 0, "step 0 does not exist")
	try(r.first, 9, "step 9 does not exist")
	try(r.first, 3, "the first instance is at step 1")
	try(r.first+4, 1, "the proxy knows ports")
	try(99999, 1, "99999 is no port")
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", r.first+3))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	try(r.first+3, 1, "not ours")
	if _, err := o.Spawn(t.Context(), SpawnOptions{Step: 1}); !errors.Is(err, ErrUsage) {
		t.Errorf("no command: %v", err)
	}

	r.spawn(0, 1, "")
	try(r.first, 1, "taken by our instance at step 1")
	try(r.first+1, 3, "more than one away from step 1")
	if got := r.spawn(1, 1, ""); got.Next != fmt.Sprintf("migrate switch --to %d", r.first+1) {
		t.Errorf("beside one that waits, too: next is %q", got.Next)
	}
	try(r.first+2, 1, "neither is active")
	if _, err := o.Switch(t.Context(), SwitchOptions{}); err == nil {
		t.Error("a switch chose between two")
	}
	if _, err := o.Switch(t.Context(), SwitchOptions{To: r.first}); err != nil {
		t.Fatal(err)
	}
	try(r.first+2, 3, "more than one away")

	// Nothing of it reached the processes, and a dry run doesn't either.
	opts := spawnOptions(0, 2, "")
	opts.DryRun = true
	got, err := o.Spawn(t.Context(), opts)
	if err != nil || got.Instance.Port != r.first+2 || !slices.Equal(got.Retired, []int{r.first + 1}) {
		t.Errorf("dry run: %+v, %v", got, err)
	}
	if s, _ := o.Status(t.Context()); len(s.Instances) != 2 {
		t.Errorf("%d instances, want 2", len(s.Instances))
	}

	// After everything has stopped, the service goes on where it was.
	if _, err := o.StopAll(t.Context(), StopOptions{}); !errors.Is(err, ErrUsage) {
		t.Errorf("stop --all took the active one: %v", err)
	}
	if _, err := o.StopAll(t.Context(), StopOptions{Yes: true}); err != nil {
		t.Fatal(err)
	}
	r.links(0, 0)
	try(r.first, 3, "was last at step 1")
	opts = spawnOptions(r.first, 3, "")
	opts.Force = []string{"step"}
	if _, err := o.Spawn(t.Context(), opts); err != nil {
		t.Errorf("forced: %v", err)
	}
}

func TestSpawnNotReady(t *testing.T) {
	for _, c := range []struct{ name, ctl, says string }{
		{"dies", "die=a broken heart", "this instance dies of a broken heart"},
		{"never ready", "unready=the fence says new", "the fence says new"},
		{"another step", "lie=5", "is at step 5, not 1"},
		{"another build", "", "is build v1, not v2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			opts := spawnOptions(r.first, 1, c.ctl)
			opts.Settings.ReadyTimeout = Duration(2 * time.Second)
			if c.ctl == "" {
				opts.Build = "v2"
			}
			began := time.Now()
			_, err := r.open().Spawn(t.Context(), opts)
			refused(t, err, ErrNotReady, c.says)
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the error holds a password")
			}
			if c.name == "dies" && time.Since(began) > time.Duration(opts.Settings.ReadyTimeout) {
				t.Error("an early death was waited for")
			}
			if err := bindable(r.first); err != nil {
				t.Errorf("what was started still runs: %v", err)
			}
			if s, err := r.open().Status(t.Context()); err != nil || len(s.Instances) != 0 || s.Unfinished != nil {
				t.Errorf("status %+v, %v", s, err)
			}
		})
	}
}

func TestSpawnInterrupted(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	o := r.open(func(c *Config) {
		c.Progress = func(e Event) {
			if e.Phase == phaseStarted {
				cancel()
			}
		}
	})
	_, err := o.Spawn(ctx, spawnOptions(r.first, 1, "unready=never"))
	refused(t, err, ErrNotReady, "context canceled")
	if err := bindable(r.first); err != nil {
		t.Errorf("what was started still runs: %v", err)
	}
}

func TestServiceWithoutAdmin(t *testing.T) {
	r := newRig(t)
	for n, step := range []int{1, 2} {
		got := r.spawn(n, step, "noadmin=1,noconfig=1")
		if all := strings.Join(got.Warnings, "; "); !strings.Contains(all, "no admin socket") || !strings.Contains(all, "can't be checked") {
			t.Errorf("warnings %q", all)
		}
		done := r.change()
		if all := strings.Join(done.Warnings, "; "); step == 2 && !strings.Contains(all, "without gates") {
			t.Errorf("warnings %q", all)
		}
		if done.Drained || step == 2 && done.Fallback != r.first {
			t.Errorf("a drain that can't be seen: %+v", done)
		}
	}
	r.links(r.first+1, r.first)
	_, err := r.open().Gates(t.Context())
	refused(t, err, ErrUsage, "no admin socket")
	if ops, _, _ := r.open().History(1); !strings.Contains(ops[0].Last.Detail, "can't be seen") {
		t.Errorf("the journal says %q", ops[0].Last.Detail)
	}
}

func TestDeepFolder(t *testing.T) {
	r := newRig(t)
	r.dir = filepath.Join(r.dir, strings.Repeat("deep/", 30))
	got := r.spawn(0, 1, "")
	if len(got.Instance.Socket) <= 107 {
		t.Fatalf("the path has only %d bytes", len(got.Instance.Socket))
	}
	if len(got.Warnings) != 0 || !got.Instance.Admin {
		t.Errorf("the admin socket was not reached: %+v", got)
	}
}

func TestNewerState(t *testing.T) {
	r := newRig(t)
	o := r.open()
	b, _ := json.Marshal(State{Schema: stateSchema + 1})
	if err := errors.Join(os.Mkdir(r.dir, 0o700), os.WriteFile(o.statePath(), b, 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err := o.Spawn(t.Context(), spawnOptions(r.first, 1, ""))
	refused(t, err, ErrUsage, "newer migrate")
	if err := os.Remove(o.statePath()); err != nil {
		t.Fatal(err)
	}
}

func TestStop(t *testing.T) {
	r := newRig(t)
	o := r.open(func(c *Config) { c.Timeouts.Grace = 300 * time.Millisecond })
	r.spawn(0, 1, "")
	r.change()
	r.spawn(1, 2, "stubborn=1")
	r.change()
	r.links(r.first+1, r.first)

	_, err := o.Stop(t.Context(), StopOptions{Port: r.first + 1})
	refused(t, err, ErrUsage, "active")
	_, err = o.Stop(t.Context(), StopOptions{Port: r.first + 2})
	refused(t, err, ErrUsage, "no instance of ours")
	if _, err := o.Stop(t.Context(), StopOptions{Port: r.first}); err != nil {
		t.Fatal(err)
	}
	r.links(r.first+1, 0)
	r.events = nil
	if _, err := o.Stop(t.Context(), StopOptions{Port: r.first + 1, Yes: true}); err != nil {
		t.Fatal(err)
	}
	r.links(0, 0)
	if !slices.ContainsFunc(r.events, func(e Event) bool { return strings.Contains(e.Detail, "SIGKILL") }) {
		t.Errorf("no SIGKILL was reported: %+v", r.events)
	}
	if err := bindable(r.first + 1); err != nil {
		t.Errorf("it still runs: %v", err)
	}
}

// The one that stands by is not ended unasked, either, once clients reach it alone.
func TestStopWhileTheFallbackServes(t *testing.T) {
	r := newRig(t)
	r.spawn(0, 1, "")
	r.change()
	active := r.spawn(1, 2, "")
	r.change()
	killHard(t, active.Instance.Process.PID)
	_, err := r.open().Stop(t.Context(), StopOptions{Port: r.first})
	refused(t, err, ErrUsage, "serves alone, since the active one has ended")
	_, err = r.open().StopAll(t.Context(), StopOptions{})
	refused(t, err, ErrUsage, "serves alone, since the active one has ended")
	if got, err := r.open().Stop(t.Context(), StopOptions{Port: r.first + 1}); err != nil || len(got.Stopped) != 1 {
		t.Errorf("the one that has ended: %+v, %v", got, err)
	}
	if got, err := r.open().Stop(t.Context(), StopOptions{Port: r.first, Yes: true}); err != nil || len(got.Stopped) != 1 {
		t.Errorf("asked to: %+v, %v", got, err)
	}
}

func TestDaemon(t *testing.T) {
	r := newRig(t)
	o := r.open()
	exe, _ := os.Executable()
	opts := DaemonOptions{Name: "mongo", Command: []string{exe}, Timeout: 20 * time.Second,
		Env: []string{"TEST_PART=instance", "TEST_CTL=noadmin=1", fmt.Sprintf("PORT=%d", r.first)},
		Ready: func(ctx context.Context) error {
			if ok, why := ready(ctx, r.first, "/readyz"); !ok {
				return errors.New(why)
			}
			return nil
		}}
	d, err := o.StartDaemon(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	again, err := o.StartDaemon(t.Context(), opts)
	if err != nil || again.Process != d.Process {
		t.Errorf("a second start: %+v, %v", again, err)
	}
	if _, running, err := o.DaemonStatus("mongo"); !running || err != nil {
		t.Errorf("running %v, %v", running, err)
	}
	needed := errors.New("somebody needs it")
	if err := o.StopDaemon(t.Context(), "mongo", func(context.Context) error { return needed }); !errors.Is(err, needed) || !d.Process.Alive() {
		t.Errorf("refused: %v; it runs: %v", err, d.Process.Alive())
	}
	if err := o.StopDaemon(t.Context(), "mongo"); err != nil || d.Process.Alive() {
		t.Errorf("stopped: %v, alive %v", err, d.Process.Alive())
	}
	opts.Env = append(opts.Env, "TEST_CTL=die=a cold")
	if _, err := o.StartDaemon(t.Context(), opts); !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "a cold") {
		t.Errorf("a daemon that dies: %v", err)
	}
}
