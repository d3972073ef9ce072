package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/orchestrator"
)

func newRollbackCmd(g *globals) *cobra.Command {
	var dryRun bool
	var goneHosts []string
	wk := walker{g: g, accepted: accepted{rows: -1}}
	cmd := &cobra.Command{
		Use:   "rollback [-- COMMAND…]",
		Short: "Move traffic back: to the one standing by, or a step below",
		Long: `Move traffic back to the instance that stands by, if it is at this step or the
one below; else start one at the step below and switch to it. From steps 8 to 4
nothing has to be undone: step 4 works under either primary. From 4 to 3 the old
database becomes primary again first, with all that was written to the new one.`,
		Example: "  migrate rollback\n  migrate rollback --dry-run",
		Args:    ownCommand,
		RunE: func(cmd *cobra.Command, args []string) error {
			wk.command, wk.typed = args, typed(cmd)
			g.warnOfCommand(args)
			return runRollback(cmd.Context(), &wk, goneHosts, dryRun)
		},
	}
	wk.flags(cmd, &dryRun)
	cmd.Flags().StringSliceVar(&goneHosts, "gone-host", nil, "a `host` that is no more, or was started again: count its instances as ended, on your word")
	return cmd
}

func runRollback(ctx context.Context, wk *walker, goneHosts []string, dry bool) (err error) {
	if wk.orch, _, err = wk.g.begunFolder(); err != nil {
		return err
	}
	finished, err := wk.settle(ctx, dry)
	if err != nil {
		return err
	}
	if finished != nil && finished.Step <= finished.From { // the move that is asked for
		return wk.answerRollback(walked{}, *finished)
	}
	p, refusal := wk.position(ctx)
	if p.step == 0 && refusal != nil {
		return refusal
	}
	step, port := p.below()
	if step < 1 && !errors.Is(refusal, orchestrator.ErrNotReady) {
		return p.nothingBelow()
	}
	// An active instance that is too busy to say who is primary may be under the
	// new one; where the old one is, the return finds that out.
	returns := step == int(migration.WriteBoth) && p.step == int(migration.ReadBoth) && p.primary != string(store.PrimaryOld) && len(wk.command) == 0 && !p.own
	if refusal != nil && (port == 0 || returns) {
		return refusal // to what stands by there is a way all the same
	}
	if dry {
		var into plan
		if returns {
			into.Actions.comeBack(p)
			return wk.g.answerPlan(into)
		}
		err := wk.plan(ctx, p, step, port, &into)
		return errors.Join(wk.g.answerPlan(into), err)
	}
	answer := walked{}
	if returns {
		back, err := wk.returnPrimary(ctx, p, goneHosts)
		if err != nil {
			return err
		}
		answer.Returned, port = &back, 0
	}
	r, err := wk.move(ctx, step, port)
	if err != nil {
		return err
	}
	return wk.answerRollback(answer, r)
}

func (wk *walker) answerRollback(answer walked, r orchestrator.SwitchResult) error {
	wk.printMove(r)
	if !wk.g.JSON {
		own, err := wk.orch.Own(r.Port)
		if err != nil {
			return err
		}
		fmt.Fprintln(wk.g.out, fold(wk.g.out, wk.g.hint("Next: migrate status, or "+orchestrator.Again("migrate advance", own)), 6))
		return nil
	}
	answer.Step, answer.Done, answer.Moves = r.Step, r.Step == lastStep, []orchestrator.SwitchResult{r}
	return wk.g.answer(answer, nil)
}

// returnPrimary ends the other instance, which may be at a step that must not
// live then, and makes the old database primary again.
func (wk *walker) returnPrimary(ctx context.Context, p position, goneHosts []string) (migration.ReturnResult, error) {
	s, err := wk.g.stores(ctx) // before anything is ended: a refusal here changes nothing
	if err != nil {
		return migration.ReturnResult{}, err
	}
	defer s.close()
	var ended []string
	for _, i := range p.others {
		if _, err := wk.orch.Stop(ctx, orchestrator.StopOptions{Port: i.Port}); err != nil {
			return migration.ReturnResult{}, alsoEnded(ended, err)
		}
		ended = append(ended, fmt.Sprintf("step %d on port %d", i.Step, i.Port))
	}
	r, err := wk.g.returnPrimary(ctx, s, goneHosts)
	if err != nil {
		return r, alsoEnded(ended, err)
	}
	if !wk.g.JSON {
		printReturn(wk.g.out, r)
	}
	return r, nil
}

// alsoEnded adds, to the state that an error tells of, the instances that were
// ended before it.
func alsoEnded(ended []string, err error) error {
	var p *orchestrator.Problem
	if len(ended) == 0 || !errors.As(err, &p) {
		return err
	}
	p.State = fmt.Sprintf("the instance at %s was ended; other than that, %s", strings.Join(ended, ", and the one at "), p.State)
	return err
}

// nothingBelow refuses to go back from the first step.
func (p position) nothingBelow() error {
	const text = "there is nothing to go back to: "
	switch {
	case p.step == 0:
		return next(usageError{errors.New(text + "no instance has had the traffic yet")}, "nothing was changed", "migrate status")
	case len(p.others) == 0:
		return next(usageError{errors.New(text + "the service is at its first step, and no other instance runs")}, "nothing was changed", "migrate status")
	}
	ahead := p.others[0]
	return next(usageError{fmt.Errorf("%sthe service is at its first step; the other instance, on port %d, is at step %d", text, ahead.Port, ahead.Step)},
		"nothing was changed", fmt.Sprintf("migrate switch moves traffic to it, migrate stop %d ends it", ahead.Port))
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
