package main

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"migrate/orchestrator"
)

func newHistoryCmd(g *globals) *cobra.Command {
	limit := 20
	cmd := &cobra.Command{
		Use:     "history",
		Short:   "The journal: when, who, what, how long, and why it failed",
		Example: "  migrate history --limit 50",
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return runHistory(g, limit) },
	}
	cmd.Flags().IntVar(&limit, "limit", limit, "how many operations, the latest; 0 for all")
	return cmd
}

func runHistory(g *globals, limit int) error {
	orch, _, err := g.orchestrator()
	if err != nil {
		return err
	}
	ops, unreadable, err := orch.History(limit)
	if err != nil {
		return err
	}
	if ops == nil {
		ops = []orchestrator.Operation{}
	}
	return g.answer(ops, func(w io.Writer) {
		t := g.table(w, "WHEN", "WHO", "WHAT", "OUTCOME", "MS", "DETAIL")
		for _, op := range ops {
			detail := op.Last.Detail
			if op.Last.Error != "" {
				detail = op.Last.Error
			}
			for _, gate := range op.Last.Forced {
				detail += " [forced " + gate + "]"
			}
			t.AppendRow(table.Row{op.Began.Local().Format("01-02 15:04:05"), op.Who, op.Command, op.Outcome, fmt.Sprintf("%.0f", float64(op.Took)), detail})
		}
		t.Render()
		if unreadable > 0 {
			fmt.Fprintf(w, "%d line(s) of the journal are torn and left out.\n", unreadable)
		}
	})
}
