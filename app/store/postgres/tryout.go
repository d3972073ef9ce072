package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// tryOut writes as ours do, with the functions and triggers that the take-over would
// leave, in a transaction that it rolls back: a table on which no write of ours
// works is refused before anything is changed. It returns for how long it kept
// others waiting.
func (o *Old) tryOut(ctx context.Context, laid bool) (waited time.Duration, err error) {
	quiet, err := o.mayBeQuiet(ctx)
	if err != nil {
		return 0, err
	}
	waited, err = o.untilFree(ctx, "try a write out", func(ctx context.Context, t tx) error {
		tries := make([]try, len(o.tables))
		for n, of := range o.tables {
			tries[n] = try{base: o.base, t: t, of: of, quiet: quiet}
			if err := tries[n].sample(ctx); err != nil {
				return err
			}
		}
		var there bool
		if err := t.QueryRow(ctx, `select to_regclass('migrate.fence') is not null`).Scan(&there); err != nil {
			return err
		}
		if there != laid {
			return errTried // another take-over has tried it meanwhile
		}
		if !laid {
			if err := o.layFirst(ctx, t, newID(), []string{}); err != nil {
				return err
			}
		}
		for n, of := range o.tables {
			err := tries[n].all(ctx)
			switch c := code(err); {
			case err == nil:
			case c == codeNoLock, c == codeDeadlock, c == codeSerialization:
				return err
			case c == codeConflict: // somebody has removed the row before the table was locked
				return errRowGone
			default: // which has a meaning of its own for a write
				return fmt.Errorf("%w: nothing was changed: no write of ours works on the table %s: %v", store.ErrUnsuited, of.name, err)
			}
		}
		return errTried
	})
	if errors.Is(err, errTried) {
		err = nil
	}
	return waited, err
}

// errRowGone: the row with which writes were to be tried is not there any more.
var errRowGone = fmt.Errorf("%w: the row with which a write was tried is gone", store.ErrUnavailable)

// try is one record that is written to see whether that can be done.
type try struct {
	base  *base
	t     tx
	of    *table
	quiet string // what a copy's transaction runs first
	rec   Record
	made  bool // it is made up
	epoch int64
}

// deletion is how long one is tried.
const deletion = 500 * time.Millisecond

// codeTimeout is that of a statement that took too long.
const codeTimeout = "57014"

// some is how many rows are looked at to find one that can be a record.
const some = 100

// sample takes a row of the table, or makes one up. Nobody knows what a table's
// rules want of a record of which there is none.
func (y *try) sample(ctx context.Context) error {
	sh, err := y.of.look(ctx, y.t)
	if err != nil {
		return err
	}
	if sh.oid != 0 {
		rows, err := y.t.Query(ctx, fmt.Sprintf(`select %s, array[null%s]::text[] from %s t limit %d`, y.of.keyTextsSQL("t."), y.of.bodiesOf("t."), y.of.name, some))
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[rowTexts])
		if err != nil {
			return err
		}
		for _, r := range found {
			body, reason := y.of.bodyOf(r.Body[1:])
			id, err := y.of.idOf(r.Key)
			if reason == "" && err == nil {
				y.rec = Record{ID: id, Pair: untouched, Body: body}
				return nil
			}
		}
	}
	y.made = true
	y.rec.ID, y.rec.Body, err = y.of.tried()
	return err
}

// all writes under either primary.
func (y *try) all(ctx context.Context) error {
	if err := y.t.QueryRow(ctx, `select epoch from migrate.fence`).Scan(&y.epoch); err != nil {
		return err
	}
	if !y.made {
		if err := y.known(ctx); err != nil {
			return err
		}
	}
	deletes, err := y.underOld(ctx)
	if err != nil || y.rec.Rev == 0 {
		return err
	}
	y.epoch++
	if err := y.t.script(ctx, `update migrate.fence set epoch = epoch + 1, prim = 'new';`+y.quiet); err != nil {
		return err
	}
	for _, copied := range []struct {
		what    string
		deleted bool
	}{{"an update", false}, {"a deletion", true}, {"a creation", false}} {
		if copied.deleted && !deletes {
			break
		}
		if err := y.step(ctx, copied.deleted, nil); err != nil {
			return fmt.Errorf("once the new database is primary, the copy of %s: %w", copied.what, err)
		}
	}
	back := `update migrate.fence set epoch = epoch - 1, prim = 'old';`
	if y.quiet != "" {
		back += `set local session_replication_role to default`
	}
	return y.t.script(ctx, back)
}

// known finds the pair of a row that is known already.
func (y *try) known(ctx context.Context) error {
	key, err := y.of.keyOf(y.rec.ID)
	if err != nil {
		return err
	}
	err = y.t.QueryRow(ctx, `select m.rev, m.epoch from `+y.of.companion+` m where (`+y.of.ks("m.")+`) = (`+y.of.given(1)+`)`, key...).Scan(&y.rec.Rev, &y.rec.Epoch)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	return err
}

// underOld changes, deletes and creates the record, and reports whether it could be
// deleted: another table's rows may refer to it, or go with it.
func (y *try) underOld(ctx context.Context) (deletes bool, err error) {
	if y.made {
		err := y.step(ctx, false, &store.Pair{})
		if strings.HasPrefix(code(err), "23") {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("a creation: %w", err)
		}
	}
	if err := y.step(ctx, false, &y.rec.Pair); err != nil {
		return false, fmt.Errorf("an update: %w", err)
	}
	// What a deletion cascades to may take long, and writers wait meanwhile.
	if err := y.t.script(ctx, fmt.Sprintf("set local statement_timeout to %d", deletion.Milliseconds())); err != nil {
		return false, err
	}
	err = y.step(ctx, true, &y.rec.Pair)
	if err := y.t.script(ctx, fmt.Sprintf("set local statement_timeout to %d", y.base.cfg.Timeout.Milliseconds())); err != nil {
		return false, err
	}
	if c := code(err); strings.HasPrefix(c, "23") || c == codeTimeout {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("a deletion: %w", err)
	}
	if err := y.step(ctx, false, &y.rec.Pair); err != nil {
		return false, fmt.Errorf("a creation: %w", err)
	}
	return true, nil
}

// step writes the record's next copy, and takes back what has failed.
func (y *try) step(ctx context.Context, deleted bool, expect *store.Pair) error {
	next := y.rec
	next.Pair, next.Deleted = store.Pair{Rev: y.rec.Rev + 1, Epoch: y.epoch}, deleted
	if deleted {
		next.Body = ""
	}
	if err := y.t.script(ctx, `savepoint migrate_try`); err != nil {
		return err
	}
	w, err := y.base.writing(next)
	if err == nil {
		_, err = w.put(ctx, y.t, y.epoch, expect)
	}
	if err != nil {
		return errors.Join(err, y.t.script(ctx, `rollback to savepoint migrate_try`))
	}
	y.rec.Pair = next.Pair
	return y.t.script(ctx, `release savepoint migrate_try`)
}

// mayBeQuiet is the statement by which copies fire none of the person's triggers;
// "" where the role may not say that. It is asked once: a right that is taken away
// later makes a copy fail, and is asked for again.
func (o *Old) mayBeQuiet(ctx context.Context) (string, error) {
	if q := o.quiet.Load(); q != nil {
		return *q, nil
	}
	var may bool
	err := o.readAny(ctx, "look at the role's rights", func(ctx context.Context, t tx) error {
		return t.QueryRow(ctx, maySleepSQL).Scan(&may)
	})
	if err != nil {
		return "", err
	}
	text := ""
	if may {
		text = quietly
	}
	o.quiet.Store(&text)
	return text, nil
}

// tried is a record that is written to see whether that can be done.
func (t *table) tried() (record.ID, record.Body, error) {
	key := make([]record.Value, len(t.key))
	for n, f := range t.key {
		key[n] = f.fresh()
	}
	id, err := record.NewID(t.Name, key...)
	body := make([]record.Value, len(t.body))
	for n, f := range t.body {
		if f.NotNull {
			body[n] = f.some()
		}
	}
	return id, record.NewBody(body...), err
}
