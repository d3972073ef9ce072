package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/orchestrator"
)

func newQuarantineCmd(g *globals) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "quarantine",
		Short: "Decide on the rows of the old database that can't go over",
		Long: `Rows of the old database that can't be records, and records that the new
database can't hold, are in quarantine: marked, where they are, or moved aside
if they repeat an id. They keep the primary from moving, and step 8 from being
reached, until somebody decides: a write through the service is a decision, and
so are the commands below. Rows are named by the keys that list shows.`,
		Example: "  migrate quarantine list\n  migrate quarantine export rows.jsonl\n  migrate quarantine drop tasks/moved-1-6e5e61f3",
	})
	cmd.AddCommand(newQuarantineListCmd(g), newQuarantineExportCmd(g), newDecideCmd(g, dropRows()), newDecideCmd(g, restoreRows()))
	return cmd
}

// legacyRows is the old database, opened by a command that works on its rows alone.
type legacyRows struct {
	old  store.Old
	rows store.Legacy
	db   app.Databases
	orch *orchestrator.Orchestrator
}

// legacy opens the old database, which must have been taken over before. It is
// not needed that the new one can be reached.
func (g *globals) legacy(ctx context.Context) (*legacyRows, error) {
	o, _, err := g.begunFolder()
	if err != nil {
		return nil, err
	}
	db, err := g.databases(o)
	if err != nil {
		return nil, err
	}
	if db.OldMissing() {
		return nil, next(usageError{fmt.Errorf("the old database %s is not there", db.OldPlace())}, "nothing was changed", "put it back, or say with --old where it is")
	}
	if err := app.CheckOld(ctx, db); err != nil {
		return nil, next(usageError{err}, "nothing was changed", belongTogether)
	}
	old, err := app.OpenOld(ctx, db, nil)
	if err != nil {
		return nil, err
	}
	rows, ok := store.As[store.Legacy](old)
	if !ok {
		return nil, errors.Join(usageError{fmt.Errorf("a database of scheme %s has no quarantine", db.OldPlace().Scheme)}, old.Close())
	}
	return &legacyRows{old, rows, db, o}, nil
}

func (l *legacyRows) close() { _ = l.old.Close() }

// quarantined is what quarantine list says in JSON.
type quarantined struct {
	Rows  []store.Quarantined `json:"rows"`
	Total int64               `json:"total"`
}

func newQuarantineListCmd(g *globals) *cobra.Command {
	limit := 50
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the rows on which nobody has decided",
		Long: `List the rows of the old database on which nobody has decided, with the key, the
reason and the row. On a terminal long rows are shortened; migrate quarantine
export writes them whole.`,
		Example: "  migrate quarantine list\n  migrate quarantine list --limit 0 --json | jq -r '.rows[].key'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return badUsage(cmd, "--limit must be at least 0, not %d", limit)
			}
			return runQuarantineList(cmd.Context(), g, limit)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", limit, "how many rows; 0 for all")
	return cmd
}

func runQuarantineList(ctx context.Context, g *globals, limit int) error {
	l, err := g.legacy(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	q := quarantined{Rows: []store.Quarantined{}}
	rows, total, err := l.rows.Quarantine(ctx, limit)
	if err != nil {
		return untaken(err)
	}
	q.Rows, q.Total = append(q.Rows, rows...), total
	return g.answer(q, func(w io.Writer) {
		if q.Total == 0 {
			fmt.Fprintln(w, "Nothing is in quarantine.")
			return
		}
		g.printQuarantine(w, q.Rows, q.Total)
		fmt.Fprintf(w, "Next: write what is wanted through the service, or %s, or %s\n", g.hint("migrate quarantine drop KEY"), g.hint("migrate quarantine restore KEY"))
	})
}

// untaken explains what a database that was not taken over yet says.
func untaken(err error) error {
	if errors.Is(err, store.ErrStranger) {
		return next(usageError{fmt.Errorf("the old database has not been taken over yet, or is another one's: %w", err)}, "nothing was changed", "migrate adopt --dry-run, which shows what would be set aside")
	}
	return err
}

// printQuarantine is a line a row, with the reason; of the row what there is room for.
func (g *globals) printQuarantine(w io.Writer, rows []store.Quarantined, total int64) {
	cells := make([][]string, len(rows))
	for n, q := range rows {
		cells[n] = []string{q.Key, q.Collection, q.Reason, g.shortened(q.Row)}
	}
	g.columns(w, []string{"KEY", "COLLECTION", "REASON", "ROW"}, cells)
	if more := total - int64(len(rows)); more > 0 {
		fmt.Fprintf(w, "… and %d more\n", more)
	}
}

// shortened is a row as a terminal shows it. A pipe gets the whole.
func (g *globals) shortened(row string) string {
	const most = 120
	if runes := []rune(row); isTerminal(g.out) && len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return row
}

func newQuarantineExportCmd(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "export [FILE]",
		Short: "Write the rows whole, a line of JSON each",
		Long: `Write every row on which nobody has decided to a file that only its owner may
read, or to standard output, a line of JSON each: collection, key, reason, id,
and the whole row as SQL literals. Nothing else is changed.`,
		Example: "  migrate quarantine export rows.jsonl\n  migrate quarantine export | jq -r .reason | sort | uniq -c",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return badUsage(cmd, "name one file, not %d", len(args))
			}
			return runQuarantineExport(cmd.Context(), g, strings.Join(args, ""))
		},
	}
}

func runQuarantineExport(ctx context.Context, g *globals, path string) error {
	l, err := g.legacy(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	rows, _, err := l.rows.Quarantine(ctx, 0)
	if err != nil {
		return untaken(err)
	}
	if path == "" {
		return writeLines(g.out, rows)
	}
	file, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o600))
	if err != nil {
		return next(usageError{fmt.Errorf("write %s: %w", path, err)}, "nothing was changed", "name a file in a folder that can be written")
	}
	defer file.Cleanup()
	if err := writeLines(file, rows); err != nil {
		return err
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	g.say(fmt.Sprintf("%d row(s) written to %s", len(rows), path))
	return nil
}

func writeLines(w io.Writer, rows []store.Quarantined) error {
	buffered := bufio.NewWriter(w)
	enc := json.NewEncoder(buffered)
	for _, q := range rows {
		if err := enc.Encode(q); err != nil {
			return err
		}
	}
	return buffered.Flush()
}

// decision is what a command does with the rows that are named.
type decision struct {
	name, short, long, done string
	apply                   func(context.Context, store.Legacy, string) error
}

func dropRows() decision {
	return decision{"drop", "Remove rows for good",
		`Remove rows of the quarantine for good. Where a row is a record, that is a
deletion, and only possible while the old database is primary. The copy that was
made at the take-over keeps them.`, "dropped",
		func(ctx context.Context, l store.Legacy, key string) error { return l.Drop(ctx, key) }}
}

func restoreRows() decision {
	return decision{"restore", "Make records of rows that were moved aside",
		`Put rows that were moved aside because they repeated an id back as records,
once the id is free: only while the old database is primary.`, "restored",
		func(ctx context.Context, l store.Legacy, key string) error { return l.Restore(ctx, key) }}
}

func newDecideCmd(g *globals, d decision) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:     d.name + " KEY…",
		Short:   d.short,
		Long:    d.long,
		Example: fmt.Sprintf("  migrate quarantine %s tasks/moved-1-6e5e61f3\n  migrate quarantine %s --dry-run tasks/moved-1-6e5e61f3", d.name, d.name),
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return badUsage(cmd, "name the row, or the rows, by the key that migrate quarantine list shows")
			}
			return runDecide(cmd.Context(), g, d, args, dryRun)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "list each action, and do nothing")
	return cmd
}

// decided is what such a command says in JSON.
type decided struct {
	Done []string `json:"done"` // keys
}

func runDecide(ctx context.Context, g *globals, d decision, keys []string, dry bool) error {
	l, err := g.legacy(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.known(ctx, keys); err != nil {
		return err
	}
	if dry {
		var p plan
		for _, key := range keys {
			p.Actions.add("%s the row %s", d.name, key)
		}
		return g.answerPlan(p)
	}
	began, answer := time.Now(), decided{Done: []string{}}
	for _, key := range keys {
		if err = d.apply(ctx, l.rows, key); err != nil {
			break
		}
		answer.Done = append(answer.Done, key)
		g.say(d.done + " " + key)
	}
	if err != nil {
		err = undecided(err, d, keys[len(answer.Done)], len(answer.Done))
	}
	command := "quarantine " + d.name + " " + strings.Join(keys, " ")
	if lost := l.orch.Note(command, began, fmt.Sprintf("%d row(s) %s", len(answer.Done), d.done), unlessInterrupted(ctx, err)); lost != nil {
		err = errors.Join(err, lost)
	}
	if err != nil {
		return err
	}
	return g.answer(answer, func(w io.Writer) { fmt.Fprintf(w, "%d row(s) %s.\n", len(answer.Done), d.done) })
}

// known refuses keys that no row has before any is decided on.
func (l *legacyRows) known(ctx context.Context, keys []string) error {
	rows, _, err := l.rows.Quarantine(ctx, 0)
	if err != nil {
		return untaken(err)
	}
	there := map[string]bool{}
	for _, q := range rows {
		there[q.Key] = true
	}
	var missing []error
	for _, key := range keys {
		if !there[key] {
			missing = append(missing, fmt.Errorf("no row with the key %q is in quarantine", key))
		}
	}
	if len(missing) > 0 {
		return next(usageError{errors.Join(missing...)}, "nothing was changed", "migrate quarantine list, which shows the keys")
	}
	return nil
}

// undecided says why a row could not be decided on, and what helps.
func undecided(err error, d decision, key string, done int) error {
	err = fmt.Errorf("%s %s: %w", d.name, key, err)
	state := fmt.Sprintf("%d row(s) before it are %s; this one is as it was", done, d.done)
	switch {
	case errors.Is(err, store.ErrFenceMoved):
		return next(usageError{err}, state, "write what is wanted through the service, which decides under the new primary; or migrate rollback until the old database is primary, then repeat the command")
	case errors.Is(err, store.ErrConflict):
		return next(usageError{err}, state, "migrate quarantine list: the row is there no more, or its id is taken; delete or change the record that has it first")
	}
	return next(err, state, "migrate quarantine list, then repeat the command for what is left")
}

// countQuarantine is the answer of a store that has no quarantine: none.
func countQuarantine(ctx context.Context, old store.Old, limit int) ([]store.Quarantined, int64, error) {
	rows, ok := store.As[store.Legacy](old)
	if !ok {
		return nil, 0, nil
	}
	return rows.Quarantine(ctx, limit)
}
