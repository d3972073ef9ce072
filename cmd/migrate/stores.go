package main

import (
	"context"
	"errors"
	"log/slog"

	"golang.org/x/time/rate"

	"migrate/app"
	"migrate/app/store"
	"migrate/app/task"
)

// stores are both databases, opened in a command's own process.
type stores struct {
	old store.Old[task.Task, task.Filter]
	new store.New[task.Task, task.Filter]
	db  app.Databases
}

// stores opens both databases of the state folder. They must have been in
// contact before: a command never makes first contact by the way.
func (g *globals) stores(ctx context.Context) (*stores, error) {
	o, _, err := g.orchestrator()
	if err != nil {
		return nil, err
	}
	db, err := g.databases(o)
	if err != nil {
		return nil, err
	}
	if err := reachNew(ctx, db); err != nil {
		return nil, err
	}
	db.Timeout = app.PageTimeout
	opened := &stores{db: db}
	if opened.old, err = app.OpenOld(ctx, db, g.logger(slog.LevelWarn)); err != nil {
		return nil, err
	}
	if opened.new, err = app.OpenNew(ctx, db, g.logger(slog.LevelWarn)); err != nil {
		return nil, errors.Join(err, opened.old.Close())
	}
	return opened, nil
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
