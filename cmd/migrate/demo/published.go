package demo

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/published"
)

// beforePublished does what the published pattern asks for before a step:
// while the instance at step 7 serves, what only the old database has is copied.
func (d *demo) beforePublished(ctx context.Context, step int) error {
	if step != int(migration.RemoveOld) {
		return nil
	}
	db, err := d.Databases()
	if err != nil {
		return err
	}
	d.Scene.tell("copying what only the old database has")
	tasks, err := published.Open(ctx, db, migration.Backfill, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer tasks.Close()
	copied, err := tasks.Backfill(ctx)
	if err != nil {
		return err
	}
	d.note(fmt.Sprintf("backfill: %d rows that the new database lacked", copied))
	return nil
}

// some of the problems: the published pattern has too many to tell.
func (d *demo) some(problems []string) []string {
	const few = 4
	if d.AsPublished && len(problems) > few {
		problems = problems[:few]
	}
	return slices.Clone(problems)
}

// compare says what the last line is made of, and what it is without the holes.
func (d *demo) compare() {
	fmt.Fprintf(d.Out, "  still so at the end: lost %d, stale %d; the others were seen on the way\n", d.res.Check.Lost, d.res.Check.Stale)
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(d.res.Kinds)) {
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, d.res.Kinds[kind]))
	}
	fmt.Fprintf(d.Out, "  failures: %s\n", strings.Join(kinds, ", "))
	fmt.Fprintln(d.Out, "with the fence, the pairs and the link: lost 0, stale 0, failed 0 (migrate demo)")
}
