package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"migrate.invalid/migrate/app"
	"migrate.invalid/migrate/app/driver"
	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/orchestrator"
)

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
		if id, err = app.IdentifyOld(ctx, d.Was.Old); err != nil || id == "" {
			return otherwise(fmt.Errorf("%s, which is in use, has no migration id yet to compare others by", oldPlace(d.Was)))
		}
	}
	if d.Old {
		held, err := app.IdentifyOld(ctx, db.Old)
		if err != nil {
			return otherwise(fmt.Errorf("the old database that is in use is %s, and nothing shows that %s is the same one: %w", oldPlace(d.Was), db.OldPlace(), err))
		}
		if held != id {
			return otherwise(fmt.Errorf("%w: the old database %s is of %s, and the one in use, %s, of migration %s", store.ErrStranger, db.OldPlace(), migrationNamed(held), oldPlace(d.Was), id))
		}
		if err := sameOld(d, db); err != nil {
			return err
		}
	}
	if !d.New {
		return nil
	}
	was := newPlace(d.Was)
	held, err := identifyNew(ctx, db)
	if err != nil {
		return next(fmt.Errorf("%w: the new database that is in use is %s, and nothing shows that %s is the same one: %w", orchestrator.ErrNotReady, was, newNamed(db), err),
			"nothing was changed", newRemedy(err.Error(), db.New)+"; or leave --new and --mongo-db as they were")
	}
	if held != id {
		return otherwise(fmt.Errorf("%w: the new database %s is of %s, and the one in use, %s, of migration %s", store.ErrStranger, newNamed(db), migrationNamed(held), was, id))
	}
	return sameServer(ctx, db, d)
}

// sameOld refuses a copy of the old database: what was written since it was made
// is only in the one in use. One that was moved while nothing had it open is no copy.
func sameOld(d orchestrator.Difference, db app.Databases) error {
	was, asked := oldPlace(d.Was), db.OldPlace()
	switch gone := oldMissing(&d.Was); {
	case gone && len(d.Running) == 0:
		return nil
	case gone:
		return next(fmt.Errorf("%w: the old database that is in use is %s, which is no longer there, and nothing shows that %s is the file that port %d has open",
			orchestrator.ErrUsage, was, asked, d.Running[0]), "nothing was changed", "move the file back, or end every instance with migrate stop --all --yes before it is moved; then repeat the command")
	}
	of, err := driver.OfOld(db.Old)
	if err != nil {
		return err
	}
	same, err := of.Same(db.Old, d.Was.Old)
	switch {
	case err != nil:
		return otherwise(fmt.Errorf("the old database that is in use is %s, and nothing shows that %s is the same one: %w", was, asked, err))
	case same:
		return nil
	}
	return next(fmt.Errorf("%w: the old database %s is not %s, which is in use, but a copy or another name of it: what was written to the one in use may be missing in it", orchestrator.ErrUsage, asked, was),
		"nothing was changed", "leave --old out; to have the file elsewhere, migrate stop --all --yes, then move it (a copy, with the other left in place, is refused), then repeat the command")
}

// oldPlace and newPlace are where remembered databases are, as people may read it.
func oldPlace(d orchestrator.Databases) driver.Place { return app.Databases{Old: d.Old}.OldPlace() }

func newPlace(d orchestrator.Databases) driver.Place {
	return app.Databases{New: d.New, Name: d.Name}.NewPlace()
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
		return next(fmt.Errorf("%w: the new database that is in use is %s, and whether %s is the same one can't be found out now: %w", orchestrator.ErrNotReady, newPlace(d.Was), newNamed(db), err),
			"nothing was changed", "leave --new and --mongo-db as they were, or repeat the command once the new database answers")
	}
	if before == after {
		return next(fmt.Errorf("%w: the new database %s is another one of the same migration than the one in use, %s: what the service writes there does not come to it. Is it a copy?", orchestrator.ErrUsage, newNamed(db), newPlace(d.Was)),
			"nothing was changed", "leave --new and --mongo-db as they were")
	}
	return nil
}

// sameAsKept is same for a command that opens both databases itself.
func sameAsKept(ctx context.Context, o *orchestrator.Orchestrator, db app.Databases) error {
	d, err := o.Difference(keptDatabases(db))
	if err != nil {
		return err
	}
	return same(ctx, db, d)
}

// looksSame is sameAsKept for a command that only reads: it has nothing written.
func looksSame(ctx context.Context, o *orchestrator.Orchestrator, db app.Databases) error {
	d, err := o.Difference(keptDatabases(db))
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
func newNamed(db app.Databases) string { return db.NewPlace().String() }

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
		"nothing was changed", "give the --new and --mongo-db that the records were written to; if they are right, bring that database's data back before anything else is started")
}

// anothers refuses a new database of another migration, by name.
func anothers(db app.Databases, id string) error {
	return next(fmt.Errorf("%w: %w: the new database %s is of %s, and the service's records are in one of migration %s", orchestrator.ErrUsage, store.ErrStranger, newNamed(db), migrationNamed(id), db.Migration),
		"nothing was changed", "leave the database flags out, or give the --new and --mongo-db that the records were written to")
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
			"nothing was changed", "see that --new and --mongo-db are right; if they are, migrate spawn at the step of the service prepares it anew, then migrate switch")
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
	if errors.Is(err, driver.ErrURI) {
		return next(fmt.Errorf("%w: %w", orchestrator.ErrUsage, err), "nothing was changed", "correct --new, and repeat the command")
	}
	return next(fmt.Errorf("%w: the new database at %s can't be reached: %w", orchestrator.ErrNotReady, db.NewPlace().Where, err), "nothing was changed", newRemedy(err.Error(), db.New))
}
