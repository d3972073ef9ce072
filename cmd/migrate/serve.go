package main

import (
	"cmp"
	"errors"
	"log/slog"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"migrate.invalid/migrate/app"
	"migrate.invalid/migrate/app/driver"
	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/published"
)

type serveOptions struct {
	port        int
	step        int
	admin       string
	migrationID string
	compareMin  int64
	fromEpoch   int64
	asPublished bool
}

func newServeCmd(g *globals) *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve --port PORT --step STEP",
		Short: "Run one instance of the ToDo service in the foreground",
		Long: `Run one instance of the ToDo service in the foreground, until it is told to end.
migrate spawn is what starts one beside a live one; this is what it starts.`,
		Example: "  migrate serve --port 8000 --step 1 --sqlite todo.sqlite",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runServe(cmd, g, o) },
	}
	f := cmd.Flags()
	f.IntVar(&o.port, "port", firstPort, "port on 127.0.0.1")
	f.IntVar(&o.step, "step", 1, "step of the migration, 1 to 8")
	f.StringVar(&o.admin, "admin-socket", "", "path of the admin socket (default: none)")
	f.StringVar(&o.migrationID, "migration-id", "", "the migration that the databases must belong to (default: whichever they say)")
	f.Int64Var(&o.compareMin, "compare-min", 1000, "`reads` that must have been compared before the move to step 5")
	f.Int64Var(&o.fromEpoch, "from-epoch", 0, "the fence's `epoch` when this instance was spawned at step 5: it makes new primary from that one alone, and without it from none")
	f.BoolVar(&o.asPublished, "as-published", false, "the pattern as it is usually built: it loses writes")
	g.mayCreate(cmd)
	_ = f.MarkHidden("as-published") // fails for a flag that isn't there
	return ends(cmd, endsTerminal)
}

// ownersOnly keeps what the databases make for themselves from all others. A
// file that is there already keeps its mode, and gives it to what is beside it.
const ownersOnly = 0o077

func runServe(cmd *cobra.Command, g *globals, o serveOptions) error {
	if o.step < 1 || o.step > lastStep {
		return badUsage(cmd, "--step %d: there are steps 1 to %d", o.step, lastStep)
	}
	if o.port < 1 || o.port > 65535 {
		return badUsage(cmd, "--port %d is no port", o.port)
	}
	if o.compareMin < 1 {
		return badUsage(cmd, "--compare-min %d: at least one read must be compared", o.compareMin)
	}
	if o.fromEpoch < 0 {
		return badUsage(cmd, "--from-epoch %d: epochs are counted from 1", o.fromEpoch)
	}
	syscall.Umask(ownersOnly)
	build, err := buildID(g.self)
	if err != nil {
		return err
	}
	d, err := g.declaration()
	if err == nil {
		err = d.mustServe()
	}
	if err != nil {
		return err
	}
	db := app.Databases{
		Old: cmp.Or(g.Old, d.Old), New: cmp.Or(g.New, d.New, "mongodb://"+defaultMongo+"/"), Name: cmp.Or(g.Name, d.Name, defaultDatabase),
		Declaration: d.Declaration, Migration: o.migrationID, Create: g.Create,
	}
	if db.Old == "" {
		db.Create = true
		if db.Old, err = resolveOld(driver.SchemeSQLite+":"+filepath.Join(g.Dir, "data", "todo.sqlite"), "."); err != nil {
			return err
		}
	}
	if o.step == int(migration.NewPrimary) && o.fromEpoch == 0 {
		o.fromEpoch = migration.NoEpoch
	}
	run := app.Run
	if o.asPublished {
		run = published.Run
	}
	err = run(cmd.Context(), app.Config{
		Databases: db, Port: o.port, Step: migration.Step(o.step), AdminSocket: o.admin,
		Build: build, CompareMin: o.compareMin, FromEpoch: o.fromEpoch, Log: g.logger(slog.LevelInfo),
	})
	if errors.Is(err, migration.ErrRefused) && o.fromEpoch == migration.NoEpoch {
		return next(err, "the instance has ended; nothing was changed", "migrate spawn --step 5, which tells an instance the epoch of the fence; or migrate serve --step 5 --from-epoch N, with the epoch that migrate status shows")
	}
	if errors.Is(err, app.ErrNoFile) {
		return noFile(err)
	}
	return err
}
