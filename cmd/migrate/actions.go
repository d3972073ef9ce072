package main

import (
	"errors"
	"fmt"
	"io"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/orchestrator"
)

// lastStep is the end of the walk.
const lastStep = int(migration.RemoveOld)

// actions are what a command would do, in order.
type actions []string

func (a *actions) add(format string, args ...any) { *a = append(*a, fmt.Sprintf(format, args...)) }

func (a actions) print(w io.Writer) {
	if len(a) == 0 {
		fmt.Fprintln(w, "Nothing would be done.")
		return
	}
	fmt.Fprintln(w, "This would be done:")
	for n, text := range a {
		fmt.Fprintf(w, "%4d. %s\n", n+1, fold(w, text, 6))
	}
	fmt.Fprintln(w, "Nothing was changed.")
}

// spawn is a spawn that was checked.
func (a *actions) spawn(r orchestrator.SpawnResult) {
	for _, port := range r.Retired {
		a.end(fmt.Sprintf("the instance on port %d", port))
	}
	a.add("start step %d (%s) on port %d, and wait until it is proven ready",
		r.Instance.Step, migration.Step(r.Instance.Step).Name(), r.Instance.Port)
}

func (a *actions) end(which string) { a.add("end %s: at most two are live", which) }

// move is a switch from one step and place to another; empty if there is none.
func (a *actions) move(from, to int, previous, next string) {
	if to > from && to > 1 {
		a.add("ask the gates to step %d, and stop if one refuses", to)
	}
	if previous == "" {
		a.add("move traffic to %s, and confirm it through nginx", next)
	} else {
		a.add("move traffic from %s to %s, and confirm it through nginx", previous, next)
	}
	if to == int(migration.NewPrimary) && from < to {
		a.add("make the new database primary")
	}
	if previous != "" {
		a.add("drain %s, which then stands by as the fallback", previous)
	}
}

// comeBack is the way from step 4 to 3 while the new database is primary.
func (a *actions) comeBack(p position) {
	for _, i := range p.others {
		a.add("end the instance at step %d on port %d", i.Step, i.Port)
	}
	a.add("let writes wait, send the old database what it lacks, and make it primary again")
	to := int(migration.WriteBoth)
	a.add("start step %d (%s) on the next free port, and wait until it is proven ready", to, migration.WriteBoth.Name())
	a.move(p.step, to, portName(p.port), fmt.Sprintf("step %d", to))
}

// portName is a port in words; empty for none.
func portName(port int) string {
	if port == 0 {
		return ""
	}
	return fmt.Sprintf("port %d", port)
}

// plan is the answer to --dry-run.
type plan struct {
	DryRun  bool                `json:"dry_run"`
	Actions actions             `json:"actions"`
	Gates   []orchestrator.Gate `json:"gates,omitempty"` // of the first move, as they stand
}

// fill is what gates that ask for data are answered by.
func (p *plan) fill(step int) {
	p.Actions.add("run backfill and verify, which the gates to step %d ask for; stop if they still refuse", step)
}

// stop ends a plan at an error; where gates refuse, it says which.
func (p *plan) stop(err error) error {
	var refused *orchestrator.GateError
	if errors.As(err, &refused) {
		p.Gates = refused.Failed
		p.Actions.add("ask the gates to step %d, which refuse: stop", refused.To)
	}
	return err
}

func (g *globals) answerPlan(p plan) error {
	p.DryRun, p.Actions = true, append(actions{}, p.Actions...)
	return g.answer(p, func(w io.Writer) {
		g.printGates(w, p.Gates)
		p.Actions.print(w)
	})
}
