package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/orchestrator"
)

const (
	logSize  = 16 << 20 // bytes
	logEvery = 2 * time.Second
)

// newLogsCmd is between this program's own processes: what starts something
// that writes a log starts it, too.
func newLogsCmd(g *globals) *cobra.Command {
	opts := orchestrator.LogOptions{Most: logSize, Every: logEvery}
	cmd := &cobra.Command{
		Use:    "logs",
		Hidden: true,
		Short:  "Keep the logs of what runs small, as long as anything runs",
		Long: `Rotate the logs of instances, of nginx and of the embedded server by size, as
long as anything runs. The commands that start one of them start this, too.`,
		Example: "  migrate logs",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.Most < 1 || opts.Every <= 0 {
				return badUsage(cmd, "--log-size and --log-every must be more than 0")
			}
			orch, proxy, err := g.begunFolder()
			if err != nil {
				return err
			}
			return orch.KeepLogs(cmd.Context(), opts, func(ctx context.Context) bool {
				st, err := proxy.Status(ctx)
				return err == nil && st.Running
			})
		},
	}
	f := cmd.Flags()
	f.Int64Var(&opts.Most, "log-size", opts.Most, "`bytes` of one log, beside which three older ones are kept")
	f.DurationVar(&opts.Every, "log-every", opts.Every, "how `often` the sizes are looked at")
	return cmd
}

// keepLogs has the logs kept small of what was just started.
func (g *globals) keepLogs(ctx context.Context, orch *orchestrator.Orchestrator) {
	if err := orch.StartKeeper(ctx, []string{g.self, "logs", "--dir", orch.Dir()}); err != nil {
		g.say("the logs are not rotated: " + err.Error()) // which is not worth a failure
	}
}
