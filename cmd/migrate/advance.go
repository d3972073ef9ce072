package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/orchestrator"
)

type advanceOptions struct {
	until  int
	dryRun bool
}

func newAdvanceCmd(g *globals) *cobra.Command {
	var o advanceOptions
	var accept []string
	wk := walker{g: g}
	cmd := &cobra.Command{
		Use:   "advance [--until STEP] [-- COMMAND…]",
		Short: "Spawn the next step and switch to it; repeat until a step",
		Long: `Start an instance at the next step on the next free port and switch to it; with
--until, again and again. An instance that waits at the next step is taken as it
is. It stops at the first gate that refuses (exit 4), with the service where it
is and the previous instance standing by: repeat the command to go on.

Gates that ask for a backfill and a clean verify are answered by --backfill,
which runs both when they are asked for.`,
		Example: `  migrate advance
  migrate advance --until 8 --backfill
  migrate advance --until 4 --dry-run
  migrate advance -- ./my-service --listen 127.0.0.1:{port}`,
		Args: ownCommand,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.until < 0 || o.until > lastStep {
				return badUsage(cmd, "--until %d: there are steps 1 to %d", o.until, lastStep)
			}
			var err error
			if wk.accepted, err = accepts(cmd, accept); err != nil {
				return err
			}
			wk.command, wk.typed = args, typed(cmd)
			g.warnOfCommand(args)
			return runAdvance(cmd.Context(), &wk, o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.until, "until", 0, "go on until this `step` (default: the next one)")
	f.BoolVar(&wk.backfill, "backfill", false, "run backfill and verify where a gate asks for them")
	f.StringArrayVar(&accept, "accept", nil, "a `rule` that the first spawn's take-over goes on without; on the way to step 5, quarantine:N: the primary may move although N rows are in quarantine")
	wk.flags(cmd, &o.dryRun)
	g.mayCreate(cmd)
	g.complete(cmd, "until", laterSteps)
	return cmd
}

const forceUsage = "move although this `gate` refuses, on your word, which the journal keeps; records may then be left behind in the old database"

// flags binds what advance and rollback share.
func (wk *walker) flags(cmd *cobra.Command, dryRun *bool) {
	f := cmd.Flags()
	settingsFlags(cmd, &wk.settings)
	f.StringSliceVar(&wk.force, "force", nil, forceUsage)
	f.BoolVar(dryRun, "dry-run", false, "list each action, and do nothing")
	wk.g.complete(cmd, "force", gateNames)
}

// typed is the command as it was given, with its own flags: to be given again.
// A flag that the environment sets is set there the next time, too.
func typed(cmd *cobra.Command) string {
	text := cmd.CommandPath()
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		value := f.Value.String()
		if !f.Changed || hasVariable(f) && os.Getenv(envName(f)) == value {
			return
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), ",")
		}
		text += " --" + f.Name
		if f.NoOptDefVal == "" {
			text += " " + orchestrator.Quoted(value)
		}
	})
	return text
}

// ownCommand lets a command of one's own follow "--", and nothing else.
func ownCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
		return badUsage(cmd, "unexpected %q: a command of your own follows --", args[0])
	}
	return nil
}

func runAdvance(ctx context.Context, wk *walker, o advanceOptions) (err error) {
	if wk.orch, _, err = wk.g.orchestrator(); err != nil {
		return err
	}
	finished, err := wk.settle(ctx, o.dryRun)
	if err != nil {
		return err
	}
	p, err := wk.positionAhead(ctx)
	if err != nil {
		return err
	}
	done := walked{Step: p.step, Moves: []orchestrator.SwitchResult{}}
	if finished != nil && finished.Step > finished.From { // the move that is asked for
		done.Moves = append(done.Moves, *finished)
		wk.printMove(*finished)
	}
	until := o.until
	if until == 0 {
		until = p.step + 1 - len(done.Moves)
	}
	if len(done.Moves) == 0 && (p.step >= lastStep || p.step >= until) {
		return wk.alreadyThere(ctx, p, o.until)
	}
	if o.dryRun {
		var into plan
		err := wk.planAhead(ctx, p, until, &into)
		if wantsData(err) {
			err = alsoNext(err, withBackfill)
		}
		return errors.Join(wk.g.answerPlan(into), err)
	}
	for err == nil && done.Step < until {
		var r orchestrator.SwitchResult
		if r, err = wk.ahead(ctx); err == nil {
			done.Step, done.Moves = r.Step, append(done.Moves, r)
			wk.printMove(r)
		}
	}
	if err != nil && !wk.g.JSON {
		return err
	}
	if err == nil {
		err = wk.whatNext(ctx, &done)
	}
	return errors.Join(wk.g.answer(done, done.printNext), err)
}

func (wk *walker) alreadyThere(ctx context.Context, p position, until int) error {
	if until == 0 || until > p.step {
		until = p.step
	}
	if until < p.step {
		return next(usageError{fmt.Errorf("the service is at step %d, past step %d", p.step, until)}, "nothing was changed", "migrate rollback goes back")
	}
	w := walked{Step: p.step, Moves: []orchestrator.SwitchResult{}}
	if err := wk.whatNext(ctx, &w); err != nil {
		return err
	}
	return wk.g.answer(w, func(out io.Writer) {
		fmt.Fprintf(out, "The service is at step %d already.\n", p.step)
		w.printNext(out)
	})
}

// withBackfill is the way on where gates ask for data.
const withBackfill = "migrate advance --backfill, which runs backfill and verify and goes on"

// ahead moves by one step.
func (wk *walker) ahead(ctx context.Context) (orchestrator.SwitchResult, error) {
	p, err := wk.positionAhead(ctx)
	if err != nil {
		return orchestrator.SwitchResult{}, err
	}
	if p.unserved != "" { // the switch would fail, after the fallback was ended for the spawn
		return orchestrator.SwitchResult{}, next(fmt.Errorf("the proxy can't be asked what it serves: %s", p.unserved),
			"nothing was started", "migrate nginx start, then repeat the command")
	}
	to := p.step + 1
	r, err := wk.move(ctx, to, p.at(to))
	if !wantsData(err) {
		return r, err
	}
	if !wk.backfill {
		return r, alsoNext(err, withBackfill)
	}
	wk.g.say(fmt.Sprintf("the gates to step %d ask for a backfill and a verify", to))
	if err := wk.g.settleData(ctx); err != nil {
		return r, err
	}
	if p, err = wk.positionAhead(ctx); err != nil {
		return r, err
	}
	return wk.move(ctx, to, p.at(to))
}

// alsoNext names a better way on before the one that an error names.
func alsoNext(err error, command string) error {
	var p *orchestrator.Problem
	if errors.As(err, &p) {
		return next(err, p.State, command+"; or "+p.Next)
	}
	return next(err, "", command)
}

// settleData runs backfill and verify, as the commands do.
func (g *globals) settleData(ctx context.Context) error {
	s, err := g.stores(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	res, err := copyAll(ctx, g, s, backfillOptions{batch: defaultBatch, within: "advance --backfill"})
	if err != nil {
		return err
	}
	g.say(fmt.Sprintf("backfill: %d records under epoch %d", res.Copied, res.Epoch))
	rep, err := verifyAll(ctx, g, s, verifyOptions{within: "advance --backfill"})
	if err != nil {
		return err
	}
	g.say(fmt.Sprintf("verify: %d equal, %d behind, %d missing, %d stale, %d different", rep.Equal, rep.Behind, rep.Missing, rep.Stale, rep.Different))
	return differs(rep)
}

// planAhead lists the moves to a step: the first as it was checked, the others
// as they will be.
func (wk *walker) planAhead(ctx context.Context, p position, until int, into *plan) error {
	to := p.step + 1
	if err := wk.plan(ctx, p, to, p.at(to), into); err != nil {
		return err
	}
	for step := to + 1; step <= until; step++ {
		if step > 2 || p.step > 0 {
			into.Actions.end(fmt.Sprintf("the instance at step %d", step-2))
		}
		into.Actions.add("start step %d (%s) on the next free port, and wait until it is proven ready", step, migration.Step(step).Name())
		into.Actions.move(step-1, step, fmt.Sprintf("step %d", step-1), fmt.Sprintf("step %d", step))
	}
	return nil
}

// printMove tells of a move at once; JSON tells of all of them at the end.
func (wk *walker) printMove(r orchestrator.SwitchResult) {
	g := wk.g
	if g.JSON {
		return
	}
	text := fmt.Sprintf("Step %d on port %d: %s; moved in %.2f ms", r.Step, r.Port, migration.Step(r.Step).Name(), float64(r.Move))
	if r.Previous != 0 && r.Drained {
		text += fmt.Sprintf(", port %d drained in %.0f ms", r.Previous, float64(r.Drain))
	}
	if r.Primary != "" {
		text += fmt.Sprintf("; primary %s, epoch %d", r.Primary, r.Epoch)
	}
	fmt.Fprintln(g.out, fold(g.out, text, 2))
}
