// Package app is the ToDo service: it opens the databases that its step calls
// for, puts the migration over them and serves the result. One process is one
// instance at one step.
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/google/uuid"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/todo"
	"migrate.invalid/migrate/app/web"
)

// PageTimeout is for commands that read and write whole pages: the embedded
// server gives others their turn within a page, which on a busy machine takes
// longer than any single record may.
const PageTimeout = time.Minute

// startPatience bounds how long an instance tries to find its place before it
// begins to serve; what is out of reach then it goes on trying.
const startPatience = 10 * time.Second

// Config describes one instance.
type Config struct {
	Databases
	Host        string // to listen on; 127.0.0.1 when empty
	Port        int
	Step        migration.Step
	AdminSocket string // path of the admin socket; none when empty
	Build       string // version of the program
	CompareMin  int64  // reads to be compared before step 5; see migration.Config
	FromEpoch   int64  // of its spawn at step 5; see migration.Config
	Log         *slog.Logger
}

// instance is what Run has opened, to be closed in the reverse order.
type instance struct {
	old   store.Old
	new   store.New
	first *web.FirstContact // nil unless this instance made it
	tasks *migration.Service
	tel   *telemetry
}

// Run serves until ctx ends, then drains and returns nil. An error before that
// says why the instance can't serve: its port is taken, its database belongs to
// another migration, its step may not serve under the present primary.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := listenable(cfg); err != nil {
		return err
	}
	id := uuid.Must(uuid.NewV7()).String()
	i, err := open(ctx, cfg, id)
	if err != nil {
		return err
	}
	defer i.close()
	server, err := web.New(web.Config{
		Host: cfg.Host, Port: cfg.Port, AdminSocket: cfg.AdminSocket, Step: cfg.Step,
		Instance: id, Build: cfg.Build, Log: cfg.Log,
		Old: cfg.OldPlace(), New: cfg.NewPlace(),
		FirstContact: i.first, Collectors: i.tel.collectors(),
	}, todo.New(i.tasks))
	if err != nil {
		return err
	}
	if err := i.start(ctx, cfg.Log); err != nil {
		return err
	}
	// The migration's own work ends after the last request: a registration must
	// outlive every write that it vouches for.
	beside, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- i.tasks.Run(beside) }()
	err = server.Serve(ctx)
	stop()
	return errors.Join(err, <-done)
}

func open(ctx context.Context, cfg Config, id string) (*instance, error) {
	i := &instance{tel: newTelemetry()}
	mc := migration.Config{
		Step: cfg.Step, Migration: cfg.Migration, Logger: cfg.Log, Observe: i.tel.observe, CompareMin: cfg.CompareMin, FromEpoch: cfg.FromEpoch,
	}
	// Before step 3 the new database has nothing that the old one could have lost.
	cfg.SameServer = cfg.Step >= migration.WriteBoth
	var err error
	if mc.Instance, err = registration(id); err != nil {
		return nil, err
	}
	if cfg.Step.HasOld() {
		if i.old, i.first, err = openOld(ctx, cfg); err != nil {
			return nil, err
		}
		mc.Old = i.old
	}
	if cfg.Step.HasNew() {
		if i.new, err = OpenNew(ctx, cfg.Databases, cfg.Log); err != nil {
			i.close()
			return nil, fmt.Errorf("open the new database: %w", err)
		}
		mc.New = i.new
	}
	if i.tasks, err = migration.New(mc); err != nil {
		i.close()
		return nil, err
	}
	return i, nil
}

// openOld opens the old database and, at the steps that read its fence, takes it
// over if nothing else has: migrate spawn does that before. At steps 6 and 7 it may
// be out of reach: what is final in the new one is served without it.
func openOld(ctx context.Context, cfg Config) (store.Old, *web.FirstContact, error) {
	if cfg.Create {
		if err := cfg.prepareOld(); err != nil {
			return nil, nil, fmt.Errorf("make the old database's folder: %w", err)
		}
	}
	if cfg.Step.ReadsFence() {
		if err := CheckOld(ctx, cfg.Databases); err != nil {
			return nil, nil, err
		}
	}
	old, err := OpenOld(ctx, cfg.Databases, cfg.Log)
	if err != nil {
		return nil, nil, fmt.Errorf("open the old database: %w", err)
	}
	if !cfg.Step.ReadsFence() {
		return old, nil, nil
	}
	contact, err := takeOver(ctx, old)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("first contact with the old database: %w", err), old.Close())
	}
	if contact == nil {
		return old, nil, nil
	}
	cfg.Log.Info("first contact: the old database was copied before anything was added to it",
		"copy", contact.Copy, "rows", contact.Rows, "quarantined", contact.Quarantined)
	return old, contact, nil
}

// takeOver takes over an old database that isn't yet; nil if there was nothing to copy.
func takeOver(ctx context.Context, old store.Old) (*web.FirstContact, error) {
	adopter, ok := store.As[store.Adopter](old)
	if !ok {
		return nil, nil
	}
	adopted, err := adopter.Adopt(ctx, store.AdoptOptions{})
	if errors.Is(err, store.ErrFenceMoved) {
		return nil, nil // new is primary: it was taken over long ago
	}
	if errors.Is(err, store.ErrStranger) {
		err = fmt.Errorf("%w: %w", store.ErrUnsuited, err)
	}
	if err != nil || !adopted.Fresh || adopted.Copy == "" {
		return nil, err
	}
	return &web.FirstContact{Copy: adopted.Copy, Rows: adopted.Rows, Quarantined: adopted.Quarantined}, nil
}

// listenable fails when the port is taken: first contact is not to be made for
// an instance that can't serve.
func listenable(cfg Config) error {
	l, err := net.Listen("tcp", net.JoinHostPort(cmp.Or(cfg.Host, "127.0.0.1"), strconv.Itoa(cfg.Port)))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return l.Close()
}

// start finds the instance's place. What only time can mend is left to Run.
func (i *instance) start(ctx context.Context, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	err := i.tasks.Start(ctx)
	if err != nil && !errors.Is(err, store.ErrStranger) && !errors.Is(err, migration.ErrRefused) {
		log.Warn("not in place yet, and going on trying", "error", err)
		return nil
	}
	return err
}

func (i *instance) close() {
	if i.new != nil {
		_ = i.new.Close() // nothing is buffered: every acknowledged write is in the database
	}
	if i.old != nil {
		_ = i.old.Close()
	}
}
