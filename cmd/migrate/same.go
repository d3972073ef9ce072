package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"migrate/app"
	"migrate/app/migration"
	"migrate/app/redact"
	"migrate/app/store"
	"migrate/app/store/mongo"
	"migrate/orchestrator"
)

// authDatabase is where MongoDB keeps its users. A URI that names it says where
// to log in, not where the records are.
const authDatabase = "admin"

// nameDatabase takes the new database's name from --mongo-uri, and refuses one
// that is no connection string or that names another database than --mongo-db.
func (g *globals) nameDatabase(cmd *cobra.Command) error {
	if g.MongoURI == "" {
		return nil
	}
	if err := mongo.Validate(g.MongoURI); err != nil {
		return next(usageError{fmt.Errorf("--mongo-uri: %w", err)}, "nothing was changed", "the same command with --mongo-uri mongodb://HOST:PORT, or mongodb+srv://NAME")
	}
	switch named := mongo.DatabaseOf(g.MongoURI); {
	case named == "", named == authDatabase:
	case g.MongoDB != "" && g.MongoDB != named:
		return next(usageError{fmt.Errorf("--mongo-uri names the database %s, and --mongo-db names %s", named, g.MongoDB)}, "nothing was changed",
			fmt.Sprintf("leave --mongo-db out, or name %s in both; a user who is known to another database is found by ?authSource=%s", g.MongoDB, named))
	default:
		g.MongoDB = named
	}
	return nil
}

// same proves that databases that are named otherwise than those in use are the
// same ones. The migration id in each must be that of the service. Since a copy
// has it too, the file must be the same file, and the new database must show what
// an instance that runs writes to the one in use.
func same(ctx context.Context, db app.Databases, d orchestrator.Difference) error {
	if !d.Old && !d.New {
		return nil
	}
	id := d.Was.Migration
	if id == "" {
		var err error
		if id, err = app.IdentifyOld(ctx, d.Was.SQLite); err != nil || id == "" {
			return otherwise(fmt.Errorf("%s, which is in use, has no migration id yet to compare others by", d.Was.SQLite))
		}
	}
	if d.Old {
		held, err := app.IdentifyOld(ctx, db.SQLite)
		if err != nil {
			return otherwise(fmt.Errorf("the old database that is in use is %s, and nothing shows that %s is the same one: %w", d.Was.SQLite, db.SQLite, err))
		}
		if held != id {
			return otherwise(fmt.Errorf("%w: the old database %s is of %s, and the one in use, %s, of migration %s", store.ErrStranger, db.SQLite, migrationNamed(held), d.Was.SQLite, id))
		}
		if err := sameFile(d, db.SQLite); err != nil {
			return err
		}
	}
	if !d.New {
		return nil
	}
	was := d.Was.MongoURI + ", " + d.Was.MongoDB
	held, err := identifyNew(ctx, db)
	if err != nil {
		return next(fmt.Errorf("%w: the new database that is in use is %s, and nothing shows that %s is the same one: %w", orchestrator.ErrNotReady, was, newNamed(db), err),
			"nothing was changed", newRemedy(err.Error(), db.MongoURI)+"; or leave --mongo-uri and --mongo-db as they were")
	}
	if held != id {
		return otherwise(fmt.Errorf("%w: the new database %s is of %s, and the one in use, %s, of migration %s", store.ErrStranger, newNamed(db), migrationNamed(held), was, id))
	}
	return sameServer(ctx, db, d)
}

// sameFile refuses a copy of the old database: what was written since it was made
// is only in the file in use. It refuses another name of the same file, too, since
// SQLite would keep another -wal beside that one. The same folder may have another
// path. A file that was moved while nothing had it open is no copy.
func sameFile(d orchestrator.Difference, asked string) error {
	_, err := os.Stat(d.Was.SQLite)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(d.Running) == 0:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return next(fmt.Errorf("%w: the old database that is in use is %s, which is no longer there, and nothing shows that %s is the file that port %d has open",
			orchestrator.ErrUsage, d.Was.SQLite, asked, d.Running[0]), "nothing was changed", "move the file back, or end every instance with migrate stop --all --yes before it is moved; then repeat the command")
	case err != nil:
		return otherwise(fmt.Errorf("the old database that is in use is %s, and nothing shows that %s is the same one: %w", d.Was.SQLite, asked, err))
	}
	if filepath.Base(asked) == filepath.Base(d.Was.SQLite) && oneFile(asked, d.Was.SQLite) && oneFile(filepath.Dir(asked), filepath.Dir(d.Was.SQLite)) {
		return nil
	}
	return next(fmt.Errorf("%w: the old database %s is not %s, which is in use, but a copy or another name of it: what was written to the one in use may be missing in it", orchestrator.ErrUsage, asked, d.Was.SQLite),
		"nothing was changed", "leave --sqlite out; to have the file elsewhere, migrate stop --all --yes, then move it (a copy, with the other left in place, is refused), then repeat the command")
}

// oneFile reports whether two paths lead to one file or folder.
func oneFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// sameServer refuses a copy of the new database: an instance writes to the one in
// use, and that must show here. Where no instance runs that could, the migration
// id must do.
func sameServer(ctx context.Context, db app.Databases, d orchestrator.Difference) error {
	if d.Touch == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*checkTimeout)
	defer cancel()
	before, err := app.LastProbe(ctx, db)
	if err == nil {
		err = d.Touch(ctx)
	}
	var after string
	if err == nil {
		after, err = app.LastProbe(ctx, db)
	}
	if err != nil {
		return next(fmt.Errorf("%w: the new database that is in use is %s, %s, and whether %s is the same one can't be found out now: %w", orchestrator.ErrNotReady, d.Was.MongoURI, d.Was.MongoDB, newNamed(db), err),
			"nothing was changed", "leave --mongo-uri and --mongo-db as they were, or repeat the command once the new database answers")
	}
	if before == after {
		return next(fmt.Errorf("%w: the new database %s is another one of the same migration than the one in use, %s, %s: what the service writes there does not come to it. Is it a copy?", orchestrator.ErrUsage, newNamed(db), d.Was.MongoURI, d.Was.MongoDB),
			"nothing was changed", "leave --mongo-uri and --mongo-db as they were")
	}
	return nil
}

// sameAsKept is same for a command that opens both databases itself.
func sameAsKept(ctx context.Context, o *orchestrator.Orchestrator, db app.Databases) error {
	d, err := o.Difference(orchestrator.Databases{SQLite: db.SQLite, MongoURI: db.MongoURI, MongoDB: db.MongoDB})
	if err != nil {
		return err
	}
	return same(ctx, db, d)
}

// looksSame is sameAsKept for a command that only reads: it has nothing written.
func looksSame(ctx context.Context, o *orchestrator.Orchestrator, db app.Databases) error {
	d, err := o.Difference(orchestrator.Databases{SQLite: db.SQLite, MongoURI: db.MongoURI, MongoDB: db.MongoDB})
	if err != nil {
		return err
	}
	d.Touch = nil
	return same(ctx, db, d)
}

func otherwise(err error) error {
	return next(fmt.Errorf("%w: %w", orchestrator.ErrUsage, err), "nothing was changed", "leave the database flags out, or use another --dir for another migration")
}

func migrationNamed(id string) string {
	if id == "" {
		return "no migration"
	}
	return "migration " + id
}

// newNamed is the new database as people may read it.
func newNamed(db app.Databases) string { return redact.URI(db.MongoURI) + ", " + db.MongoDB }

func identifyNew(ctx context.Context, db app.Databases) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return app.IdentifyNew(ctx, db)
}

// checkRecords refuses a new database that can't be the one that the service has
// written its records to: one of another migration, and one without a migration
// id, which is empty, unless the old database is primary and has them all.
func (g *globals) checkRecords(ctx context.Context, db app.Databases) error {
	id, err := identifyNew(ctx, db)
	switch {
	case err != nil:
		return unreachable(db, err)
	case db.Migration == "" || id == db.Migration:
		return nil
	case id != "":
		return anothers(db, id)
	case oldIsPrimary(ctx, db):
		g.warn(fmt.Sprintf("the new database %s has lost its migration id and with it what was copied: it is prepared anew, since the old one is primary and has every record; then migrate backfill", newNamed(db)))
		return nil
	}
	return next(fmt.Errorf("%w: %w: the new database %s has no migration id, and the service has written records to one of migration %s", orchestrator.ErrUsage, store.ErrStranger, newNamed(db), db.Migration),
		"nothing was changed", "give the --mongo-uri and --mongo-db that the records were written to; if they are right, bring that database's data back before anything else is started")
}

// anothers refuses a new database of another migration, by name.
func anothers(db app.Databases, id string) error {
	return next(fmt.Errorf("%w: %w: the new database %s is of %s, and the service's records are in one of migration %s", orchestrator.ErrUsage, store.ErrStranger, newNamed(db), migrationNamed(id), db.Migration),
		"nothing was changed", "leave the database flags out, or give the --mongo-uri and --mongo-db that the records were written to")
}

// checkPrepared refuses what reads both databases unless the new one can be
// reached and is of the migration that is remembered.
func checkPrepared(ctx context.Context, db app.Databases) error {
	id, err := identifyNew(ctx, db)
	switch {
	case err != nil:
		return unreachable(db, err)
	case db.Migration == "" || id == db.Migration:
		return nil
	case id == "" && oldIsPrimary(ctx, db):
		return next(fmt.Errorf("%w: %w: the new database %s has no migration id: it is not the one that records were copied to, or it has lost them", orchestrator.ErrUsage, store.ErrStranger, newNamed(db)),
			"nothing was changed", "see that --mongo-uri and --mongo-db are right; if they are, migrate spawn at the step of the service prepares it anew, then migrate switch")
	}
	return anothers(db, id)
}

func oldIsPrimary(ctx context.Context, db app.Databases) bool {
	db.Create = false
	old, err := app.OpenOld(ctx, db, slog.New(slog.DiscardHandler))
	if err != nil {
		return false
	}
	defer old.Close()
	fence, err := old.Fence(ctx)
	return err == nil && fence.Primary == store.PrimaryOld && fence.Migration == db.Migration
}

// mayWait reports whether an instance can start while the new database is out of
// reach: one that goes back or starts anew, where the old one may be primary.
func mayWait(from, step int) bool { return step <= from && migration.Step(step).ReadsFence() }

// written reports whether an instance that had the traffic has written to the
// new database.
func written(from int) bool { return from >= int(migration.WriteBoth) }

// unreachable says why the new database can't be used, and what helps.
func unreachable(db app.Databases, err error) error {
	if errors.Is(err, mongo.ErrMalformed) {
		return next(fmt.Errorf("%w: %w", orchestrator.ErrUsage, err), "nothing was changed", "correct --mongo-uri, and repeat the command")
	}
	return next(fmt.Errorf("%w: the new database at %s can't be reached: %w", orchestrator.ErrNotReady, redact.URI(db.MongoURI), err), "nothing was changed", newRemedy(err.Error(), db.MongoURI))
}
