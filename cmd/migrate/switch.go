package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/orchestrator"
)

func newSwitchCmd(g *globals) *cobra.Command {
	var o orchestrator.SwitchOptions
	var accept []string
	cmd := &cobra.Command{
		Use:   "switch",
		Short: "Move traffic to the other live instance",
		Long: `Move traffic to the other live instance, once its gates hold, and confirm it
through nginx. The previous instance finishes what it has, sends on what is
pending, and stands by as the fallback. A move that can't be confirmed is put
back (exit 6).`,
		Example: "  migrate switch\n  migrate switch --dry-run\n  migrate switch --to 8001\n  migrate switch --cutover reload",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := accepts(cmd, accept)
			if err == nil {
				err = a.onlyRows(cmd)
			}
			if err != nil {
				return err
			}
			return runSwitch(cmd.Context(), g, o, a)
		},
	}
	f := cmd.Flags()
	g.cutoverFlag(cmd)
	f.IntVar(&o.To, "to", 0, "`port` to move traffic to (default: the other live instance)")
	f.StringSliceVar(&o.Force, "force", nil, forceUsage)
	f.StringArrayVar(&accept, "accept", nil, acceptUsage)
	drainFlag(cmd, (*orchestrator.Duration)(&o.Drain))
	f.BoolVar(&o.DryRun, "dry-run", false, "ask the gates, probe, list each action, and do nothing")
	g.complete(cmd, "to", portsOf(inactive))
	g.complete(cmd, "force", gateNames)
	return cmd
}

func runSwitch(ctx context.Context, g *globals, o orchestrator.SwitchOptions, a accepted) error {
	orch, proxy, err := g.begunFolder()
	if err != nil {
		return err
	}
	r, err := g.switchTo(ctx, orch, o, a)
	if err != nil {
		return err
	}
	if o.DryRun {
		p := plan{Gates: r.Gates}
		p.Actions.move(r.From, r.Step, portName(r.Previous), portName(r.Port))
		return g.answerPlan(p)
	}
	if g.Cutover != "" {
		if err := keepProxy(orch.Dir(), proxy.Config()); err != nil {
			return next(err, "traffic has moved", "migrate status")
		}
	}
	then := walked{Step: r.Step}
	if err := then.afterSwitch(ctx, orch, r); err != nil {
		return next(err, "traffic has moved", "migrate status")
	}
	then.Next = g.hint(then.Next)
	return g.answer(switched{r, then.Next}, func(w io.Writer) {
		g.printSwitch(w, r)
		then.printNext(w)
	})
}

// switched is what switch says in JSON.
type switched struct {
	orchestrator.SwitchResult
	Next string `json:"next,omitempty"`
}

func (g *globals) printSwitch(w io.Writer, r orchestrator.SwitchResult) {
	if r.Already {
		fmt.Fprintf(w, "Traffic is on step %d, port %d, already.\n", r.Step, r.Port)
		return
	}
	g.printGates(w, r.Gates)
	fmt.Fprintf(w, "Traffic is on step %d, port %d (the move took %.2f ms, all of it %.0f ms)", r.Step, r.Port, float64(r.Move), float64(r.Took))
	if r.Primary != "" {
		fmt.Fprintf(w, "; primary %s, epoch %d", r.Primary, r.Epoch)
	}
	fmt.Fprintln(w)
	switch {
	case r.Previous == 0:
	case r.Drained:
		fmt.Fprintf(w, "Port %d is drained (%.0f ms) and stands by as the fallback.\n", r.Previous, float64(r.Drain))
	case r.Fallback != 0 && r.Pending > 0:
		fmt.Fprintf(w, "Port %d stands by as the fallback; %d of its writes are still to be replicated: see the warnings.\n", r.Previous, r.Pending)
	case r.Fallback != 0:
		fmt.Fprintf(w, "Port %d stands by as the fallback; whether it has drained can't be seen.\n", r.Previous)
	case r.Drain == 0:
		fmt.Fprintf(w, "Port %d had ended; nobody stands by.\n", r.Previous)
	default:
		fmt.Fprintf(w, "Port %d is not drained, and nobody stands by: see the warnings.\n", r.Previous)
	}
}
