package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/orchestrator"
)

// walker moves the service by one step at a time: spawn, then switch.
type walker struct {
	g        *globals
	orch     *orchestrator.Orchestrator
	force    []string
	command  []string // of a service of one's own
	typed    string   // the command and its flags, as they were given
	settings orchestrator.Settings
	accepted accepted // at the step that moves the primary

	backfill bool // run backfill and verify where gates ask for them
}

// position is where the service stands.
type position struct {
	step   int // of the active instance; 0 before the first
	port   int
	others []orchestrator.InstanceStatus // that run
	back   int                           // port that stands by

	primary string // as the active instance says; empty if it doesn't
	own     bool   // the active one is a service of the user's own

	unserved string // why the proxy can't be asked what it serves
}

// standsIn is the instance that traffic can move to at once when the active one
// has ended: the one that stands by, else another at a step beside the active
// one's; nil if there is none.
func (p position) standsIn() *orchestrator.InstanceStatus {
	for _, fits := range []func(orchestrator.InstanceStatus) bool{
		func(i orchestrator.InstanceStatus) bool { return i.Port == p.back },
		func(i orchestrator.InstanceStatus) bool { return i.Step-p.step <= 1 && p.step-i.Step <= 1 },
	} {
		if n := slices.IndexFunc(p.others, fits); n >= 0 {
			return &p.others[n]
		}
	}
	return nil
}

// position finds out where the service stands; it refuses to start anything
// from a place that only a person can judge. Where the active instance is known
// all the same, the position is told with the refusal.
func (wk *walker) position(ctx context.Context) (position, error) {
	var p position
	st, err := wk.orch.Status(ctx)
	if err != nil {
		return p, err
	}
	for _, i := range st.Instances {
		if i.Running && i.Role != orchestrator.RoleActive {
			p.others = append(p.others, i)
		}
	}
	a := activeOf(st)
	p.back, p.unserved = st.Fallback, st.ServedError
	switch {
	case st.Live == 0 && st.LastSwitch == nil:
		return p, nil
	case st.Live == 0:
		s := st.LastSwitch.Step
		return p, next(fmt.Errorf("%w: none is active, and the service was last at step %d", orchestrator.ErrNotReady, s),
			"nothing was changed", orchestrator.Again(fmt.Sprintf("migrate spawn --step %d", s), wk.command)+", then migrate switch")
	case a == nil:
		return p, next(fmt.Errorf("%w: traffic is sent to port %d, where no instance of ours is known", orchestrator.ErrNotReady, st.Live),
			"nothing was changed", "migrate status")
	}
	p.step, p.port, p.own = a.Step, a.Port, len(a.Own) > 0
	if a.Told != nil {
		p.primary = a.Told.Primary
	}
	if !a.Running {
		again := orchestrator.Again(fmt.Sprintf("migrate spawn --port %d --step %d", a.Port, a.Step), a.Own)
		if i := p.standsIn(); i != nil {
			again = fmt.Sprintf("migrate switch --to %d, where step %d runs; or %s", i.Port, i.Step, again)
		}
		return p, next(fmt.Errorf("%w: the active one, step %d on port %d, has ended", orchestrator.ErrNotReady, a.Step, a.Port), "nothing was changed", again)
	}
	if len(wk.command) == 0 && p.own {
		return p, next(fmt.Errorf("%w: the active instance on port %d is one, and the next would be the ToDo service", errNoCommand, a.Port),
			fmt.Sprintf("traffic is on port %d (step %d)", a.Port, a.Step), orchestrator.Again(wk.typed, a.Own))
	}
	return p, nil
}

// errNoCommand refuses to put the ToDo service in the place of another service.
var errNoCommand = usageError{errors.New("this command must name the service of your own again")}

// positionAhead is the position for a move forward. An instance that waits at
// the next step needs no command.
func (wk *walker) positionAhead(ctx context.Context) (position, error) {
	p, err := wk.position(ctx)
	if errors.Is(err, errNoCommand) && p.at(p.step+1) != 0 {
		err = nil
	}
	return p, err
}

// at is the port of a running instance without traffic at the step; 0 if there is none.
func (p position) at(step int) int {
	n := slices.IndexFunc(p.others, func(i orchestrator.InstanceStatus) bool { return i.Step == step })
	if n < 0 {
		return 0
	}
	return p.others[n].Port
}

// spawn starts an instance on the next free port, if ask, which may be nil,
// has nothing against it.
func (wk *walker) spawn(ctx context.Context, step int, dry bool, ask func(ctx context.Context, from int) error) (orchestrator.SpawnResult, error) {
	opts, err := wk.g.instance(wk.orch, 0, step, wk.command)
	if err != nil {
		return orchestrator.SpawnResult{}, err
	}
	opts.Settings, opts.DryRun = wk.settings, dry
	if err := wk.g.accepting(wk.orch, &opts, wk.acceptedAt(step)); err != nil {
		return orchestrator.SpawnResult{}, err
	}
	if check := opts.Check; ask != nil {
		opts.Check = func(ctx context.Context, from int) error {
			if check != nil {
				if err := check(ctx, from); err != nil {
					return err
				}
			}
			return ask(ctx, from)
		}
	}
	r, err := wk.orch.Spawn(ctx, opts)
	if err == nil && !dry {
		wk.g.keepLogs(ctx, wk.orch)
	}
	return r, err
}

// acceptedAt is what is accepted of a move to a step.
func (wk *walker) acceptedAt(step int) accepted {
	a := wk.accepted
	if step != int(migration.NewPrimary) {
		a.rows = -1
	}
	return a
}

// What a look ahead may cost: gates that wait for the relay want some time.
const (
	lookWait  = 10 * time.Second
	lookTries = 2
	lookPause = 500 * time.Millisecond
)

// lookAhead asks the active instance for the gates to a step before what stands
// by is ended to make room for it: a move that will be refused must not cost
// the way back. An instance that does not answer decides nothing: the switch
// asks the next one.
func (wk *walker) lookAhead(to int) func(ctx context.Context, from int) error {
	return func(ctx context.Context, from int) error {
		if to != from+1 {
			return nil
		}
		var refused *orchestrator.GateError
		for try := 1; ; try++ {
			asked, cancel := context.WithTimeout(ctx, lookWait)
			_, err := wk.orch.Gates(asked)
			cancel()
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if !errors.As(err, &refused) || refused.To != to {
				return nil
			}
			failed := slices.DeleteFunc(slices.Clone(refused.Failed), func(g orchestrator.Gate) bool {
				return slices.Contains(wk.force, g.Name) || slices.Contains(switchGates[:], g.Name)
			})
			if len(failed) == 0 {
				return nil
			}
			if try == lookTries || slices.ContainsFunc(failed, stays) {
				return next(&orchestrator.GateError{To: to, Failed: failed}, "", "the same command, once what refuses holds")
			}
			wk.g.say(fmt.Sprintf("gate %s to step %d refuses: %s; asking again", failed[0].Name, to, failed[0].Detail))
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(lookPause):
			}
		}
	}
}

// switchGates are those that the switch itself brings about.
var switchGates = [...]string{migration.GateFence, migration.GateMirror}

// stays says of a gate that it won't come to hold by itself.
func stays(g orchestrator.Gate) bool {
	return slices.Contains(askData[:], g.Name) || g.Name == migration.GateQuarantine || g.Name == migration.GateTriggers
}

// move moves traffic to the step: to the port if one is given, else to an
// instance that is started for it.
func (wk *walker) move(ctx context.Context, step, port int) (orchestrator.SwitchResult, error) {
	if port == 0 {
		r, err := wk.spawn(ctx, step, false, wk.lookAhead(step))
		if err != nil {
			return orchestrator.SwitchResult{}, err
		}
		port = r.Instance.Port
	}
	return wk.g.switchTo(ctx, wk.orch, orchestrator.SwitchOptions{To: port, Force: wk.force, Drain: time.Duration(wk.settings.DrainTimeout)}, wk.acceptedAt(step))
}

// plan says what move would do. What can be checked now is; that a backfill and
// a verify, where they are asked for, will satisfy the gates is taken as given.
func (wk *walker) plan(ctx context.Context, p position, step, port int, into *plan) error {
	if port == 0 {
		r, err := wk.spawn(ctx, step, true, wk.lookAhead(step))
		if wk.backfill && wantsData(err) {
			into.fill(step)
			r, err = wk.spawn(ctx, step, true, nil)
		}
		if err != nil {
			return into.stop(err)
		}
		port = r.Instance.Port
		into.Actions.spawn(r)
	} else {
		r, err := wk.g.switchTo(ctx, wk.orch, orchestrator.SwitchOptions{To: port, Force: wk.force, Drain: time.Duration(wk.settings.DrainTimeout), DryRun: true}, wk.acceptedAt(step))
		if wk.backfill && wantsData(err) {
			into.fill(step)
			err = nil
		}
		if err != nil {
			return into.stop(err)
		}
		into.Gates = r.Gates
	}
	into.Actions.move(p.step, step, portName(p.port), portName(port))
	return nil
}

// askData are the gates that a backfill and a verify answer.
var askData = [...]string{migration.GateCompared, migration.GateComplete, migration.GateVerified}

// wantsData says whether a move was refused for what a backfill and a verify
// would settle, and for nothing else. The gate that asks for the quarantine
// can't tell, either, before a verify has looked.
func wantsData(err error) bool {
	var refused *orchestrator.GateError
	if !errors.As(err, &refused) {
		return false
	}
	asks := func(g orchestrator.Gate) bool { return slices.Contains(askData[:], g.Name) }
	other := func(g orchestrator.Gate) bool { return !asks(g) && g.Name != migration.GateQuarantine }
	return slices.ContainsFunc(refused.Failed, asks) && !slices.ContainsFunc(refused.Failed, other)
}
