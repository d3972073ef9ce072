package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/google/uuid"

	"migrate/app/migration"
	"migrate/app/store"
	"migrate/orchestrator"
	"migrate/orchestrator/process"
)

// returnPrimary makes the old database primary again, which only going from
// step 4 to 3 needs. Instances above 4 must have been ended. goneHosts are
// hosts that are no more, on the operator's word.
func (g *globals) returnPrimary(ctx context.Context, o *orchestrator.Orchestrator, goneHosts []string) (migration.ReturnResult, error) {
	var res migration.ReturnResult
	s, err := g.stores(ctx)
	if err != nil {
		return res, err
	}
	defer s.close()
	host, err := os.Hostname()
	if err != nil {
		return res, fmt.Errorf("name this host: %w", err)
	}
	err = o.Exclusive(ctx, "return the primary", func(ctx context.Context) error {
		res, err = migration.ReturnPrimary(ctx, s.old, s.new, migration.ReturnOptions{
			Gone: processGone(host, goneHosts), Token: uuid.NewString(), Progress: g.say,
		})
		return err
	})
	switch {
	case errors.Is(err, migration.ErrLiving):
		return res, next(err, "the new database is primary, as before", "migrate stop PORT for that instance; for a host that is no more: migrate rollback --gone-host HOST")
	case errors.Is(err, migration.ErrGaveUp):
		return res, next(err, "the new database is primary, as before", "migrate rollback, once more")
	case err != nil:
		return res, next(err, "if writes wait, they go on within 5 s", "migrate status, then migrate rollback")
	}
	return res, nil
}

// processGone proves that the process of a registration has ended.
func processGone(host string, goneHosts []string) func(store.Registration) error {
	return func(r store.Registration) error {
		switch {
		case r.Host == host && process.Identity{PID: r.PID, Started: r.Started, Boot: r.Boot}.Alive():
			return errors.New("its process lives") // also against the operator's word: it would go on writing
		case r.Host != host && !slices.Contains(goneHosts, r.Host):
			return fmt.Errorf("it runs on another host (%s), where this command can't look", r.Host)
		}
		return nil
	}
}

func printReturn(w io.Writer, r migration.ReturnResult) {
	if r.Already {
		fmt.Fprintf(w, "The old database is primary (epoch %d).\n", r.Epoch)
		return
	}
	fmt.Fprintf(w, "The old database is primary again (epoch %d): writes waited %d ms; %d records were sent back before that, %d meanwhile.\n",
		r.Epoch, r.Pause.Milliseconds(), r.Before, r.Closed)
}
