package orchestrator

import (
	"context"
	"errors"
	"fmt"
)

// GatesResult is what the next move would be refused for.
type GatesResult struct {
	From  int    `json:"from"`  // step of the active instance
	To    int    `json:"to"`    // step of the move
	Asked int    `json:"asked"` // port of the instance that answered
	Gates []Gate `json:"gates"`
}

// Gates asks what the next move would be refused for: the instance that would
// take the traffic or, when none is there yet, the active one about the next
// step. It takes no lock and changes nothing. Gates that do not hold are a
// [GateError] beside the result.
func (o *Orchestrator) Gates(ctx context.Context) (GatesResult, error) {
	var r GatesResult
	state, _, err := o.load()
	if err != nil {
		return r, err
	}
	op := o.operation(state, Entry{})
	v, err := op.view(ctx)
	if err != nil {
		return r, err
	}
	r.From = op.step(v)
	var ask Instance
	for _, i := range v.others {
		if i.Step > r.From {
			ask, r.To = i, i.Step
		}
	}
	if r.To == 0 {
		if !v.running {
			return r, usage(Again(fmt.Sprintf("migrate spawn --step %d", max(1, r.From)), v.own()), v.where(), "there is no instance to ask")
		}
		if r.From >= lastStep {
			r.To = r.From
			return r, usage("migrate status", v.where(), "step %d is the last: there is no move to ask about", r.From)
		}
		ask, r.To = *v.active, r.From+1
		if r.From == 1 { // it does not hold the new database, so it can't tell
			return r, usage(Again("migrate spawn --step 2", v.active.Own), v.where(), "the gates to step 2 are asked of an instance at step 2, and there is none")
		}
	}
	r.Asked, r.Gates = ask.Port, []Gate{}
	if r.To < 2 {
		return r, nil // nothing is asked of step 1
	}
	gates, err := o.admin(ask).gates(ctx, r.To)
	if errors.Is(err, errNoAdmin) {
		text, next := "nothing can be asked: the instance on port %d has no admin socket, and is switched without gates", "migrate switch"
		if v.active != nil && ask.Port == v.active.Port {
			text, next = "nothing can be asked of the active instance: port %d has no admin socket", Again(fmt.Sprintf("migrate spawn --step %d", r.To), ask.Own)+", then migrate gates"
		}
		return r, usage(next, v.where(), text, ask.Port)
	}
	if err != nil {
		return r, problem(fmt.Errorf("%w: %w", ErrNotReady, err), v.where(), "migrate status")
	}
	r.Gates = gates
	var failed []Gate
	for _, g := range gates {
		if !g.OK {
			failed = append(failed, g)
		}
	}
	if len(failed) > 0 {
		return r, problem(&GateError{To: r.To, Failed: failed}, v.where(), "see each remedy, then migrate gates")
	}
	return r, nil
}
