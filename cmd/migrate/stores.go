package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"migrate.invalid/migrate/app"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/orchestrator"
)

// stores are both databases, opened in a command's own process.
type stores struct {
	old store.Old
	new store.New
	db  app.Databases

	orch *orchestrator.Orchestrator // whose journal has the passes
}

// stores opens both databases of the state folder. They must have been in
// contact before: a command never makes first contact by the way.
func (g *globals) stores(ctx context.Context) (*stores, error) {
	return g.storesThat(ctx, sameAsKept, true)
}

// storesToRead is stores for a command that only reads.
func (g *globals) storesToRead(ctx context.Context) (*stores, error) {
	return g.storesThat(ctx, looksSame, true)
}

// storesThat opens both databases if they are the ones in use, which same proves.
// A server that has taken over, and that nobody has accepted, is refused by each
// call of theirs if sameServer is set.
func (g *globals) storesThat(ctx context.Context, same func(context.Context, *orchestrator.Orchestrator, app.Databases) error, sameServer bool) (*stores, error) {
	o, _, err := g.begunFolder()
	if err != nil {
		return nil, err
	}
	declares, err := g.declaration()
	if err != nil {
		return nil, err
	}
	if declares.service() { // of another one, no instance of ours can have run
		if err := begun(o); err != nil {
			return nil, err
		}
	}
	db, err := g.databases(o)
	if err != nil {
		return nil, err
	}
	if db.OldMissing() {
		return nil, next(usageError{fmt.Errorf("the old database %s is not there", db.OldPlace())}, "nothing was changed",
			fmt.Sprintf("put the file back, or say with --old where it is; at step %d it is no longer needed", lastStep))
	}
	if err := checkPrepared(ctx, db); err != nil {
		return nil, err
	}
	if err := same(ctx, o, db); err != nil {
		return nil, err
	}
	db.Timeout, db.SameServer = app.PageTimeout, sameServer
	opened := &stores{db: db, orch: o}
	if opened.old, err = app.OpenOld(ctx, db, g.logger(slog.LevelWarn)); err != nil {
		return nil, err
	}
	if opened.new, err = app.OpenNew(ctx, db, g.logger(slog.LevelWarn)); err != nil {
		return nil, errors.Join(err, opened.old.Close())
	}
	return opened, nil
}

// begun refuses what needs both databases before any instance has held both.
func begun(o *orchestrator.Orchestrator) error {
	kept, err := o.Databases()
	switch {
	case err != nil:
		return err
	case kept == nil:
		return next(usageError{errors.New("no instance of the ToDo service has run yet: there is nothing to copy or compare")}, "nothing was changed", "migrate advance --until 3")
	case kept.Untouched:
		return next(usageError{errors.New("no instance has held the new database yet, step 2 is the first to: there is nothing to copy or compare")}, "nothing was changed", "migrate advance --until 3")
	}
	return nil
}

// passFailed says what a pass over both databases has left, and what helps: to
// repeat it doesn't, when they are not of one migration.
func passFailed(err error, state, again string) error {
	if errors.Is(err, store.ErrStranger) {
		return next(usageError{err}, "nothing was changed", belongTogether)
	}
	return next(err, state, again)
}

// noted keeps in the journal how a pass has ended, and returns its error.
func (s *stores) noted(ctx context.Context, command string, began time.Time, result string, err error) error {
	if lost := s.orch.Note(command, began, result, unlessInterrupted(ctx, err)); lost != nil {
		return errors.Join(err, lost)
	}
	return err
}

func (s *stores) close() { _ = errors.Join(s.new.Close(), s.old.Close()) }

// throttle lets at most perSecond records through; nil for no limit.
func throttle(perSecond float64, batch int) func(context.Context, int) error {
	if perSecond <= 0 {
		return nil
	}
	limiter := rate.NewLimiter(rate.Limit(perSecond), batch)
	return limiter.WaitN
}
