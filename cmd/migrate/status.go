package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"migrate/app/migration"
	"migrate/orchestrator"
)

func newStatusCmd(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "status",
		Short:   "Instances, step, primary and epoch, traffic, pending writes, the last switch",
		Example: "  migrate status --json",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runStatus(cmd.Context(), g) },
	}
}

func runStatus(ctx context.Context, g *globals) error {
	orch, _, err := g.orchestrator()
	if err != nil {
		return err
	}
	st, err := orch.Status(ctx)
	if err != nil {
		return err
	}
	return g.answer(st, func(w io.Writer) { g.printStatus(w, st, orch) })
}

func (g *globals) printStatus(w io.Writer, st orchestrator.Status, orch *orchestrator.Orchestrator) {
	if len(st.Instances) == 0 {
		fmt.Fprintln(w, "No instance runs. Next: migrate spawn --port 8000 --step 1")
	} else {
		t := g.table(w, "PORT", "ROLE", "STEP", "", "PRIMARY", "EPOCH", "READY", "IN FLIGHT", "REQUESTS", "PENDING", "PID")
		for _, i := range st.Instances {
			t.AppendRow(statusRow(i))
		}
		t.Render()
		for _, i := range st.Instances {
			if i.Reason != "" {
				fmt.Fprintf(w, "port %d: %s\n", i.Port, i.Reason)
			}
		}
	}
	fmt.Fprintf(w, "traffic: %s\n", served(st))
	if d := st.Databases; d != nil {
		fmt.Fprintf(w, "old database: %s\nnew database: %s, %s\n", d.SQLite, d.MongoURI, d.MongoDB)
	}
	for _, d := range st.Daemons {
		state := "stopped"
		if d.Running {
			state = fmt.Sprintf("runs (process %d)", d.Process.PID)
		}
		fmt.Fprintf(w, "embedded %s: %s\n", d.Name, state)
	}
	if s := st.LastSwitch; s != nil {
		fmt.Fprintf(w, "last switch: %s by %s, to step %d on port %d\n", s.At.Local().Format("2006-01-02 15:04:05"), s.Who, s.Step, s.Port)
	}
	for _, warning := range st.Warnings {
		fmt.Fprintf(w, "! %s\n", warning)
	}
}

func served(st orchestrator.Status) string {
	switch {
	case st.Served == nil:
		return "nginx does not answer (" + st.ServedError + ")"
	case st.Served.Live == 0:
		return "nginx has no live instance"
	case st.Served.Fallback == 0:
		return fmt.Sprintf("nginx sends it to port %d", st.Served.Live)
	}
	return fmt.Sprintf("nginx sends it to port %d, port %d stands by", st.Served.Live, st.Served.Fallback)
}

func statusRow(i orchestrator.InstanceStatus) table.Row {
	row := table.Row{i.Port, i.Role, i.Step, migration.Step(i.Step).Name(), "", "", yes(i.Ready), "", "", "", i.Process.PID}
	if t := i.Told; t != nil {
		row[4], row[5] = t.Primary, t.Epoch
		if strings.TrimSpace(t.Degraded) != "" {
			row[6] = "degraded"
		}
		row[7], row[8], row[9] = t.InFlight, t.Requests, t.Pending
	}
	return row
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
