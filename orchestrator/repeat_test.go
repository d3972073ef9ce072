package orchestrator

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// killed runs a command in a process that dies at a point.
func (r *rig) killed(do task, point string) {
	r.t.Helper()
	do.Points, do.Die = filepath.Join(r.t.TempDir(), "points"), point
	if !r.tool(do) {
		r.t.Fatalf("it was not killed %s", point)
	}
}

// A command that was cut off is repeated as it was typed: that must lead where
// it led, once, not one step further and not back.
func TestRepeatedSwitch(t *testing.T) {
	for _, point := range []string{"after move", "after moved", "after drain", "before done", "after intent"} {
		for _, named := range []bool{false, true} {
			t.Run(point, func(t *testing.T) {
				r := newRig(t)
				r.spawn(0, 1, "")
				r.change()
				r.spawn(1, 2, "")
				do := task{Do: "switch"}
				if named {
					do.Port = r.first + 1
				}
				r.killed(do, point)
				moved, _ := r.traffic.Live()
				got, err := r.open().Switch(t.Context(), SwitchOptions{To: do.Port})
				if err != nil || got.Port != r.first+1 || got.Step != 2 || got.Previous != r.first || !got.Drained || len(got.Warnings) == 0 {
					t.Errorf("%+v, %v", got, err)
				}
				r.links(r.first+1, r.first)
				if ops, _, _ := r.open().History(1); moved == r.first+1 && ops[0].Outcome != phaseFinished {
					t.Errorf("the journal ends with %+v", ops[0])
				}
			})
		}
	}
}

func TestRepeatedSpawn(t *testing.T) {
	r := newRig(t)
	r.spawn(0, 1, "")
	r.change()
	r.killed(task{Do: "spawn", Port: r.first + 1, Step: 2}, "after ready")
	pid := func() int {
		s, err := r.open().Status(t.Context())
		if err != nil || len(s.Instances) != 2 {
			t.Fatalf("%+v, %v", s, err)
		}
		return s.Instances[1].Process.PID
	}
	before := pid()
	got, err := r.open().Spawn(t.Context(), spawnOptions(r.first+1, 2, ""))
	if err != nil || got.Instance.Port != r.first+1 || got.Instance.Process.PID != before || pid() != before || len(got.Gates) == 0 {
		t.Errorf("%+v, %v", got, err)
	}
	// Another command on that port is another spawn.
	if _, err := r.open().Stop(t.Context(), StopOptions{Port: r.first + 1}); err != nil {
		t.Fatal(err)
	}
	r.killed(task{Do: "spawn", Port: r.first + 1, Step: 2}, "after ready")
	other := spawnOptions(r.first+1, 2, "")
	other.Command = append(other.Command, "-other")
	_, err = r.open().Spawn(t.Context(), other)
	refused(t, err, ErrUsage, "taken by our instance")
}

func TestRepeatedStop(t *testing.T) {
	r := newRig(t)
	r.spawn(0, 1, "")
	r.change()
	r.spawn(1, 2, "")
	r.killed(task{Do: "stop", Port: r.first + 1}, "after stopping")
	got, err := r.open().Stop(t.Context(), StopOptions{Port: r.first + 1})
	if err != nil || !slices.Equal(got.Stopped, []int{r.first + 1}) {
		t.Errorf("%+v, %v", got, err)
	}
	r.links(r.first, 0)
}

// Who decides by where the service stands has what was cut off settled first.
func TestSettle(t *testing.T) {
	r := newRig(t)
	o := r.open()
	if s, err := o.Settle(t.Context()); s != nil || err != nil {
		t.Errorf("nothing to settle: %+v, %v", s, err)
	}
	r.spawn(0, 1, "")
	r.change()
	r.spawn(1, 2, "")
	r.killed(task{Do: "switch"}, "after drain")
	s, err := o.Settle(t.Context())
	if err != nil || s == nil || s.Switch == nil || s.Switch.Step != 2 || s.Switch.From != 1 || !strings.Contains(strings.Join(s.Warnings, " "), "cut off") {
		t.Fatalf("%+v, %v", s, err)
	}
	r.links(r.first+1, r.first)
	if s, err := o.Settle(t.Context()); s != nil || err != nil {
		t.Errorf("settled twice: %+v, %v", s, err)
	}
	if err := o.Exclusive(t.Context(), "look", func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
	if ops, _, _ := o.History(0); slices.ContainsFunc(ops, func(op Operation) bool { return op.Command == "settle" }) {
		t.Error("settling is in the journal as a command of its own")
	}
}
