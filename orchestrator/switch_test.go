package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSwitchRefusals(t *testing.T) {
	r := newRig(t)
	o := r.open()
	_, err := o.Switch(t.Context(), SwitchOptions{})
	refused(t, err, ErrUsage, "no other live instance")
	r.spawn(0, 1, "")
	r.change()
	if again, err := o.Switch(t.Context(), SwitchOptions{To: r.first}); err != nil || !again.Already || again.Step != 1 {
		t.Errorf("to where traffic is: %+v, %v", again, err)
	}
	_, err = o.Switch(t.Context(), SwitchOptions{To: r.first + 1})
	refused(t, err, ErrUsage, "no instance of ours")

	_, err = o.Gates(t.Context())
	refused(t, err, ErrUsage, "there is none")
	r.spawn(1, 2, "gate=412 of 1000 reads compared")
	next := r.first + 1
	_, err = o.Switch(t.Context(), SwitchOptions{})
	refused(t, err, ErrGate, "compared: 412 of 1000", "wait for reads")
	var gate *GateError
	if !errors.As(err, &gate) || len(gate.Failed) != 1 || gate.To != 2 {
		t.Errorf("gate error %+v", gate)
	}
	if _, err := o.Gates(t.Context()); !errors.Is(err, ErrGate) {
		t.Errorf("gates: %v", err)
	}
	_, err = o.Switch(t.Context(), SwitchOptions{Force: []string{"cleared"}})
	refused(t, err, ErrGate, "compared")

	// Nobody's word passes a gate that the instance itself looks at again.
	r.ctl(next, "fixed=the triggers are gone")
	_, err = o.Switch(t.Context(), SwitchOptions{Force: []string{"compared", "triggers"}})
	refused(t, err, ErrGate, "triggers: the triggers are gone", "put them back")
	if errors.As(err, &gate); len(gate.Failed) != 1 || gate.Failed[0].Name != "triggers" {
		t.Errorf("gate error %+v", gate)
	}
	r.ctl(next, "fixed=")

	r.ctl(next, "unready=the new database is down")
	_, err = o.Switch(t.Context(), SwitchOptions{Force: []string{"compared"}})
	refused(t, err, ErrNotReady, "the new database is down")
	r.ctl(next, "unready=&lie=7")
	_, err = o.Switch(t.Context(), SwitchOptions{Force: []string{"compared"}})
	refused(t, err, ErrNotReady, "at step 7, not 2")
	r.ctl(next, "lie=&id=somebody else")
	_, err = o.Switch(t.Context(), SwitchOptions{Force: []string{"compared"}})
	refused(t, err, ErrNotReady, "somebody else")
	r.ctl(next, "id=")

	down := filepath.Join(r.traffic.dir, "down")
	if err := os.WriteFile(down, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = o.Switch(t.Context(), SwitchOptions{Force: []string{"compared"}}); err == nil || !strings.Contains(err.Error(), "proxy") {
		t.Errorf("a proxy that is down: %v", err)
	}
	if err := os.Remove(down); err != nil {
		t.Fatal(err)
	}
	r.links(r.first, 0) // none of these moved anything

	dry, err := o.Switch(t.Context(), SwitchOptions{Force: []string{"compared"}, DryRun: true})
	if err != nil || !dry.DryRun {
		t.Errorf("dry run: %+v, %v", dry, err)
	}
	r.links(r.first, 0)
	done, err := o.Switch(t.Context(), SwitchOptions{Force: []string{"compared", "nonesuch"}})
	if err != nil || !slices.Equal(done.Forced, []string{"compared"}) || !strings.Contains(strings.Join(done.Warnings, " "), "nonesuch") {
		t.Errorf("forced: %+v, %v", done, err)
	}
	r.links(next, r.first)
	ops, _, _ := o.History(1)
	if !slices.Equal(ops[0].Last.Forced, []string{"compared"}) || ops[0].Who == "" {
		t.Errorf("the journal does not say who forced what: %+v", ops[0].Last)
	}
}

func TestReturnOfThePrimaryIsRefused(t *testing.T) {
	r := newRig(t)
	opts := spawnOptions(r.first, 4, "primary=new")
	opts.Force = []string{"step"}
	if _, err := r.open().Spawn(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	r.change()
	_, err := r.open().Spawn(t.Context(), spawnOptions(r.first+1, 3, ""))
	refused(t, err, ErrGate, "the return of the primary")

	r.ctl(r.first, "primary=old") // under old it is a switch like any other
	r.spawn(1, 3, "primary=old")
	r.ctl(r.first, "primary=new")
	_, err = r.open().Switch(t.Context(), SwitchOptions{})
	refused(t, err, ErrGate, "the return of the primary")
	r.ctl(r.first, "primary=old")
	r.change()
	r.links(r.first+1, r.first)
}

func TestUnconfirmedMoveIsPutBack(t *testing.T) {
	r := newRig(t)
	r.spawn(0, 1, "")
	r.change()
	r.spawn(1, 2, "")
	for name, port := range map[string]int{"deaf": r.first + 1, "was": r.first} {
		if err := r.traffic.write(name, port); err != nil {
			t.Fatal(err)
		}
	}
	o := r.open(func(c *Config) { c.Timeouts.Confirm = 300 * time.Millisecond })
	_, err := o.Switch(t.Context(), SwitchOptions{})
	refused(t, err, ErrPutBack, "could not be confirmed")
	r.links(r.first, 0)
	if err := os.Remove(filepath.Join(r.traffic.dir, "deaf")); err != nil {
		t.Fatal(err)
	}

	// The proxy follows the link, but another instance answers behind it.
	o = r.open(func(c *Config) {
		c.Timeouts.Confirm = 300 * time.Millisecond
		c.Progress = func(e Event) {
			if e.Phase == phaseMove {
				r.ctl(r.first+1, "id=a stranger")
			}
		}
	})
	_, err = o.Switch(t.Context(), SwitchOptions{})
	refused(t, err, ErrPutBack, "a stranger")
	r.links(r.first, 0)
	r.ctl(r.first+1, "id=")
	if ops, _, _ := o.History(1); ops[0].Outcome != phaseFailed {
		t.Errorf("the journal says %q", ops[0].Outcome)
	}
	r.change()
	r.links(r.first+1, r.first)
}

func TestDrainWaitsForRequests(t *testing.T) {
	r := newRig(t)
	r.spawn(0, 1, "")
	r.change()
	r.spawn(1, 2, "")
	answered := make(chan string, 1)
	go func() { // held open across the switch
		_, body, err := get(context.WithoutCancel(t.Context()), r.traffic.url+"/work?for=700ms")
		answered <- fmt.Sprint(string(body), " ", err)
	}()
	for old := r.open(); ; {
		s, err := old.admin(old.plan(SpawnOptions{Port: r.first})).status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.InFlight == 1 {
			break
		}
		if !sleep(t.Context(), 5*time.Millisecond) {
			t.Fatal("the request never arrived")
		}
	}
	var early bool // the fallback was named while the request was in flight
	o := r.open(func(c *Config) {
		c.Progress = func(e Event) {
			if e.Phase == phaseFallback {
				old := r.open()
				s, err := old.admin(old.plan(SpawnOptions{Port: r.first})).status(t.Context())
				early = err != nil || s.InFlight != 0
			}
		}
	})
	done, err := o.Switch(t.Context(), SwitchOptions{})
	if err != nil || done.InFlight != 1 || !done.Drained || early {
		t.Errorf("%+v, %v, fallback before the request ended: %v", done, err, early)
	}
	if got := <-answered; got != fmt.Sprint(r.first, " ", error(nil)) {
		t.Errorf("the request was answered %q, want by the previous instance", got)
	}
}

func TestUndrainedIsNoFallback(t *testing.T) {
	r := newRig(t)
	r.spawn(0, 1, "pending=3")
	r.change()
	r.spawn(1, 2, "")
	o := r.open(func(c *Config) { c.Timeouts.Drain = 300 * time.Millisecond })
	done, err := o.Switch(t.Context(), SwitchOptions{})
	if err != nil || done.Drained || done.Pending != 3 || len(done.Warnings) == 0 {
		t.Errorf("%+v, %v", done, err)
	}
	r.links(r.first+1, 0)
}

func TestInterruptedDrainIsFinishedByTheNextCommand(t *testing.T) {
	r := newRig(t)
	r.spawn(0, 1, "pending=3")
	r.change()
	r.spawn(1, 2, "")
	ctx, cancel := context.WithCancel(t.Context())
	o := r.open(func(c *Config) {
		c.Progress = func(e Event) {
			if e.Phase == phaseDrain {
				cancel()
			}
		}
	})
	if _, err := o.Switch(ctx, SwitchOptions{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	r.links(r.first+1, 0)
	r.ctl(r.first, "pending=0")
	if err := r.open().Exclusive(t.Context(), "nginx test", func(context.Context) error { return nil }); err != nil {
		t.Fatal(err)
	}
	r.links(r.first+1, r.first)
}

func TestDeadActive(t *testing.T) {
	r := newRig(t)
	r.spawn(0, 1, "")
	r.change()
	r.spawn(1, 2, "")
	r.change()
	s, _ := r.open().Status(t.Context())
	active := s.Instances[1].Process.PID
	killHard(t, active)
	s, err := r.open().Status(t.Context())
	if err != nil || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "has ended; the fallback on port") {
		t.Errorf("warnings %q, %v", s.Warnings, err)
	}
	// The one standing by serves now: a spawn must not end it, nor change the
	// step behind a port that traffic is sent to.
	_, err = r.open().Spawn(t.Context(), spawnOptions(r.first+1, 1, ""))
	refused(t, err, ErrUsage, "another step there would be live")
	got := r.spawn(1, 2, "")
	if len(got.Retired) != 0 {
		t.Errorf("retired %v", got.Retired)
	}
	r.links(r.first+1, r.first)
	status, body, err := get(t.Context(), r.traffic.url+"/work")
	if status != http.StatusOK || string(body) != fmt.Sprint(r.first+1) || err != nil {
		t.Errorf("answered %d %s %v", status, body, err)
	}
	s, _ = r.open().Status(t.Context())
	killHard(t, s.Instances[1].Process.PID)
	if done := r.change(); done.Port != r.first || done.Fallback != 0 { // back to the one that is left
		t.Errorf("%+v", done)
	}
	r.links(r.first, 0)
}
