package orchestrator

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// An instance that does not answer, since its database is down, hides no other.
func TestStatusBesideOneThatHangs(t *testing.T) {
	r := newRig(t)
	hangs := r.spawn(0, 1, "").Instance.Process.PID
	r.change()
	r.spawn(1, 2, "")
	if err := syscall.Kill(hangs, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var stopped syscall.WaitStatus
	if _, err := syscall.Wait4(hangs, &stopped, syscall.WUNTRACED, nil); err != nil || !stopped.Stopped() {
		t.Fatalf("it did not stop: %v %v", stopped, err)
	}
	s, err := r.open().Status(t.Context())
	resume(t, hangs)
	if err != nil || len(s.Instances) != 2 || s.Instances[0].Ready || !s.Instances[1].Ready || s.Instances[1].Told == nil {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestDoubts(t *testing.T) {
	r := newRig(t)
	first := r.spawn(0, 1, "").Instance.Process.PID
	r.change()
	second := r.spawn(1, 2, "").Instance.Process.PID
	r.change()
	says := func(want string) {
		t.Helper()
		s, err := r.open().Status(t.Context())
		if err != nil || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], want) {
			t.Errorf("warnings %q, %v; want %q", s.Warnings, err, want)
		}
	}
	link := filepath.Join(r.traffic.dir, "live")
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	says("traffic is sent nowhere")
	if _, err := r.open().Switch(t.Context(), SwitchOptions{To: r.first + 1}); err != nil { // as it says
		t.Fatal(err)
	}
	r.links(r.first+1, 0)
	if err := r.traffic.write("fallback", r.first); err != nil {
		t.Fatal(err)
	}
	killHard(t, second)
	says("migrate switch makes it active")
	killHard(t, first)
	says("migrate spawn --port") // nobody stands by any more
}

func TestLookingMakesNoFolder(t *testing.T) {
	r := newRig(t)
	o := r.open()
	if s, err := o.Status(t.Context()); err != nil || len(s.Instances) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := o.Gates(t.Context()); err == nil {
		t.Error("gates without an instance")
	}
	opts := spawnOptions(r.first, 1, "")
	opts.DryRun = true
	if _, err := o.Spawn(t.Context(), opts); err != nil {
		t.Error(err)
	}
	if exists(r.dir) {
		t.Error("to look has made the state folder")
	}
}
