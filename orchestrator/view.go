package orchestrator

import (
	"context"
	"errors"
	"fmt"
)

// view is what really runs and where traffic is sent, looked at under the lock.
type view struct {
	active   *Instance // named by the live link, running or not; nil without one
	running  bool      // the active one runs
	known    bool      // the state has it
	others   []Instance
	fallback int      // port
	last     []string // the user's command of the instance that was stopped last
}

func (op *operation) view(ctx context.Context) (view, error) {
	var v view
	live, err := op.o.cfg.Traffic.Live()
	if err != nil {
		return v, err
	}
	if v.fallback, err = op.o.cfg.Traffic.Fallback(); err != nil {
		return v, err
	}
	v.last = op.state.Own
	for _, i := range op.state.running() {
		if i.Port == live {
			v.running = true
		} else {
			v.others = append(v.others, i)
		}
	}
	if live == 0 {
		return v, nil
	}
	i, known := op.state.Instances[live]
	if !known { // the state was lost, or the last active instance was taken out of it
		i = Instance{Port: live, Step: op.lastStep(live)}
		if f, _, err := readFace(ctx, local(live)+defaultConfigURL); err == nil {
			v.running = true
			if f.Step != nil {
				i.Step = int(*f.Step)
			}
		}
	}
	v.active, v.known = &i, known
	return v, nil
}

func (op *operation) lastStep(port int) int {
	if a := op.state.Active; a != nil && a.Port == port {
		return a.Step
	}
	return 0
}

// where says in words where traffic goes.
func (v view) where() string {
	switch {
	case v.active == nil:
		return "no instance is active"
	case !v.running:
		return fmt.Sprintf("the active instance, port %d (step %d), does not run", v.active.Port, v.active.Step)
	}
	return fmt.Sprintf("traffic is on port %d (step %d)", v.active.Port, v.active.Step)
}

// placed says of a caller's refusal where traffic goes.
func (v view) placed(err error) error {
	if p := (*Problem)(nil); errors.As(err, &p) {
		return problem(err, v.where(), p.Next)
	}
	return err
}

// step is the one that the service was last at; 0 when nobody knows.
func (op *operation) step(v view) int {
	if v.active != nil {
		return v.active.Step
	}
	if op.state.Active != nil {
		return op.state.Active.Step
	}
	return 0
}

// checkReturn refuses a move from step 4 to 3 while new is primary: that is
// the return of the primary, not a mere switch.
func (op *operation) checkReturn(ctx context.Context, v view, to int) error {
	if to != 3 || op.step(v) <= 3 {
		return nil
	}
	ask := v.others
	if v.active != nil {
		ask = append([]Instance{*v.active}, ask...)
	}
	for _, i := range ask {
		s, err := op.o.admin(i).status(ctx)
		if err != nil || s.Primary != "new" {
			continue
		}
		return problem(&GateError{To: to, Failed: []Gate{{
			Name:   "return",
			Detail: fmt.Sprintf("the new database is primary (epoch %d, says port %d), and step 3 refuses to work under it: this needs the return of the primary", s.Epoch, i.Port),
			Remedy: "stay at step 4, which works under either primary, or return the primary",
		}}}, v.where(), "migrate rollback, which returns the primary first")
	}
	return nil
}

func distance(a, b int) int { return max(a-b, b-a) }
