package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"migrate/app/migration"
)

const defaultBatch = 200

type backfillOptions struct {
	rate   float64
	batch  int
	rescan bool
	within string // the command that runs it; empty if it is the command
}

// command is what the journal calls it.
func (o backfillOptions) command() string {
	text := "backfill"
	if o.rescan {
		text += " --rescan"
	}
	return text + inside(o.within)
}

func inside(command string) string {
	if command == "" {
		return ""
	}
	return " (" + command + ")"
}

func newBackfillCmd(g *globals) *cobra.Command {
	o := backfillOptions{batch: defaultBatch}
	cmd := &cobra.Command{
		Use:   "backfill",
		Short: "Copy what only the old database has to the new one",
		Long: `Copy what only the old database has to the new one, while the service runs.
It may begin at step 3. An interrupted run goes on where it stopped. Run under
the new primary (steps 5 to 7) it leaves the completion mark that step 8 waits
for.`,
		Example: "  migrate backfill\n  migrate backfill --rate 500",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.batch < 1 {
				return badUsage(cmd, "--batch must be at least 1, not %d", o.batch)
			}
			return runBackfill(cmd.Context(), g, o)
		},
	}
	f := cmd.Flags()
	f.Float64Var(&o.rate, "rate", 0, "records a second at most (default: no limit)")
	f.IntVar(&o.batch, "batch", o.batch, "records a page")
	f.BoolVar(&o.rescan, "rescan", false, "start from the first record even if an earlier run got further")
	return cmd
}

func runBackfill(ctx context.Context, g *globals, o backfillOptions) error {
	s, err := g.stores(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	res, err := copyAll(ctx, g, s, o)
	if err != nil {
		return err
	}
	return g.answer(res, func(w io.Writer) {
		switch {
		case res.Already:
			fmt.Fprintf(w, "Already complete under epoch %d: %d records.\n", res.Epoch, res.Copied)
		case res.Complete:
			fmt.Fprintf(w, "Complete under epoch %d: %d records. Next: %s\n", res.Epoch, res.Copied, g.hint("migrate verify"))
		default:
			fmt.Fprintf(w, "Copied %d records. The old database is still primary (epoch %d): run it again from step 5 on, to complete it.\n", res.Copied, res.Epoch)
		}
	})
}

// copyAll runs a backfill.
func copyAll(ctx context.Context, g *globals, s *stores, o backfillOptions) (migration.BackfillResult, error) {
	began := time.Now()
	bar := g.bar("backfill", "records", o.batch)
	res, err := migration.CopyAll(ctx, s.old, s.new, migration.BackfillOptions{
		Batch: o.batch, Throttle: throttle(o.rate, o.batch), Rescan: o.rescan,
		Progress: func(p migration.Pass) { bar.at(p.Done, p.Total) },
	})
	bar.end()
	if err != nil {
		err = passFailed(err, fmt.Sprintf("%d records were copied; what was copied stays", res.Copied), "migrate doctor; then migrate backfill, which goes on where this one stopped")
	}
	result := fmt.Sprintf("%d records under epoch %d", res.Copied, res.Epoch)
	if res.Complete {
		result += ", complete"
	}
	return res, s.noted(ctx, o.command(), began, result, err)
}
