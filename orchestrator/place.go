package orchestrator

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"

	"migrate.invalid/migrate/orchestrator/process"
)

// kept is the instance of a spawn that was cut off, if settling has kept it
// and it is the one that is asked for.
func (op *operation) kept(opts SpawnOptions) *Instance {
	if op.settled == nil || op.settled.Spawned == nil {
		return nil
	}
	i := op.settled.Spawned
	if opts.Port == 0 {
		opts.Port = i.Port
	}
	same := opts.Port == i.Port && opts.Step == i.Step && (opts.Build == "" || opts.Build == i.Build) &&
		slices.Equal(op.o.plan(opts).Args, i.Args)
	if !same {
		return nil
	}
	return i
}

// place finds out whether there is a place for the instance, and which ones
// must end for it.
func (op *operation) place(ctx context.Context, v view, opts *SpawnOptions) (retire []Instance, err error) {
	stay := v.others
	if v.running {
		stay, retire = []Instance{*v.active}, v.others
	}
	if len(stay) > 1 {
		return nil, usage(fmt.Sprintf("migrate switch --to %d, or migrate stop %d", stay[1].Port, stay[0].Port), v.where(),
			"two instances are live, on ports %d and %d, and neither is active: which one should end?", stay[0].Port, stay[1].Port)
	}
	if own := v.own(); len(own) > 0 && !opts.Own {
		return nil, usage(Again(fmt.Sprintf("migrate spawn --step %d%s", opts.Step, opts.told.Flags()), own), v.where(),
			"the service is a command of your own, and this spawn names none")
	}
	if err := op.checkStep(v, stay, *opts); err != nil {
		return nil, err
	}
	if err := op.checkReturn(ctx, v, opts.Step); err != nil {
		return nil, err
	}
	if opts.Port == 0 {
		if opts.Port = op.freePort(v); opts.Port == 0 {
			return nil, usage("migrate status", v.where(), "no free port from %d to %d", op.o.cfg.FirstPort, op.o.lastPort())
		}
	}
	return retire, op.checkPort(v, *opts)
}

// checkStep: neighbouring steps, and only they, may be live at once.
func (op *operation) checkStep(v view, stay []Instance, opts SpawnOptions) error {
	if v.active != nil && !v.running {
		stay = append([]Instance{*v.active}, stay...) // dead, but the data is at its step
	}
	for _, i := range stay {
		if i.Step == 0 && !slices.Contains(opts.Force, forceStep) {
			return usage(forced(opts), v.where(), "the step of the instance on port %d is unknown", i.Port)
		}
		if i.Step != 0 && distance(i.Step, opts.Step) > 1 {
			next := i.Step + 1
			if opts.Step < i.Step {
				next = i.Step - 1
			}
			return usage(anotherPort(next, opts), v.where(),
				"step %d is more than one away from step %d on port %d", opts.Step, i.Step, i.Port)
		}
	}
	if len(stay) > 0 || slices.Contains(opts.Force, forceStep) {
		return nil
	}
	last := op.step(v)
	if last == 0 && opts.Step != 1 {
		return usage(anotherPort(1, opts)+", or "+forced(opts), v.where(),
			"nothing has run yet: the first instance is at step 1, not %d", opts.Step)
	}
	if last != 0 && distance(last, opts.Step) > 1 {
		return usage(anotherPort(last, opts)+", or "+forced(opts), v.where(),
			"nothing runs, and the service was last at step %d: step %d is more than one away", last, opts.Step)
	}
	return nil
}

// lastTCPPort is the highest port that there is.
const lastTCPPort = 1<<16 - 1

func (op *operation) checkPort(v view, opts SpawnOptions) error {
	port := opts.Port
	known, widens, err := op.knows(port)
	if err != nil {
		return err
	}
	if port < 1 || port > lastTCPPort {
		return usage(anotherPort(opts.Step, opts), v.where(), "%d is no port: there are ports 1 to %d", port, lastTCPPort)
	}
	if !known && !widens {
		return usage(anotherPort(opts.Step, opts), v.where(),
			"the proxy knows ports %d to %d, not %d", op.o.cfg.FirstPort, op.o.lastPort(), port)
	}
	if i, known := op.state.Instances[port]; known && i.Process.Runs() {
		return usage(fmt.Sprintf("%s, or migrate stop %d", anotherPort(opts.Step, opts), port), v.where(),
			"port %d is taken by our instance at step %d (process %d)", port, i.Step, i.Process.PID)
	}
	if v.active != nil && v.active.Port == port && v.active.Step != opts.Step {
		return usage(anotherPort(opts.Step, opts), v.where(),
			"traffic is sent to port %d, whose instance was at step %d: another step there would be live before its gates hold", port, v.active.Step)
	}
	if err := bindable(port); err != nil {
		by := "something"
		if l, found := process.FindListener(context.Background(), port); found {
			by = l.String()
		}
		return usage(anotherPort(opts.Step, opts), v.where(),
			"port %d is taken by %s, which is not ours: %v", port, by, err)
	}
	return nil
}

// anotherPort is the spawn that finds itself a free port.
func anotherPort(step int, opts SpawnOptions) string {
	return Again(fmt.Sprintf("migrate spawn --step %d%s", step, opts.told.Flags()), opts.own())
}

// forced is the spawn that overrides the rule about the first step.
func forced(opts SpawnOptions) string {
	return Again(fmt.Sprintf("migrate spawn --step %d --force %s%s", opts.Step, forceStep, opts.told.Flags()), opts.own())
}

func bindable(port int) error {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return l.Close()
}

func (o *Orchestrator) lastPort() int { return o.cfg.FirstPort + o.cfg.Ports - 1 }

// freePort is the next one after the active instance's; 0 when all are taken.
func (op *operation) freePort(v view) int {
	first, n := op.o.cfg.FirstPort, op.o.cfg.Ports
	at := 0
	if v.active != nil {
		at = v.active.Port - first + 1
	}
	for k := range n {
		port := first + ((at+k)%n+n)%n
		i, known := op.state.Instances[port]
		if known && i.Process.Runs() || v.active != nil && v.active.Port == port || port == v.fallback {
			continue
		}
		if bindable(port) == nil {
			return port
		}
	}
	return 0
}

// feasible refuses what is bound to fail, while nothing has been ended for it.
func (op *operation) feasible(ctx context.Context, v view, opts SpawnOptions) error {
	program := expand(opts)[0]
	if opts.WorkDir != "" && filepath.Base(program) != program && !filepath.IsAbs(program) {
		program = filepath.Join(opts.WorkDir, program)
	}
	if _, err := exec.LookPath(program); err != nil {
		return usage("the same with a program that exists", v.where(), "it can't be started: %v", err)
	}
	if opts.Check == nil {
		return nil
	}
	return v.placed(opts.Check(ctx, op.step(v)))
}
