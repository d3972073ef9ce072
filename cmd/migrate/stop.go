package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/orchestrator"
)

type stopOptions struct {
	orchestrator.StopOptions
	all bool
}

func newStopCmd(g *globals) *cobra.Command {
	var o stopOptions
	cmd := &cobra.Command{
		Use:   "stop PORT | --all",
		Short: "Retire instances",
		Long: `Retire an instance: it finishes what it has (SIGTERM, a bounded grace, SIGKILL).
The active one is refused without --yes. --all stops every instance, nginx and
the embedded server; the data stays.`,
		Example: "  migrate stop 8000\n  migrate stop --all --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.all != (len(args) == 0) || len(args) > 1 {
				return badUsage(cmd, "name one port, or --all")
			}
			if !o.all {
				port, err := strconv.Atoi(args[0])
				if err != nil {
					return badUsage(cmd, "%q is not a port", args[0])
				}
				o.Port = port
			}
			return runStop(cmd.Context(), g, o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "every instance, nginx and the embedded server")
	f.BoolVarP(&o.Yes, "yes", "y", false, "the active one too")
	graceFlag(cmd, (*orchestrator.Duration)(&o.Grace))
	f.BoolVar(&o.DryRun, "dry-run", false, "list each action, and do nothing")
	cmd.ValidArgsFunction = g.completes(portsOf(anyInstance))
	return cmd
}

func runStop(ctx context.Context, g *globals, o stopOptions) error {
	orch, proxy, err := g.begunFolder()
	if err != nil {
		return err
	}
	if !o.all {
		r, err := orch.Stop(ctx, o.StopOptions)
		if err != nil {
			return err
		}
		if o.DryRun {
			return g.planStop(r)
		}
		return g.answer(r, func(w io.Writer) { printStop(w, r) })
	}
	r, err := orch.StopAll(ctx, o.StopOptions)
	if err != nil {
		return err
	}
	st, err := proxy.Status(ctx)
	if err != nil {
		return err
	}
	_, mongo, err := orch.DaemonStatus(mongoDaemon)
	if err != nil {
		return err
	}
	var parts []string // that run
	if st.Running {
		parts = append(parts, "nginx")
	}
	if mongo {
		parts = append(parts, "the embedded server")
	}
	if o.DryRun {
		return g.planStop(r, parts...)
	}
	// One that seems not to run may have left something that does.
	if err := orch.Exclusive(ctx, "nginx stop", proxy.Stop); err != nil {
		return err
	}
	if err := orch.StopDaemon(ctx, mongoDaemon); err != nil {
		return err
	}
	if err := orch.StopKeeper(ctx); err != nil {
		return err
	}
	return g.answer(stopAnswer{r, append([]string{}, parts...)}, func(w io.Writer) {
		printStop(w, r)
		if len(parts) > 0 {
			fmt.Fprintf(w, "Stopped: %s\n", strings.Join(parts, " and "))
		}
		fmt.Fprintln(w, "The data stays.")
	})
}

// serving is the instance that clients reach: the active one or, once that has
// ended, the one that stands by; nil when there is none.
func serving(ctx context.Context, o *orchestrator.Orchestrator) (*orchestrator.InstanceStatus, error) {
	s, err := o.Status(ctx)
	if err != nil {
		return nil, err
	}
	for _, role := range []string{orchestrator.RoleActive, orchestrator.RoleFallback} {
		for _, i := range s.Instances {
			if i.Role == role && i.Running {
				return &i, nil
			}
		}
	}
	return nil, nil
}

// stopAnswer is what stop --all says in JSON.
type stopAnswer struct {
	orchestrator.StopResult
	Parts []string `json:"parts"` // what else ran and was stopped
}

func (g *globals) planStop(r orchestrator.StopResult, parts ...string) error {
	var p plan
	for _, port := range r.Stopped {
		p.Actions.add("end the instance on port %d, once it has finished what it has", port)
	}
	for _, part := range parts {
		p.Actions.add("stop %s", part)
	}
	return g.answerPlan(p)
}

func printStop(w io.Writer, r orchestrator.StopResult) {
	if len(r.Stopped) == 0 {
		fmt.Fprintln(w, "No instance runs.")
		return
	}
	fmt.Fprintf(w, "Stopped: port %s\n", strings.Trim(strings.ReplaceAll(fmt.Sprint(r.Stopped), " ", ", "), "[]"))
}
