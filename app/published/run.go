package published

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"migrate.invalid/migrate/app"
	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/web"
)

// Open opens what a step needs.
func Open(ctx context.Context, db app.Databases, step migration.Step, log *slog.Logger) (*Tasks, error) {
	t := &Tasks{step: step, log: log}
	var err error
	if step < migration.RemoveOld {
		if t.old, err = openOld(ctx, db.OldPlace().Where); err != nil {
			return nil, err
		}
	}
	if step > migration.AddDAO {
		if t.new, err = openNew(db.New, db.Name); err != nil {
			return nil, errors.Join(err, t.Close())
		}
	}
	return t, nil
}

// Close closes the databases.
func (t *Tasks) Close() error {
	var errs []error
	if t.old != nil {
		errs = append(errs, t.old.close())
	}
	if t.new != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		errs = append(errs, t.new.close(ctx))
	}
	return errors.Join(errs...)
}

// Run serves until ctx ends, as app.Run does for the service that the project ships.
func Run(ctx context.Context, cfg app.Config) error {
	t, err := Open(ctx, cfg.Databases, cfg.Step, cfg.Log)
	if err != nil {
		return err
	}
	defer t.Close()
	server, err := web.New(web.Config{
		Host: cfg.Host, Port: cfg.Port, AdminSocket: cfg.AdminSocket, Step: cfg.Step,
		Instance: uuid.NewString(), Build: cfg.Build, Log: cfg.Log,
		Old: cfg.OldPlace(), New: cfg.NewPlace(),
	}, t)
	if err != nil {
		return err
	}
	return server.Serve(ctx)
}
