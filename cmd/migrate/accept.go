package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app"
	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
)

// acceptRows is what accepts rows in quarantine, with their number behind it.
const acceptRows = "quarantine:"

const acceptUsage = "let the primary move although so many rows are in quarantine: `quarantine:N`"

// accepted is what a person has accepted on the command line.
type accepted struct {
	rules []string // of tables, by name
	rows  int64    // in quarantine; -1: nothing was said of them
}

// accepts reads --accept.
func accepts(cmd *cobra.Command, all []string) (accepted, error) {
	a := accepted{rows: -1}
	for _, text := range all {
		number, ok := strings.CutPrefix(text, acceptRows)
		if !ok {
			a.rules = append(a.rules, text)
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 0 {
			return a, badUsage(cmd, "--accept %s: behind quarantine: stands how many rows, such as --accept quarantine:3", text)
		}
		a.rows = n
	}
	return a, nil
}

// onlyRows refuses rules of tables where no table is taken over.
func (a accepted) onlyRows(cmd *cobra.Command) error {
	if len(a.rules) > 0 {
		return badUsage(cmd, "--accept %s: rules of tables are accepted by migrate adopt; here --accept takes quarantine:N", a.rules[0])
	}
	return nil
}

// to refuses what has no meaning at a step.
func (a accepted) to(step int) error {
	if a.rows >= 0 && step != int(migration.NewPrimary) {
		return next(usageError{fmt.Errorf("--accept quarantine:%d is about the move to step %d, where the primary moves, and this is step %d", a.rows, int(migration.NewPrimary), step)},
			"nothing was changed", "the same command without --accept")
	}
	return nil
}

// keep keeps the number beside the fence, where the move of the primary reads it.
func (a accepted) keep(ctx context.Context, db app.Databases, dry bool) error {
	if a.rows < 0 || dry {
		return nil
	}
	db.Create = false
	old, err := app.OpenOld(ctx, db, nil)
	if err != nil {
		return err
	}
	defer old.Close()
	rows, ok := store.As[store.Legacy](old)
	if !ok {
		return usageError{fmt.Errorf("a database of scheme %s has no quarantine", db.OldPlace().Scheme)}
	}
	if err := rows.Accept(ctx, a.rows); err != nil {
		return next(fmt.Errorf("accept %d rows in quarantine: %w", a.rows, err), "nothing was changed", "migrate quarantine list, then repeat the command")
	}
	return nil
}
