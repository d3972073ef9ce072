package orchestrator

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"migrate.invalid/migrate/orchestrator/process"
)

// task is what a tool that is to be killed is told, in its environment.
type task struct {
	Dir, Traffic, URL string
	First             int
	Do                string // spawn or switch
	Port, Step        int
	Die               string // the point, see Orchestrator.hook; empty: none
	Stop              string // the point that it stops at, until it is resumed
	Points            string // file that the points passed are written to
}

// runTool is the tool in a process of its own, which kills itself.
func runTool() {
	var do task
	if err := json.Unmarshal([]byte(os.Getenv("TEST_TASK")), &do); err != nil {
		panic(err)
	}
	o, err := Open(Config{Dir: do.Dir, Traffic: fileTraffic{do.Traffic, do.URL}, FirstPort: do.First, Ports: 4, Timeouts: testTimeouts})
	if err != nil {
		panic(err)
	}
	points, err := os.OpenFile(do.Points, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	o.hook = func(point string) {
		fmt.Fprintln(points, point)
		if point == do.Die {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		if point == do.Stop {
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		}
	}
	switch do.Do {
	case "spawn":
		_, err = o.Spawn(context.Background(), spawnOptions(do.Port, do.Step, ""))
	case "switch":
		_, err = o.Switch(context.Background(), SwitchOptions{To: do.Port})
	case "stop":
		_, err = o.Stop(context.Background(), StopOptions{Port: do.Port, Yes: true})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// tool runs a command in another process; killed reports that it died as told.
func (r *rig) tool(do task) (killed bool) {
	r.t.Helper()
	cmd := r.toolCommand(do)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() && status.Signal() == syscall.SIGKILL {
		return true
	}
	r.t.Fatalf("the tool failed: %v\n%s", err, out)
	return false
}

func (r *rig) toolCommand(do task) *exec.Cmd {
	do.Dir, do.Traffic, do.URL, do.First = r.dir, r.traffic.dir, r.traffic.url, r.first
	b, _ := json.Marshal(do)
	exe, _ := os.Executable()
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "TEST_PART=tool", "TEST_TASK="+string(b))
	return cmd
}

// start runs a command in another process and returns once it has stopped at
// its point.
func (r *rig) start(do task) (pid int, wait func() error) {
	r.t.Helper()
	cmd := r.toolCommand(do)
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		r.t.Fatalf("it did not stop: %v %v", status, err)
	}
	r.t.Cleanup(func() { _ = cmd.Process.Kill() }) // no effect on one that was waited for
	return cmd.Process.Pid, cmd.Wait
}

func resume(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// points runs a command to its end and returns the points that it passed.
func points(t *testing.T, prepare func(*rig) task) []string {
	r := newRig(t)
	do := prepare(r)
	do.Points = filepath.Join(t.TempDir(), "points")
	if r.tool(do) {
		t.Fatal("it was killed, though not told to")
	}
	b, err := os.ReadFile(do.Points)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(strings.ReplaceAll(string(b), " ", "_"))
}

// everyPoint kills the command at each point in turn, and has the next command
// look at what is left.
func everyPoint(t *testing.T, prepare func(*rig) task, sound func(t *testing.T, r *rig, do task, point string)) {
	if testing.Short() {
		t.Skip("some fifty processes; without -short")
	}
	all := points(t, prepare)
	if len(all) < 4 {
		t.Fatalf("only %d points: %v", len(all), all)
	}
	for _, point := range all {
		t.Run(point, func(t *testing.T) {
			r := newRig(t)
			do := prepare(r)
			do.Points, do.Die = filepath.Join(t.TempDir(), "points"), strings.ReplaceAll(point, "_", " ")
			if !r.tool(do) {
				t.Fatal("it was not killed")
			}
			sound(t, r, do, point)
		})
	}
}

// next runs a command that changes nothing itself, and checks that nothing is
// left open.
func (r *rig) next() {
	r.t.Helper()
	o := r.open()
	if err := o.Exclusive(r.t.Context(), "look", func(context.Context) error { return nil }); err != nil {
		r.t.Fatalf("the next command: %v", err)
	}
	s, err := o.Status(r.t.Context())
	if err != nil || s.Unfinished != nil {
		r.t.Errorf("left open: %+v, %v", s.Unfinished, err)
	}
}

func TestSwitchKilledAnywhere(t *testing.T) {
	prepare := func(r *rig) task {
		r.spawn(0, 1, "")
		r.change()
		r.spawn(1, 2, "")
		return task{Do: "switch", Port: r.first + 1}
	}
	unsound := 0 // before the next command, or this test proves nothing
	everyPoint(t, prepare, func(t *testing.T, r *rig, do task, point string) {
		moved, _ := r.traffic.Live()
		if standing, _ := r.traffic.Fallback(); moved == do.Port && standing != r.first {
			unsound++
		}
		if status, _, err := get(t.Context(), r.traffic.url+"/work"); status != http.StatusOK || err != nil {
			t.Errorf("traffic is not served: %d %v", status, err)
		}
		r.next()
		switch live, _ := r.traffic.Live(); {
		case live != moved:
			t.Errorf("traffic was on port %d and is on %d, though both instances are well", moved, live)
		case live == do.Port:
			r.links(do.Port, r.first) // finished: the previous one is drained and stands by
		default:
			r.links(r.first, 0)
			r.change() // it can be had again
			r.links(do.Port, r.first)
		}
	})
	if unsound == 0 {
		t.Error("no kill left the previous instance undrained")
	}
}

func TestSwitchKilledAndTheNextInstanceDead(t *testing.T) {
	t.Run("proxy up", func(t *testing.T) { switchKilledAndNextDead(t, true) })
	t.Run("proxy down", func(t *testing.T) { switchKilledAndNextDead(t, false) })
}

func switchKilledAndNextDead(t *testing.T, up bool) {
	r := newRig(t)
	r.spawn(0, 1, "")
	r.change()
	next := r.spawn(1, 2, "")
	do := task{Do: "switch", Port: r.first + 1, Die: "after confirm", Points: filepath.Join(t.TempDir(), "points")}
	if !r.tool(do) {
		t.Fatal("it was not killed")
	}
	r.links(r.first+1, 0)
	killHard(t, next.Instance.Process.PID)
	if !up {
		if err := os.WriteFile(filepath.Join(r.traffic.dir, "down"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.next()
	r.links(r.first, 0) // put back
	if ops, _, _ := r.open().History(2); ops[0].Outcome != phaseUndone {
		t.Errorf("the journal says %q", ops[0].Outcome)
	}
}

func TestSpawnKilledAnywhere(t *testing.T) {
	prepare := func(r *rig) task {
		r.spawn(0, 1, "")
		r.change()
		r.spawn(1, 2, "")
		r.change()
		return task{Do: "spawn", Port: r.first + 2, Step: 3}
	}
	strays := 0 // started and written down nowhere, or this test proves nothing
	everyPoint(t, prepare, func(t *testing.T, r *rig, do task, point string) {
		o := r.open()
		mark := envInstance + "=" + o.instanceMark(do.Port)
		if s, err := loadState(o.statePath()); err == nil && len(process.Find(mark)) > 0 && s.Instances[do.Port].Port == 0 {
			strays++
		}
		r.next()
		s, err := o.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		running := 0
		for _, i := range s.Instances {
			if i.Running {
				running++
				if !i.Ready {
					t.Errorf("port %d runs and is not ready: %s", i.Port, i.Reason)
				}
			}
			if i.Port == do.Port && !i.Instance.Admin {
				t.Errorf("the instance that was kept is not proven: %+v", i.Instance)
			}
		}
		if live, _ := r.traffic.Live(); live != r.first+1 || running > 2 || running < 1 {
			t.Errorf("live %d, %d run", live, running)
		}
		if left := process.Find(mark); len(left) > 0 && s.Instances[len(s.Instances)-1].Port != do.Port {
			t.Errorf("processes that nobody knows: %v", left)
		}
		if bindable(do.Port) == nil { // it was undone: once more
			r.spawn(2, 3, "")
		}
		r.change()
		r.links(do.Port, r.first+1)
	})
	if strays == 0 && runtime.GOOS == "linux" {
		t.Error("no kill left a process that was written down nowhere")
	}
}

func TestStopKilledAnywhere(t *testing.T) {
	prepare := func(r *rig) task {
		r.spawn(0, 1, "")
		r.change()
		r.spawn(1, 2, "")
		r.change()
		return task{Do: "stop", Port: r.first}
	}
	everyPoint(t, prepare, func(t *testing.T, r *rig, do task, point string) {
		r.next()
		if point != "before_stopping" { // before that, nobody knows of it
			r.links(r.first+1, 0)
			if err := bindable(r.first); err != nil {
				t.Errorf("it still runs: %v", err)
			}
		}
	})
}

// killHard ends an instance as a crash would.
func killHard(t *testing.T, pid int) {
	t.Helper()
	id, err := process.Identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for id.Alive() {
		if !sleep(t.Context(), 5*time.Millisecond) {
			t.Fatal("it does not end")
		}
	}
}

// A switch that was killed while it put traffic back is put back: what it had
// decided is carried out, though the instance answers by now. Where nobody else
// is left to serve, it is finished.
func TestSwitchKilledWhilePuttingBack(t *testing.T) {
	for _, previous := range []string{"runs", "has ended"} {
		t.Run(previous, func(t *testing.T) {
			r := newRig(t)
			before := r.spawn(0, 1, "")
			r.change()
			r.spawn(1, 2, "")
			deaf := filepath.Join(r.traffic.dir, "deaf")
			if err := r.traffic.write("deaf", r.first+1); err != nil {
				t.Fatal(err)
			}
			do := task{Do: "switch", Port: r.first + 1, Die: "after put back", Points: filepath.Join(t.TempDir(), "points")}
			if !r.tool(do) {
				t.Fatal("it was not killed")
			}
			if err := os.Remove(deaf); err != nil {
				t.Fatal(err)
			}
			r.links(r.first+1, 0)
			want, outcome := r.first, phaseUndone
			if previous == "has ended" {
				killHard(t, before.Instance.Process.PID)
				want, outcome = r.first+1, phaseFinished
			}
			r.next()
			r.links(want, 0)
			if ops, _, _ := r.open().History(2); ops[0].Outcome != outcome {
				t.Errorf("the journal says %q", ops[0].Outcome)
			}
		})
	}
}

// What an instance is asked to change before the gates are asked is in the
// journal before it is asked; a gate that refuses then leaves nothing open.
func TestLevelIsJournalledFirst(t *testing.T) {
	r := newRig(t)
	for n, step := range []int{5, 6} {
		opts := spawnOptions(r.first+n, step, "gate=wait")
		if opts.Force = []string{forceStep}; n > 0 {
			opts.Force = nil
		}
		if _, err := r.open().Spawn(t.Context(), opts); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			r.ctl(r.first, "gate=")
			r.change()
		}
	}
	asked := len(r.asked(r.first))
	do := task{Do: "switch", Port: r.first + 1, Die: "after level", Points: filepath.Join(t.TempDir(), "points")}
	if !r.tool(do) {
		t.Fatal("it was not killed")
	}
	if got := r.asked(r.first); len(got) != asked {
		t.Errorf("it was asked %v before the journal had it", got[asked:])
	}
	r.next()
	_, err := r.open().Switch(t.Context(), SwitchOptions{})
	refused(t, err, ErrGate, "compared")
	if ops, _, _ := r.open().History(1); ops[0].Outcome != phaseRefused {
		t.Errorf("the journal says %q", ops[0].Outcome)
	}
	r.links(r.first, 0)
}
