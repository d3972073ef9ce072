package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app/driver"
	"migrate.invalid/migrate/app/store/postgres/local"
	"migrate.invalid/migrate/orchestrator"
)

// ownServers says which databases are PostgreSQL's, on a server that the
// demonstration starts and ends.
type ownServers struct{ old, new bool }

// takeOwnServers takes a bare scheme, which names no database, from the flags of a
// demonstration.
func (g *globals) takeOwnServers(cmd *cobra.Command) {
	if cmd.Name() != "demo" {
		return
	}
	bare := func(uri *string) bool {
		if *uri != driver.SchemePostgres && *uri != driver.SchemePostgreSQL {
			return false
		}
		*uri = ""
		return true
	}
	g.own.old, g.own.new = bare(&g.spelled.Old), bare(&g.spelled.New)
}

// ownServersFit refuses what a demonstration can't do with PostgreSQL.
func (g *globals) ownServersFit(o demoOptions) error {
	switch scheme := driver.Scheme(g.Old); {
	case scheme == driver.SchemePostgres || scheme == driver.SchemePostgreSQL:
		return next(usageError{errors.New("the demonstration lays a database down, and moves it away in the end: not in one of yours")}, "nothing was changed", "migrate demo --old postgres")
	case !g.own.old && !g.own.new:
		return nil
	case o.keep:
		return usageError{errors.New("the PostgreSQL server ends with the demonstration: it can't be kept running")}
	case o.asPublished:
		return usageError{errors.New("the pattern as it is usually built is there for SQLite and MongoDB alone")}
	}
	return nil
}

// startOwnServers starts the demonstration's PostgreSQL server, if it has one, and
// returns what ends it.
func (g *globals) startOwnServers(ctx context.Context) (stop func(), err error) {
	if !g.own.old && !g.own.new {
		return func() {}, nil
	}
	// The server runs as another user where this one is root.
	dir, err := os.MkdirTemp("", "migrate-demo-postgres")
	if err != nil {
		return nil, err
	}
	remove := func() {
		if err := os.RemoveAll(dir); err != nil {
			g.warn(err.Error())
		}
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		remove()
		return nil, err
	}
	g.say("starting a PostgreSQL server in " + dir)
	server, err := local.Start(ctx, local.Config{Dir: filepath.Join(dir, "server")})
	if err != nil {
		remove()
		return nil, next(fmt.Errorf("%w: %w", orchestrator.ErrNotReady, err), "nothing was started", "scripts/test.sh installs the server's package; then repeat the command")
	}
	stop = func() {
		if err := server.Stop("fast"); err != nil {
			g.warn(err.Error())
		}
		remove()
	}
	for _, d := range []struct {
		wanted bool
		name   string
		uri    *string
	}{{g.own.old, "legacy", &g.Old}, {g.own.new, "todo", &g.New}} {
		if !d.wanted {
			continue
		}
		if err := server.Create(ctx, d.name); err != nil {
			stop()
			return nil, err
		}
		*d.uri = server.URI(d.name)
	}
	if g.own.new {
		g.Name = "todo"
	}
	return stop, nil
}
