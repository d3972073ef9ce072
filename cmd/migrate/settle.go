package main

import (
	"context"

	"migrate.invalid/migrate/orchestrator"
)

// settle has the orchestrator finish what a command that was cut off has left,
// and returns the move if there was one: whoever decides by where the service
// stands would else go one move too far.
func (wk *walker) settle(ctx context.Context, dry bool) (*orchestrator.SwitchResult, error) {
	if dry {
		return nil, nil
	}
	settled, err := wk.orch.Settle(ctx)
	if err != nil || settled == nil {
		return nil, err
	}
	return settled.Switch, nil
}
