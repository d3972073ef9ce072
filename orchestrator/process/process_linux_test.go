package process

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, args ...string) (Identity, string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	id, err := Start(Command{Args: args, Env: append(os.Environ(), "MARK="+log), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Stop(context.Background(), id, 0, func(string) {}); err != nil {
			t.Error(err)
		}
	})
	return id, log
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func TestStartIsDetached(t *testing.T) {
	id, log := start(t, "sh", "-c", "cat; echo out; echo err >&2; exec sleep 60")
	until(t, "nothing in the log", func() bool { return Tail(log, 5) == "out\nerr" }) // cat ended: nothing on stdin
	if sid, err := getsid(id.PID); err != nil || sid != id.PID {
		t.Errorf("session %d, %v; want its own, %d", sid, err, id.PID)
	}
	if info, err := os.Stat(log); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("log %v, %v", info.Mode(), err)
	}
	if !id.Alive() {
		t.Error("it does not live")
	}
	if _, err := Start(Command{Args: []string{"/no/such/program"}, Log: log}); err == nil {
		t.Error("a program that does not exist was started")
	}
}

func TestStopIsPolite(t *testing.T) {
	id, log := start(t, "sh", "-c", `trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done`)
	until(t, "it is not up", func() bool { return Tail(log, 1) == "up" })
	var said []string
	if err := Stop(t.Context(), id, 20*time.Second, func(s string) { said = append(said, s) }); err != nil {
		t.Fatal(err)
	}
	all := strings.Join(said, "; ")
	if !strings.Contains(all, "SIGTERM") || strings.Contains(all, "SIGKILL") || Tail(log, 1) != "bye" || id.Alive() {
		t.Errorf("said %q, log %q, alive %v", all, Tail(log, 5), id.Alive())
	}
}

func TestStopKillsAfterTheGrace(t *testing.T) {
	// The child in its group is as stubborn.
	id, log := start(t, "sh", "-c", `trap '' TERM; sleep 60 & echo $!; while :; do sleep 0.05; done`)
	until(t, "it is not up", func() bool { return Tail(log, 1) != "" })
	var said []string
	if err := Stop(t.Context(), id, 100*time.Millisecond, func(s string) { said = append(said, s) }); err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(said, "; "); !strings.Contains(all, "SIGKILL") || id.Alive() || id.Runs() {
		t.Errorf("said %q, alive %v, orphans %v", all, id.Alive(), id.Runs())
	}
}

func TestStopTakesTheGroup(t *testing.T) {
	// The shell dies of SIGTERM at once, what it started does not.
	id, log := start(t, "sh", "-c", `(trap '' TERM; echo up; while :; do sleep 0.05; done) & wait`)
	until(t, "it is not up", func() bool { return Tail(log, 1) == "up" })
	if err := Stop(t.Context(), id, 200*time.Millisecond, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if id.Runs() {
		t.Error("its child was left")
	}
}

func TestStrangerIsNotSignalled(t *testing.T) {
	stranger := exec.Command("sleep", "60")
	stranger.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Process.Kill(); _ = stranger.Wait() }()
	now, err := Identify(stranger.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, remembered := range []Identity{
		{PID: now.PID, Started: "1" + now.Started, Boot: now.Boot},
		{PID: now.PID, Started: now.Started, Boot: "an earlier one"},
		{PID: now.PID},
	} {
		if err := Stop(t.Context(), remembered, 0, func(string) {}); err != nil {
			t.Error(err)
		}
		if remembered.Alive() || !now.Alive() {
			t.Fatalf("%+v was taken for %+v", remembered, now)
		}
	}
	if err := Stop(t.Context(), now, 20*time.Second, func(string) {}); err != nil || now.Alive() { // else this proves nothing
		t.Errorf("by its right name it is not stopped: %v", err)
	}
}

func TestZombieIsNotAlive(t *testing.T) {
	id, _ := start(t, "sh", "-c", "exit 7")
	until(t, "it lives on", func() bool {
		how, exited := Exited(id)
		if exited && how != "exit status 7" {
			t.Errorf("it ended by %q", how)
		}
		return exited
	})
	if _, err := Identify(id.PID); !errors.Is(err, ErrGone) {
		t.Errorf("it was not reaped: %v", err)
	}
	killed, _ := start(t, "sh", "-c", "kill -9 $$")
	until(t, "it lives on", func() bool {
		how, exited := Exited(killed)
		return exited && how == "killed"
	})
	other := exec.Command("true") // not yet reaped
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	oid, err := Identify(other.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "it lives on", func() bool { _, zombie, err := look(oid.PID); return zombie || err != nil })
	if oid.Alive() {
		t.Error("a zombie looks alive")
	}
	_ = other.Wait()
}

func TestStopGivesUpWithItsContext(t *testing.T) {
	id, log := start(t, "sh", "-c", `trap '' TERM; echo up; while :; do sleep 0.05; done`)
	until(t, "it is not up", func() bool { return Tail(log, 1) == "up" })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Stop(ctx, id, time.Minute, func(string) {}); !errors.Is(err, context.Canceled) || !id.Alive() {
		t.Errorf("%v, alive %v", err, id.Alive())
	}
}

func TestFind(t *testing.T) {
	id, log := start(t, "sleep", "60")
	var got []Identity
	until(t, "it is not found", func() bool { got = Find("MARK=" + log); return len(got) > 0 })
	if len(got) != 1 || got[0] != id {
		t.Errorf("found %v, want %v", got, id)
	}
	if got := Find("MARK=" + log[:len(log)-1]); len(got) != 0 {
		t.Errorf("part of a value found %v", got)
	}
}

func TestRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, text := range []string{"1", "2", "3", "4", "5"} {
		if err := Rotate(path, 3); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"log": "5", "log.1": "4", "log.2": "3", "log.3": "2", "log.4": ""} {
		b, _ := os.ReadFile(filepath.Join(filepath.Dir(path), name))
		if string(b) != want {
			t.Errorf("%s holds %q, want %q", name, b, want)
		}
	}
}

func getsid(pid int) (int, error) {
	s, err := readStat(pid)
	return s.session, err
}
