// Package app is the ToDo service: it opens the databases that its step calls
// for, puts the migration over them and serves the result. One process is one
// instance at one step.
package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"

	"migrate/app/migration"
	"migrate/app/store"
	"migrate/app/store/mongo"
	"migrate/app/store/sqlite"
	"migrate/app/task"
	"migrate/app/web"
)

// PageTimeout is for commands that read and write whole pages: the embedded
// server gives others their turn within a page, which on a busy machine takes
// longer than any single record may.
const PageTimeout = time.Minute

// startPatience bounds how long an instance tries to find its place before it
// begins to serve; what is out of reach then it goes on trying.
const startPatience = 10 * time.Second

// Databases says where the two databases are.
type Databases struct {
	SQLite    string // path of the file
	MongoURI  string
	MongoDB   string // name of the database
	Migration string // the migration id that is remembered; empty before first contact
	Create    bool   // make the old one's file when it is missing, and the table in a file without, as the original would

	Timeout time.Duration // of one call on the new database; its own default if zero
}

// ErrNoFile: the old database's file is missing, and none may be made.
var ErrNoFile = errors.New("there is no such file")

// ErrUnsuited: the old database's file is not one that can be migrated.
var ErrUnsuited = errors.New("this file can't be migrated")

// CheckOld returns ErrNoFile when the old database's file should be there and
// is not, and store.ErrStranger when another one is in its place, if only a
// copy from before first contact: either would look like a fresh start.
func CheckOld(ctx context.Context, db Databases) error {
	begun := db.Migration != ""
	_, err := os.Stat(db.SQLite)
	if errors.Is(err, fs.ErrNotExist) && (begun || !db.Create) {
		return fmt.Errorf("the old database %s: %w", db.SQLite, ErrNoFile)
	}
	if err != nil || !begun {
		return nil // what else is wrong with it, opening it tells better
	}
	if found, err := sqlite.Identify(ctx, db.SQLite); err == nil && found != db.Migration {
		return fmt.Errorf("%w: %s is not the old database that this migration began with", store.ErrStranger, db.SQLite)
	}
	return nil
}

// lookFor bounds how long a command looks for the new database's server, so that
// people are told within five seconds what keeps it from being used.
const lookFor = 3 * time.Second

// IdentifyOld returns the migration id of an old database's file; empty if it
// has none yet. The file must be there.
func IdentifyOld(ctx context.Context, path string) (string, error) {
	if _, err := os.Stat(path); err != nil {
		return "", err
	}
	id, err := sqlite.Identify(ctx, path)
	if errors.Is(err, store.ErrStranger) {
		return "", nil
	}
	return id, err
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

// Config describes one instance.
type Config struct {
	Databases
	Host        string // to listen on; 127.0.0.1 when empty
	Port        int
	Step        migration.Step
	AdminSocket string // path of the admin socket; none when empty
	Build       string // version of the program
	CompareMin  int64  // reads to be compared before step 5; see migration.Config
	Log         *slog.Logger
}

// CheckPair returns store.ErrStranger when the new database is of a migration
// that the old one is not of. What can't be asked is not refused here.
func CheckPair(ctx context.Context, db Databases) error {
	quiet := slog.New(slog.DiscardHandler)
	to, err := OpenNew(ctx, db, quiet)
	if err != nil {
		return nil
	}
	defer to.Close()
	id, err := to.Look().Prepared(ctx)
	if err != nil {
		return nil
	}
	if _, err := os.Stat(db.SQLite); err == nil {
		db.Create = false
		old, err := OpenOld(ctx, db, quiet)
		if err != nil {
			return nil
		}
		defer old.Close()
		if fence, err := old.Fence(ctx); err == nil && fence.Migration == id || err != nil && !errors.Is(err, store.ErrStranger) {
			return nil
		}
	}
	return fmt.Errorf("%w: the new one, %q, is of migration %s already, and %s is not", store.ErrStranger, db.MongoDB, id, db.SQLite)
}

// OpenOld opens the old database.
func OpenOld(ctx context.Context, db Databases, log *slog.Logger) (*sqlite.Store, error) {
	return sqlite.Open(ctx, sqlite.Config{Path: db.SQLite, Logger: log, Create: db.Create})
}

// OpenNew opens the new database; a server out of reach is no error yet.
func OpenNew(ctx context.Context, db Databases, log *slog.Logger) (*mongo.Store[task.Task, task.Filter], error) {
	return openNew(ctx, db, log, 0)
}

// OpenNewBriefly opens it for a command that people wait for.
func OpenNewBriefly(ctx context.Context, db Databases) (*mongo.Store[task.Task, task.Filter], error) {
	return openNew(ctx, db, slog.New(slog.DiscardHandler), lookFor)
}

// openNew opens it for calls that look for its server no longer than the limit;
// 0: no less than for the whole call.
func openNew(ctx context.Context, db Databases, log *slog.Logger, limit time.Duration) (*mongo.Store[task.Task, task.Filter], error) {
	return mongo.Open[task.Task, task.Filter](ctx, mongo.Config[task.Filter]{
		Select: limit,
		URI:    db.MongoURI, Database: db.MongoDB, Collection: "tasks", Logger: log, Timeout: db.Timeout,
		Filter: filter, ListKeys: []string{"assignee", "done"},
	})
}

// filter says in MongoDB's words what [task.Filter.Match] says.
func filter(f task.Filter) bson.D {
	d := bson.D{}
	if f.Assignee != nil {
		d = append(d, bson.E{Key: "assignee", Value: *f.Assignee})
	}
	if f.Done != nil {
		d = append(d, bson.E{Key: "done", Value: *f.Done})
	}
	return d
}

// instance is what Run has opened, to be closed in the reverse order.
type instance struct {
	old   *sqlite.Store
	new   *mongo.Store[task.Task, task.Filter]
	first *web.FirstContact // nil unless this instance made it
	tasks *migration.Service[task.Task, task.Filter]
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
		SQLitePath: cfg.SQLite, MongoURI: cfg.MongoURI, MongoDB: cfg.MongoDB,
		FirstContact: i.first, Collectors: i.tel.collectors(),
	}, i.tasks)
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
	mc := migration.Config[task.Task, task.Filter]{
		Step: cfg.Step, Migration: cfg.Migration, Logger: cfg.Log, Observe: i.tel.observe, CompareMin: cfg.CompareMin,
	}
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

// openOld opens the old database and, at the steps that read its fence, makes
// first contact. At steps 6 and 7 it may be out of reach: what is final in the
// new one is served without it.
func openOld(ctx context.Context, cfg Config) (*sqlite.Store, *web.FirstContact, error) {
	if cfg.Create {
		if err := os.MkdirAll(filepath.Dir(cfg.SQLite), 0o700); err != nil {
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
	contact, err := old.FirstContact(ctx)
	if err != nil {
		if errors.Is(err, store.ErrStranger) {
			err = fmt.Errorf("%w: %w", ErrUnsuited, err)
		}
		return nil, nil, errors.Join(fmt.Errorf("first contact with the old database: %w", err), old.Close())
	}
	if contact.Copy == "" {
		return old, nil, nil
	}
	cfg.Log.Info("first contact: the old database was copied before anything was added to it",
		"copy", contact.Copy, "rows", contact.Rows, "quarantined", contact.Quarantined)
	return old, &web.FirstContact{Copy: contact.Copy, Rows: contact.Rows, Quarantined: contact.Quarantined}, nil
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
