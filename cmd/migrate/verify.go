package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
)

type verifyOptions struct {
	rate   float64
	repair bool
	drop   []string
	dryRun bool
	within string // the command that runs it; empty if it is the command
}

// command is what the journal calls it.
func (o verifyOptions) command() string {
	text := "verify"
	if o.repair {
		text += " --repair"
	}
	for _, id := range o.drop {
		text += " --drop " + id
	}
	return text + inside(o.within)
}

// verifyAnswer is what verify says in JSON.
type verifyAnswer struct {
	migration.VerifyReport
	Rows        []store.Quarantined `json:"quarantined_rows,omitempty"` // the first of them
	Quarantined int64               `json:"quarantined"`
	Read        []store.Quarantined `json:"converted_rows,omitempty"`
	Plan        *plan               `json:"plan,omitempty"` // of --dry-run
}

func newVerifyCmd(g *globals) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare the two databases record by record",
		Long: `Compare the two databases record by record, while the service runs, and list the
rows of the old one that wait in quarantine. Exits 7 if records are missing,
stale or different in the primary.`,
		Example: "  migrate verify\n  migrate verify --repair\n  migrate verify --drop 4f1c",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runVerify(cmd.Context(), g, o) },
	}
	f := cmd.Flags()
	f.Float64Var(&o.rate, "rate", 0, "records a second at most (default: no limit)")
	f.BoolVar(&o.repair, "repair", false, "send the newer copy to the database that lacks it; never guesses where contents differ")
	f.StringArrayVar(&o.drop, "drop", nil, "remove the quarantined rows with this `id` for good (\"''\": those with an empty one)")
	f.BoolVar(&o.dryRun, "dry-run", false, "compare, record nothing, and list what --repair and --drop would do")
	return cmd
}

func runVerify(ctx context.Context, g *globals, o verifyOptions) error {
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
		return dryVerify(ctx, g, s, o)
	}
	rep, err := verifyAll(ctx, g, s, o)
	if err != nil {
		return err
	}
	ans := verifyAnswer{VerifyReport: rep}
	if err := ans.look(ctx, s); err != nil {
		return err
	}
	if err := g.answer(ans, func(w io.Writer) { g.printVerify(w, ans) }); err != nil {
		return err
	}
	return differs(rep)
}

// verifyAll drops what is to be dropped, compares, and keeps in the journal
// what came of it.
func verifyAll(ctx context.Context, g *globals, s *stores, o verifyOptions) (rep migration.VerifyReport, err error) {
	began := time.Now()
	if err = dropAll(ctx, g, s, o.drop); err == nil {
		rep, err = compareAll(ctx, g, s, o, migration.Verify)
	}
	if err != nil {
		return rep, s.noted(ctx, o.command(), began, "", err)
	}
	result := fmt.Sprintf("clean: %d equal, %d behind", rep.Equal, rep.Behind)
	if rep.Repaired > 0 {
		result += fmt.Sprintf(", %d repaired", rep.Repaired)
	}
	return rep, s.orch.Note(o.command(), began, result, differs(rep))
}

// dropAll drops the rows that are listed with these ids or keys.
func dropAll(ctx context.Context, g *globals, s *stores, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	rows, _, err := countQuarantine(ctx, s.old, 0)
	if err != nil {
		return err
	}
	legacy, _ := store.As[store.Legacy](s.old)
	for _, id := range ids {
		keys := keysOf(rows, id)
		if len(keys) == 0 {
			return noSuchRow(id, "the rows that were named before it are dropped")
		}
		for n, key := range keys {
			if err := legacy.Drop(ctx, key); err != nil {
				return undecided(err, dropRows(), key, n)
			}
		}
		g.say(fmt.Sprintf("dropped %d quarantined row(s) with id %q", len(keys), id))
	}
	return nil
}

// keysOf are the keys of the rows with this id, or with this key.
func keysOf(rows []store.Quarantined, id string) []string {
	var keys []string
	for _, q := range rows {
		if q.ID == id || q.Key == id {
			keys = append(keys, q.Key)
		}
	}
	return keys
}

func noSuchRow(id, state string) error {
	return next(usageError{fmt.Errorf("no row with id %q is in quarantine", id)}, state, "migrate verify, which lists them")
}

// dryVerify compares, and says what would be changed after that.
func dryVerify(ctx context.Context, g *globals, s *stores, o verifyOptions) error {
	repair := o.repair
	rep, err := compareAll(ctx, g, s, o, migration.Compare)
	if err != nil {
		return err
	}
	ans := verifyAnswer{VerifyReport: rep, Plan: &plan{DryRun: true, Actions: actions{}}}
	if err := ans.look(ctx, s); err != nil {
		return err
	}
	for _, id := range o.drop {
		rows, _, err := countQuarantine(ctx, s.old, 0)
		if err != nil {
			return err
		}
		n := len(keysOf(rows, id))
		if n == 0 {
			return noSuchRow(id, "nothing was changed")
		}
		ans.Plan.Actions.add("remove %d quarantined row(s) with id %q for good", n, id)
	}
	lacking := rep.Missing + rep.Stale
	if rep.Primary == store.PrimaryOld {
		lacking += rep.Behind
	}
	if repair && lacking > 0 {
		ans.Plan.Actions.add("send the newer copy of %d records to the database that lacks it", lacking)
	}
	err = g.answer(ans, func(w io.Writer) {
		g.printVerify(w, ans)
		ans.Plan.Actions.print(w)
	})
	return errors.Join(err, differs(rep))
}

// comparing is migration.Verify, or what only compares.
type comparing func(context.Context, store.Old, store.New, migration.VerifyOptions) (migration.VerifyReport, error)

// compareAll runs a verify, or only compares.
func compareAll(ctx context.Context, g *globals, s *stores, o verifyOptions, run comparing) (migration.VerifyReport, error) {
	bar := g.bar("verify", "records", 2*defaultBatch)
	rep, err := run(ctx, s.old, s.new, migration.VerifyOptions{
		Batch: defaultBatch, Repair: o.repair, Throttle: throttle(o.rate, 2*defaultBatch),
		Progress: func(p migration.Pass) { bar.at(p.Done, p.Total) },
	})
	bar.end()
	if err != nil {
		return rep, passFailed(err, "no result was recorded", "migrate doctor, then migrate verify")
	}
	return rep, nil
}

// differs is an error unless the primary has what it should.
func differs(rep migration.VerifyReport) error {
	if rep.Clean {
		return nil
	}
	switch lacking := rep.Missing + rep.Stale + rep.Different; {
	case lacking == 0 && rep.Strangers > 0:
		return next(fmt.Errorf("%w: %d in the new database that nobody put there by migrate", errDiffers, rep.Strangers),
			"nothing is written over them, and a record with such an id can't be copied", "take them out of the new database with its own tools, then migrate verify")
	case lacking == 0 && rep.Unguarded != "":
		return next(fmt.Errorf("%w: other programs may write to the old database unseen: %s", errDiffers, rep.Unguarded),
			"both databases are as they were, and the service goes on", "migrate adopt, then migrate verify")
	}
	return next(fmt.Errorf("%w: %d missing, %d stale, %d different in the primary", errDiffers, rep.Missing, rep.Stale, rep.Different),
		"both databases are as they were, and the service goes on", "migrate backfill, then migrate verify --repair; look at each record that is different")
}

// shownRows is how many rows of a kind verify shows.
const shownRows = 20

// look adds the rows that people must know of.
func (a *verifyAnswer) look(ctx context.Context, s *stores) (err error) {
	legacy, ok := store.As[store.Legacy](s.old)
	if !ok {
		return nil
	}
	if a.Rows, a.Quarantined, err = legacy.Quarantine(ctx, shownRows); err != nil {
		return err
	}
	a.Read, _, err = legacy.Converted(ctx, shownRows)
	return err
}

func (g *globals) printVerify(w io.Writer, a verifyAnswer) {
	fmt.Fprintf(w, "epoch %d, primary %s: %d equal, %d behind, %d late, %d missing, %d stale, %d different",
		a.Epoch, a.Primary, a.Equal, a.Behind, a.Late, a.Missing, a.Stale, a.Different)
	if a.Strangers > 0 {
		fmt.Fprintf(w, ", %d stranger(s)", a.Strangers)
	}
	if a.Repaired > 0 {
		fmt.Fprintf(w, ", %d repaired", a.Repaired)
	}
	fmt.Fprintln(w)
	for _, m := range a.Samples {
		if m.Finding == migration.FoundStranger && len(a.Strange) > 0 {
			continue // it is told below
		}
		fmt.Fprintf(w, "  %-9s  %s  old %v  new %v\n", m.Finding, m.ID, m.Old, m.New)
	}
	for _, stranger := range a.Strange {
		fmt.Fprintf(w, "  %-9s  %s  of %s: nobody put it there by migrate\n", migration.FoundStranger, stranger.ID, stranger.Collection)
	}
	if a.Quarantined > 0 {
		fmt.Fprintf(w, "%d row(s) of the old database in quarantine; create anew what is wanted, then %s:\n", a.Quarantined, g.hint("migrate quarantine drop KEY"))
		g.printQuarantine(w, a.Rows, a.Quarantined)
	}
	if a.Converted > 0 {
		fmt.Fprintf(w, "%d row(s) are read other than they are stored:\n", a.Converted)
		for _, q := range a.Read {
			fmt.Fprintf(w, "  %s: %s\n", q.Reason, q.Row)
		}
		if more := a.Converted - int64(len(a.Read)); more > 0 {
			fmt.Fprintf(w, "  … and %d more\n", more)
		}
	}
	if a.Clean {
		fmt.Fprintln(w, "Clean.")
	}
}
