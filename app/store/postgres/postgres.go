// Package postgres is PostgreSQL in both roles: [Old], the person's own tables,
// which keep their shape while the service moves away from them, and [New], typed
// tables as one would design them.
//
// What the protocol needs lives beside the tables, in a schema of its own: for
// each table a companion with the protocol's fields, and an outbox of the changes
// that the other database still lacks. An old database has the fence there, too,
// and a gate: an empty table whose lock every writer takes before it reads the
// fence. Triggers keep programs that know nothing of this inside the protocol. Our
// own writes name collection and id in a setting of their transaction, and the
// triggers stand aside for that one row.
//
// Every call is one transaction, and nothing outlives it in the session: a pooler
// in transaction mode may stand between. Before COMMIT is sent a failure has
// changed nothing; from then on the outcome is unknown.
package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// DefaultTimeout is how long a call may take, unless told otherwise.
const DefaultTimeout = 5 * time.Second

// Config says where the database is and what is moved.
type Config struct {
	// URI is a connection string as psql has it.
	URI         string
	Collections []record.Collection
	Logger      *slog.Logger  // nil: none
	Timeout     time.Duration // of each call, if its context ends no sooner; zero: DefaultTimeout
	Look        time.Duration // how long a call looks for the server; zero: Timeout
	// Create lets the take-over of an old database make tables that are missing.
	Create bool
	// SameServer has every call fail with store.ErrStranger on a server that has
	// taken over from the one before, until it is accepted: commits may be lost.
	SameServer bool
	// Accept names rules of the tables that the new database doesn't have and that
	// the person accepts, see [store.Rule].
	Accept []string
}

// Record is one copy of a record.
type Record = store.Record

// Page is a page of records.
type Page = store.Page

// role is what a database is in a migration.
type role struct {
	schema  string // of the protocol's own tables
	foreign bool   // the tables are somebody's, and so are other programs that write to them
}

var (
	asOld = role{schema: "migrate", foreign: true}
	asNew = role{schema: "migrate_new"}
)

// declared is a collection as this role has it: the tables and columns of a new
// database have the names of collections and fields.
func (r role) declared(c record.Collection) record.Collection {
	if r.foreign {
		return c
	}
	c.Table = c.Name
	for n := range c.Fields {
		c.Fields[n].Column = c.Fields[n].Name
	}
	return c
}

// base is what both roles do alike.
type base struct {
	role
	cfg    Config
	tables []*table // in the order of their ids
	text   string   // the canonical declaration
	log    *slog.Logger
	pool   *pgxpool.Pool
	// writers has a place for each that may write at once: fewer than there are
	// connections, so that readers find one while each COMMIT waits for a standby.
	writers chan struct{}
}

func newBase(ctx context.Context, cfg Config, role role) (*base, error) {
	tables, err := newTables(cfg.Collections, role)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	b := &base{role: role, cfg: cfg, tables: tables, log: cfg.Logger}
	b.text = record.Declaration{Collections: cfg.Collections}.Canonical()
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.pool, err = newPool(ctx, cfg); err != nil {
		return nil, err
	}
	most := b.pool.Config().MaxConns
	b.writers = make(chan struct{}, most-most/4)
	return b, nil
}

// Close ends the connections. Calls that are under way may fail.
func (b *base) Close() error {
	b.pool.Close()
	return nil
}
