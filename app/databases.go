package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"migrate.invalid/migrate/app/driver"
	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/todo"
)

// Databases says where the two databases are, and what is moved between them.
type Databases struct {
	Old         string // URI
	New         string // URI
	Name        string // of the new database, where its URI names a server
	Declaration record.Declaration
	Migration   string // the migration id that is remembered; empty before first contact
	Create      bool   // make the old one when it is missing, and the tables in one without, as the original would

	// SameServer has every call fail on a server that has taken over and that
	// nobody has accepted: see store.Lined.
	SameServer bool

	Timeout time.Duration // of one call on the new database; its own default if zero
}

// ErrNoFile: the old database is missing, and none may be made.
var ErrNoFile = errors.New("there is no such file")

// lookFor bounds how long a command looks for the new database's server, so that
// people are told within five seconds what keeps it from being used.
const lookFor = 3 * time.Second

// declared is the declaration, or that of the ToDo service.
func (db Databases) declared() record.Declaration {
	if len(db.Declaration.Collections) == 0 {
		return todo.Declaration()
	}
	return db.Declaration
}

// OldPlace is where the old database is, as people may read it.
func (db Databases) OldPlace() driver.Place {
	if d, err := driver.OfOld(db.Old); err == nil {
		return d.Place(db.Old)
	}
	return driver.Place{Scheme: driver.Scheme(db.Old)}
}

// NewPlace is where the new database is, as people may read it.
func (db Databases) NewPlace() driver.Place {
	if d, err := driver.OfNew(db.New); err == nil {
		return d.Place(db.New, db.Name)
	}
	return driver.Place{Scheme: driver.Scheme(db.New)}
}

// OldMissing reports whether the old database is certainly not there.
func (db Databases) OldMissing() bool {
	d, err := driver.OfOld(db.Old)
	return err == nil && d.Missing(db.Old)
}

func (db Databases) prepareOld() error {
	d, err := driver.OfOld(db.Old)
	if err != nil {
		return err
	}
	return d.Prepare(db.Old)
}

// CheckOld returns ErrNoFile when the old database should be there and is not,
// and store.ErrStranger when another one is in its place, if only a copy from
// before first contact: either would look like a fresh start.
func CheckOld(ctx context.Context, db Databases) error {
	d, err := driver.OfOld(db.Old)
	if err != nil {
		return err
	}
	begun := db.Migration != ""
	missing := d.Missing(db.Old)
	if missing && (begun || !db.Create) {
		return fmt.Errorf("the old database %s: %w", db.OldPlace(), ErrNoFile)
	}
	if missing || !begun {
		return nil // what else is wrong with it, opening it tells better
	}
	if found, err := d.Identify(ctx, db.Old); err == nil && found != db.Migration {
		return fmt.Errorf("%w: %s is not the old database that this migration began with", store.ErrStranger, db.OldPlace())
	}
	return nil
}

// OldRemedy says what helps against an error of the old database, "" if nothing
// particular does.
func (db Databases) OldRemedy(err error) string {
	d, unknown := driver.OfOld(db.Old)
	if unknown != nil {
		return ""
	}
	return d.Remedy(err.Error())
}

// IdentifyOld returns the migration id of an old database; empty if it has none
// yet. The database must be there.
func IdentifyOld(ctx context.Context, uri string) (string, error) {
	d, err := driver.OfOld(uri)
	if err != nil {
		return "", err
	}
	return d.Identify(ctx, uri)
}

// IdentifyNew returns the migration id of the new database; empty if it has
// none. It changes nothing.
func IdentifyNew(ctx context.Context, db Databases) (string, error) {
	s, err := OpenNewBriefly(ctx, db)
	if err != nil {
		return "", err
	}
	defer s.Close()
	return s.Identify(ctx)
}

// LastProbe names the last write to the new database that no record feels; empty
// before any. It changes nothing.
func LastProbe(ctx context.Context, db Databases) (string, error) {
	s, err := OpenNewBriefly(ctx, db)
	if err != nil {
		return "", err
	}
	defer s.Close()
	return s.LastProbe(ctx)
}

// CheckNew returns an error when the new database can't be reached. It says
// nothing of what is in it.
func CheckNew(ctx context.Context, db Databases) error {
	s, err := OpenNewBriefly(ctx, db)
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.Look().Prepared(ctx); err != nil && !errors.Is(err, store.ErrStranger) {
		return err
	}
	return nil
}

// CheckPair returns store.ErrStranger when the new database is of a migration
// that the old one is not of. What can't be asked is not refused here.
func CheckPair(ctx context.Context, db Databases) error {
	to, err := OpenNew(ctx, db, nil)
	if err != nil {
		return nil
	}
	defer to.Close()
	id, err := to.Look().Prepared(ctx)
	if err != nil {
		return nil
	}
	held, err := IdentifyOld(ctx, db.Old)
	if err == nil && held == id || err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, store.ErrStranger) {
		return nil
	}
	return fmt.Errorf("%w: the new one, %s, is of migration %s already, and %s is not", store.ErrStranger, db.NewPlace(), id, db.OldPlace())
}

// OpenOld opens the old database.
func OpenOld(ctx context.Context, db Databases, log *slog.Logger) (store.Old, error) {
	d, err := driver.OfOld(db.Old)
	if err != nil {
		return nil, err
	}
	return d.Open(ctx, db.Old, driver.Options{Declaration: db.declared(), Log: log, Create: db.Create, SameServer: db.SameServer})
}

// OpenNew opens the new database; a server out of reach is no error yet.
func OpenNew(ctx context.Context, db Databases, log *slog.Logger) (driver.NewStore, error) {
	return openNew(ctx, db, log, 0)
}

// OpenNewBriefly opens it for a command that people wait for.
func OpenNewBriefly(ctx context.Context, db Databases) (driver.NewStore, error) {
	return openNew(ctx, db, nil, lookFor)
}

// openNew opens it for calls that look for its server no longer than the limit;
// 0: no less than for the whole call.
func openNew(ctx context.Context, db Databases, log *slog.Logger, limit time.Duration) (driver.NewStore, error) {
	d, err := driver.OfNew(db.New)
	if err != nil {
		return nil, err
	}
	return d.Open(ctx, db.New, driver.Options{Declaration: db.declared(), Name: db.Name, Log: log, Timeout: db.Timeout, Look: limit, SameServer: db.SameServer})
}
