package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"migrate/orchestrator"
)

func newRollbackCmd(g *globals) *cobra.Command {
	var dryRun bool
	wk := walker{g: g}
	cmd := &cobra.Command{
		Use:   "rollback [-- COMMAND…]",
		Short: "Move traffic back: to the instance that stands by, or a step below",
		Long: `Move traffic back to the instance that stands by, if it is at this step or the
one below; else start one at the step below and switch to it. From steps 8 to 4
nothing has to be undone: step 4 works under either primary.`,
		Example: "  migrate rollback\n  migrate rollback --dry-run",
		Args:    ownCommand,
		RunE: func(cmd *cobra.Command, args []string) error {
			wk.command = args
			return runRollback(cmd.Context(), &wk, dryRun)
		},
	}
	wk.flags(cmd, &dryRun)
	return cmd
}

func runRollback(ctx context.Context, wk *walker, dry bool) (err error) {
	if wk.orch, _, err = wk.g.orchestrator(); err != nil {
		return err
	}
	p, err := wk.position(ctx)
	if err != nil {
		return err
	}
	step, port := p.below()
	if step < 1 {
		return next(usageError{errors.New("there is nothing to go back to: the service is at its first step, and no instance stands by")},
			"nothing was changed", "migrate status")
	}
	if dry {
		var into plan
		err := wk.plan(ctx, p, step, port, &into)
		return errors.Join(wk.g.answerPlan(into), err)
	}
	r, err := wk.move(ctx, step, port)
	if err != nil {
		return err
	}
	wk.printMove(r)
	if !wk.g.JSON {
		fmt.Fprintln(wk.g.out, "Next: migrate status, or migrate advance")
		return nil
	}
	return wk.g.answer(walked{Step: r.Step, Moves: []orchestrator.SwitchResult{r}}, nil)
}

// below is where a rollback leads: to an instance that runs, or to a step that
// one has to be started at.
func (p position) below() (step, port int) {
	for _, i := range p.others {
		if i.Port == p.back && (i.Step == p.step || i.Step == p.step-1) {
			return i.Step, i.Port
		}
	}
	return p.step - 1, p.at(p.step - 1)
}
