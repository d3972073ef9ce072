package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// tryOut lays everything down, writes as ours do, and rolls all of it back: a
// table on which no write of ours works is refused before anything is changed.
func (a *adopting) tryOut(ctx context.Context) error {
	err := a.locked(ctx, "try out writes", func(ctx context.Context, c *conn) error {
		k, err := a.see(ctx, c)
		if err != nil || k.fence {
			return err
		}
		slow, err := a.slow(ctx, c)
		if err != nil {
			return err
		}
		if err := a.lay(ctx, c, false); err != nil {
			return err
		}
		if err := a.try(ctx, c, func(t *table) bool { return !slices.Contains(slow, t) }); err != nil {
			return err
		}
		return errOnlyTried
	})
	if errors.Is(err, errOnlyTried) {
		return nil
	}
	return err
}

// quick is how many rows a table without an index on its id may have so that
// writes are tried out before it has one: each looks at every row.
const quick = 5_000

// slow returns the tables in which a row can't be found by its id in a moment.
func (a *adopting) slow(ctx context.Context, c *conn) (slow []*table, err error) {
	for _, t := range a.tables {
		sh, err := t.look(ctx, c)
		if err != nil {
			return nil, err
		}
		if !sh.found || t.uniqueID(sh) {
			continue
		}
		rows := 0
		if err := c.QueryRowContext(ctx, fmt.Sprintf(`SELECT count(*) FROM (SELECT 1 FROM %s LIMIT %d)`, t.name, quick+1)).Scan(&rows); err != nil {
			return nil, err
		}
		if rows > quick {
			slow = append(slow, t)
		}
	}
	return slow, nil
}

// tryNow tries writes out on tables that have just got their index, within the
// transaction that made it.
func (a *adopting) tryNow(ctx context.Context, c *conn, tables []*table) error {
	return a.try(ctx, c, func(t *table) bool { return slices.Contains(tables, t) })
}

// try writes to the tables that are meant, and takes all of it back. The caller
// has begun a transaction, which a trigger may end: then no other table is tried,
// since nothing may be written outside of it.
func (a *adopting) try(ctx context.Context, c *conn, meant func(*table) bool) error {
	var failed []string
	for _, t := range a.tables {
		if !meant(t) {
			continue
		}
		if err := execAll(ctx, c, []string{`SAVEPOINT migrate_try`}); err != nil {
			return err
		}
		err := a.tryTable(ctx, c, t)
		if err != nil && !refuses(err) {
			return err
		}
		if err != nil {
			failed = append(failed, fmt.Sprintf("no write of ours works on the table %s: %v", t.Table, err))
		}
		if back := execAll(ctx, c, []string{`ROLLBACK TO migrate_try`, `RELEASE migrate_try`}); back != nil {
			if err == nil {
				return back
			}
			break
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("%w: nothing was changed: %s", store.ErrUnsuited, strings.Join(failed, "; "))
	}
	return nil
}

// refuses reports whether an error is the table's own, and no trouble with the file.
func refuses(err error) bool {
	switch code(err) & 0xff {
	case 1, 19, 20: // SQLITE_ERROR, as of a missing function; SQLITE_CONSTRAINT; SQLITE_MISMATCH
		return true
	}
	return errors.Is(err, store.ErrUnfit) || errors.Is(err, store.ErrRule)
}

// tryTable deletes a record, creates it again, updates it, and copies it as
// under the new primary.
func (a *adopting) tryTable(ctx context.Context, c *conn, t *table) error {
	rec, made, err := a.sample(ctx, c, t)
	if err != nil {
		return err
	}
	if _, err := c.ExecContext(ctx, `INSERT OR REPLACE INTO migrate_fence(one,format,migration,declaration,epoch,prim,state) VALUES(1,?,'',?,1,'old','open')`, format, a.text); err != nil {
		return err
	}
	commit := func(what string, deleted bool, expect store.Pair) error {
		next := rec
		next.Pair, next.Deleted = store.Pair{Rev: expect.Rev + 1, Epoch: 1}, deleted
		if deleted {
			next.Body = ""
		}
		w, err := a.writing(next)
		if err == nil {
			_, err = w.swap(ctx, c, expect)
		}
		if err == nil {
			err = w.row(ctx, c)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	if made {
		// Nobody knows what a table's rules want of a record of which there is none.
		err := commit("a create", false, store.Pair{})
		if code(err)&0xff == 19 {
			return nil
		}
		if err != nil {
			return err
		}
		rec.Pair = store.Pair{Rev: 1, Epoch: 1}
	}
	for _, step := range []struct {
		what    string
		deleted bool
	}{{"a delete", true}, {"a create", false}, {"an update", false}} {
		if err := commit(step.what, step.deleted, rec.Pair); err != nil {
			return err
		}
		rec.Pair = store.Pair{Rev: rec.Rev + 1, Epoch: 1}
	}
	if _, err := c.ExecContext(ctx, `UPDATE migrate_fence SET epoch=2, prim='new'`); err != nil {
		return err
	}
	for _, copied := range []struct {
		what    string
		deleted bool
	}{{"an update", false}, {"a delete", true}, {"a create", false}} {
		next := rec
		next.Pair, next.Deleted = store.Pair{Rev: rec.Rev + 1, Epoch: 2}, copied.deleted
		if copied.deleted {
			next.Body = ""
		}
		w, err := a.writing(next)
		if err == nil {
			err = w.putIfNewer(ctx, c)
		}
		if err != nil {
			return fmt.Errorf("once the new database is primary, the copy of %s: %w", copied.what, err)
		}
		rec.Pair = next.Pair
	}
	return nil
}

// sample returns a record of the table, or one that is made up if it has none.
func (a *adopting) sample(ctx context.Context, c *conn, t *table) (rec Record, made bool, err error) {
	const some = 100
	found, _, err := t.rowsUnordered(ctx, c, some)
	if err != nil {
		return rec, false, err
	}
	for _, r := range found {
		if r.Unfit == "" {
			return r, false, nil
		}
	}
	key := make([]record.Value, len(t.key))
	for n, f := range t.key {
		key[n] = example(f)
	}
	values := make([]record.Value, len(t.body))
	for n, f := range t.body {
		values[n] = example(f)
	}
	if rec.ID, err = record.NewID(t.Name, key...); err != nil {
		return rec, false, err
	}
	rec.Body = record.NewBody(values...)
	return rec, true, nil
}

// rowsUnordered reads some rows, by whatever order is cheap.
func (t *table) rowsUnordered(ctx context.Context, c *conn, limit int) ([]Record, bool, error) {
	return t.reader("").records(ctx, c, limit, `SELECT 1,0,0,0,'','',`+t.ids()+t.values()+` FROM `+t.name+` t WHERE `+t.fits("t")+` LIMIT ?`, limit)
}

// example returns a value that its type can be.
func example(f field) record.Value {
	texts := map[record.Type]string{
		record.Text: "migrate", record.Int: "1", record.Float: "1", record.Decimal: "1", record.Bool: "true", record.Bytes: `\x00`,
		record.Timestamp: "2001-02-03T04:05:06Z", record.Date: "2001-02-03", record.UUID: "0198c5a2-7d1e-7c3b-8f00-1234567890ab", record.JSON: "{}", record.Raw: "migrate",
	}
	v, _ := record.Parse(f.Type, texts[f.Type]) // each is its type's
	return v
}
