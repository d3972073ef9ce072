package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // as is one on PostgreSQL
	_ "modernc.org/sqlite"             // the legacy database is written as the original program wrote it

	"migrate.invalid/migrate/app"
	"migrate.invalid/migrate/app/driver"
	"migrate.invalid/migrate/app/migration"
)

func stepName(step int) string { return migration.Step(step).Name() }

// layLegacy writes a database as the original program had it and returns the
// ids of its tasks.
func layLegacy(ctx context.Context, of app.Databases, n int) (ids []string, err error) {
	kind, source := "sqlite", "file:"+of.OldPlace().Where
	if !inFile(of) {
		kind, source = "pgx", of.Old
	}
	db, err := sql.Open(kind, source)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() // nothing, once it is committed
	table, insert := `CREATE TABLE tasks(id text, assignee text, description text, done boolean)`, `INSERT INTO tasks VALUES(?,?,?,?)`
	if !inFile(of) {
		table, insert = `CREATE TABLE tasks(id text PRIMARY KEY, assignee text, description text, done boolean)`, `INSERT INTO tasks VALUES($1,$2,$3,$4)`
	}
	for _, statement := range []string{
		table,
		`CREATE INDEX tasks_assignee_done ON tasks(assignee, done)`,
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return nil, err
		}
	}
	for i := range n {
		id, assignee := uuid.NewString(), "Bill"
		if i%2 == 1 {
			assignee = "Jane"
		}
		// Most are done, as in a service that has been in use for a while.
		if _, err := tx.ExecContext(ctx, insert, id, assignee, fmt.Sprintf("legacy task %d", i+1), i%10 != 0); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, tx.Commit()
}

// inFile reports whether the old database is SQLite's.
func inFile(of app.Databases) bool { return driver.Scheme(of.Old) == driver.SchemeSQLite }

// moveAway renames the old database, so that nobody finds it, and returns its name.
func moveAway(ctx context.Context, of app.Databases) (string, error) {
	if path := of.OldPlace().Where; inFile(of) {
		return filepath.Base(path), moveFile(path)
	}
	cfg, err := pgx.ParseConfig(of.Old)
	if err != nil {
		return "", err
	}
	name := cfg.Database
	cfg.Database = "postgres"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	quoted := pgx.Identifier{name}.Sanitize()
	for _, statement := range []string{
		`alter database ` + quoted + ` allow_connections false`,
		`select pg_terminate_backend(pid) from pg_stat_activity where datname = '` + name + `'`,
		`alter database ` + quoted + ` rename to ` + pgx.Identifier{name + ".away"}.Sanitize(),
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return "", err
		}
	}
	return "the database " + name, nil
}

// moveFile renames a file and what SQLite keeps beside it.
func moveFile(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		err := os.Rename(path+suffix, path+".away"+suffix)
		if err != nil && !(suffix != "" && errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return nil
}

// before does what a step's gates ask for: data that has been compared before
// new decides, and all of it copied and verified before old goes.
func (d *demo) before(ctx context.Context, step int) error {
	if step != int(migration.NewPrimary) && step != int(migration.RemoveOld) {
		return nil
	}
	db, err := d.Databases()
	if err != nil {
		return err
	}
	db.Timeout = app.PageTimeout
	quiet := slog.New(slog.DiscardHandler)
	old, err := app.OpenOld(ctx, db, quiet)
	if err != nil {
		return err
	}
	defer old.Close()
	to, err := app.OpenNew(ctx, db, quiet)
	if err != nil {
		return err
	}
	defer to.Close()
	copied, err := migration.CopyAll(ctx, old, to, migration.BackfillOptions{Progress: d.pass("backfill")})
	if err != nil {
		return fmt.Errorf("backfill: %w", err)
	}
	rep, err := migration.Verify(ctx, old, to, migration.VerifyOptions{Progress: d.pass("verify")})
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	d.note(fmt.Sprintf("backfill: %d records, complete: %v; verify: %d equal, %d behind, %d missing, %d stale, %d different",
		copied.Copied, copied.Complete, rep.Equal, rep.Behind, rep.Missing, rep.Stale, rep.Different))
	if !rep.Clean {
		return fmt.Errorf("%w: the verify is not clean", ErrDiffers)
	}
	return nil
}

// pass tells how far a pass over the records has come.
func (d *demo) pass(what string) func(migration.Pass) {
	d.Scene.tell("%s", what)
	return func(p migration.Pass) { d.Scene.far(p.Done, p.Total) }
}
