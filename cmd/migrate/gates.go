package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/orchestrator"
)

func newGatesCmd(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "gates",
		Short: "What the next move would be refused for",
		Long: `Show what the next move would be refused for: the instance that waits to take
the traffic is asked or, when there is none, the active one about the next step.
Nothing is changed: what only a write can tell is "untried", and the switch
tries it. Exits 4 if a gate refuses.`,
		Example: "  migrate gates\n  migrate gates --json | jq '.gates[] | select(.ok | not)'",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runGates(cmd.Context(), g) },
	}
}

func runGates(ctx context.Context, g *globals) error {
	orch, _, err := g.begunFolder()
	if err != nil {
		return err
	}
	r, err := orch.Gates(ctx)
	if err != nil && !errors.Is(err, orchestrator.ErrGate) {
		return err
	}
	return errors.Join(g.answer(r, func(w io.Writer) {
		fmt.Fprintf(w, "To step %d, answered by port %d:\n", r.To, r.Asked)
		if len(r.Gates) == 0 {
			fmt.Fprintln(w, "  nothing is asked of this move")
		}
		g.printGates(w, r.Gates)
	}), err)
}
