package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
)

const defaultBatch = 200

type backfillOptions struct {
	rate   float64
	batch  int
	rescan bool
	dryRun bool
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
		Example: "  migrate backfill\n  migrate backfill --dry-run\n  migrate backfill --rate 500",
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
	f.BoolVar(&o.dryRun, "dry-run", false, "list each action, and do nothing")
	return cmd
}

func runBackfill(ctx context.Context, g *globals, o backfillOptions) error {
	open := g.stores
	if o.dryRun {
		open = g.storesToRead
	}
	s, err := open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if o.dryRun {
		return dryBackfill(ctx, g, s, o)
	}
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
		case res.Quarantine > 0 && res.Primary == store.PrimaryNew:
			fmt.Fprintf(w, "Copied %d records. It is not complete while %d row(s) wait in quarantine: %s shows them; decide, then run it again.\n", res.Copied, res.Quarantine, g.hint("migrate quarantine list"))
		default:
			fmt.Fprintf(w, "Copied %d records. The old database is still primary (epoch %d): run it again from step 5 on, to complete it.\n", res.Copied, res.Epoch)
		}
	})
}

// backfillPlan is what backfill says to --dry-run.
type backfillPlan struct {
	plan
	Epoch    int64         `json:"epoch"`
	Primary  store.Primary `json:"primary"`
	Complete bool          `json:"complete"` // an earlier run has left the completion mark
}

// dryBackfill looks where a backfill would begin, and says what it would do
// from there: about, because the service goes on meanwhile.
func dryBackfill(ctx context.Context, g *globals, s *stores, o backfillOptions) error {
	p, err := planBackfill(ctx, s, o)
	if err != nil {
		return passFailed(err, "nothing was changed", "migrate doctor, then migrate backfill")
	}
	return g.answer(p, func(w io.Writer) {
		if p.Complete {
			fmt.Fprintf(w, "Complete under epoch %d already.\n", p.Epoch)
		}
		p.Actions.print(w)
	})
}

func planBackfill(ctx context.Context, s *stores, o backfillOptions) (backfillPlan, error) {
	p := backfillPlan{plan: plan{DryRun: true, Actions: actions{}}}
	fence, err := s.old.Fence(ctx)
	if err != nil {
		return p, err
	}
	look := s.new.Look()
	id, err := look.Prepared(ctx)
	if err == nil && id != fence.Migration {
		err = fmt.Errorf("%w: the old one is of migration %q, the new one of %q", store.ErrStranger, fence.Migration, id)
	}
	if err != nil {
		return p, err
	}
	progress, err := look.Progress(ctx, fence.Epoch)
	if err != nil {
		return p, err
	}
	total, err := s.old.Count(ctx)
	if err != nil {
		return p, err
	}
	p.Epoch, p.Primary, p.Complete = fence.Epoch, fence.Primary, progress.Complete
	switch {
	case p.Complete && !o.rescan:
		return p, nil
	case progress.After != "" && !o.rescan:
		p.Actions.add("go on after the %d records that an earlier run has copied, and copy about %d more under epoch %d",
			progress.Copied, max(0, total-progress.Copied), p.Epoch)
	default:
		p.Actions.add("copy about %d records under epoch %d", total, p.Epoch)
	}
	if p.Primary == store.PrimaryNew {
		p.Actions.add("leave the completion mark of epoch %d, which the gates to step %d ask for", p.Epoch, lastStep)
	}
	return p, nil
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
