package orchestrator

import (
	"context"
)

const kindForget = "forget"

// Forget does work that ends the migration for good before it has left the first
// step, and forgets its databases and who had the traffic. It is refused while an
// instance runs.
func (o *Orchestrator) Forget(ctx context.Context, command string, work func(context.Context) error) error {
	return o.exclusive(ctx, command, false, func(ctx context.Context, op *operation) error {
		if err := op.mayForget(); err != nil {
			return err
		}
		op.entry.Kind = kindForget
		if err := op.phase(phaseIntent, ""); err != nil {
			return err
		}
		if err := work(ctx); err != nil {
			return err
		}
		op.state.forget()
		if err := op.save(); err != nil {
			return err
		}
		return op.end(op.success, "", nil)
	})
}

// MayForget says why Forget would be refused; nil if it would not be.
func (o *Orchestrator) MayForget(ctx context.Context) error {
	return o.exclusive(ctx, "", true, func(_ context.Context, op *operation) error { return op.mayForget() })
}

func (op *operation) mayForget() error {
	s := op.state
	if s.Active != nil && s.Active.Step > 1 {
		return usage("migrate rollback until step 1 has the traffic, then migrate stop --all --yes, then repeat the command", nothingChanged,
			"the service was last at step %d, and a migration is undone at step 1", s.Active.Step)
	}
	if running := s.running(); len(running) > 0 {
		return usage("migrate stop --all --yes, then repeat the command", nothingChanged,
			"the instance on port %d (step %d) runs and has the old database open", running[0].Port, running[0].Step)
	}
	return nil
}

// forget drops what belongs to one migration.
func (s *State) forget() {
	s.Databases, s.Active, s.LastSwitch = nil, nil, nil
}
