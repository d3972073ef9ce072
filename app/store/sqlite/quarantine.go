package sqlite

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

const repeated = "repeated id"

// moved returns the quoted name of the table to which rows are moved that repeat
// an id, with the same columns.
func (t *table) moved() string { return t.object("repeated") }

// movedColumns returns the quoted names of the columns that can be written.
func movedColumns(sh shape) string {
	var names []string
	for _, col := range sh.columns {
		if !col.generated {
			names = append(names, ident(col.name))
		}
	}
	return strings.Join(names, ",")
}

// moveRepeated moves all rows but the first of each id aside. If the first can't
// be a record, none is: another must not quietly take its place.
func (t *table) moveRepeated(ctx context.Context, c *conn, sh shape) error {
	number := sh.numbered()
	for _, ours := range []string{"migrate_n", "migrate_row"} {
		if _, taken := sh.column(ours); taken {
			return fmt.Errorf("%w: ids of the table %s repeat, and its column %s has the name of one of ours", store.ErrUnsuited, t.Table, ours)
		}
	}
	columns := movedColumns(sh)
	known := t.keys(" AND ", func(_, c string) string { return c + " IS NOT NULL" })
	again := known + ` AND ` + number + ` NOT IN (SELECT min(` + number + `) FROM ` + t.name + ` WHERE ` + known +
		` GROUP BY ` + t.keys(",", func(_, c string) string { return c + " COLLATE BINARY" }) + `)`
	if err := t.matchMoved(ctx, c, sh); err != nil {
		return err
	}
	return t.quietly(ctx, c, func() error {
		return execAll(ctx, c, []string{
			`CREATE TABLE IF NOT EXISTS ` + t.moved() + `(migrate_n INTEGER PRIMARY KEY, migrate_row, ` + columns + `)`,
			`INSERT INTO ` + t.moved() + `(migrate_row,` + columns + `) SELECT ` + number + `,` + columns + ` FROM ` + t.name + ` WHERE ` + again + ` ORDER BY ` + number,
			`DELETE FROM ` + t.name + ` WHERE ` + again,
		})
	})
}

// Isolate marks a record that the new database can't hold.
func (s *Store) Isolate(ctx context.Context, epoch int64, mark store.Mark, reason string) error {
	return s.write(ctx, "isolate "+mark.ID.String(), func(ctx context.Context, c *conn, f store.Fence) error {
		if f.Epoch != epoch {
			return fmt.Errorf("%w: the fence is at epoch %d, not at %d", store.ErrConflict, f.Epoch, epoch)
		}
		t, err := s.table(mark.ID)
		if err != nil {
			return err
		}
		key, err := t.keyOf(mark.ID)
		if err != nil {
			return err
		}
		if mark.Pair == untouched {
			if _, err := c.exec(ctx, t.sql.adoptRow, key...); err != nil {
				return err
			}
		}
		n, err := c.exec(ctx, `UPDATE `+t.companion+` SET unfit=?, pending=0 WHERE `+t.keys(" AND ", func(k, _ string) string { return k + "=?" })+` AND rev=? AND epoch=? AND deleted=0`,
			append(append([]any{reason}, key...), mark.Rev, mark.Epoch)...)
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: it is not at %v", store.ErrConflict, mark.Pair)
		}
		return err
	})
}

// A row of the quarantine is in one of these places.
const (
	isMoved  = "moved"  // in the table of moved rows: it repeats an id
	isMisfit = "misfit" // its id is no record's
	isMarked = "marked" // its companion has a mark, or it has changed and is unfit
)

// entry is one row of the quarantine.
type entry struct {
	store.Quarantined
	place  string
	number int64     // moved rows: their number; misfits: the row's
	id     record.ID // marked ones
	// detail puts in what people see of the row, where that takes a look of its own.
	detail func() error
}

// Quarantine returns up to limit of the rows on which nobody has decided, all of
// them if limit is 0, and how many there are.
func (s *Store) Quarantine(ctx context.Context, limit int) ([]store.Quarantined, int64, error) {
	var (
		all   []store.Quarantined
		total int64
	)
	err := s.read(ctx, "read the quarantine", func(ctx context.Context, c *conn, _ store.Fence) error {
		all, total = nil, 0
		var failed error
		err := s.quarantine(ctx, c, func(e *entry) bool {
			if total++; limit > 0 && len(all) == limit {
				return true
			}
			if e.detail != nil {
				failed = e.detail()
			}
			all = append(all, e.Quarantined)
			return failed == nil
		})
		return errors.Join(err, failed)
	})
	return all, total, err
}

// quarantine calls yield for each row until that says no.
func (s *Store) quarantine(ctx context.Context, c *conn, yield func(*entry) bool) error {
	for _, t := range s.tables {
		sh, err := t.look(ctx, c)
		if err != nil || !sh.found {
			return errors.Join(err)
		}
		for _, part := range []func(context.Context, *conn, shape) ([]entry, error){t.movedRows, t.misfits, t.marked} {
			found, err := part(ctx, c, sh)
			if err != nil {
				return err
			}
			for n := range found {
				e := &found[n]
				if e.Collection = t.Name; !yield(e) {
					return nil
				}
			}
		}
	}
	return nil
}

// movedRows are those that repeat an id.
func (t *table) movedRows(ctx context.Context, c *conn, _ shape) ([]entry, error) {
	moved, err := t.movedShape(ctx, c)
	if err != nil || !moved.found {
		return nil, err
	}
	return t.entries(ctx, c, moved, isMoved, repeated, "migrate_n", ` FROM `+t.moved()+` t ORDER BY migrate_n`)
}

// misfits are rows whose id is no record's: they have no companion, and are
// found by their type.
func (t *table) misfits(ctx context.Context, c *conn, sh shape) ([]entry, error) {
	if t.isRowid(sh) {
		return nil, nil
	}
	number := sh.numbered()
	where := `NOT(` + t.fits("t") + `)`
	if len(t.key) == 1 && t.key[0].Type == record.Text { // an index has them at its ends
		id := "t." + t.key[0].column() + " COLLATE BINARY"
		found, err := t.entries(ctx, c, sh, isMisfit, "", number, ` FROM `+t.name+` t WHERE `+id+` IS NULL`)
		if err != nil {
			return nil, err
		}
		low, err := t.entries(ctx, c, sh, isMisfit, "", number, ` FROM `+t.name+` t WHERE `+id+`<''`)
		if err != nil {
			return nil, err
		}
		high, err := t.entries(ctx, c, sh, isMisfit, "", number, ` FROM `+t.name+` t WHERE `+id+`>=x''`)
		return append(append(found, low...), high...), err
	}
	return t.entries(ctx, c, sh, isMisfit, "", number, ` FROM `+t.name+` t WHERE `+where)
}

// entries reads rows with all that can be written of them. An empty reason is
// found in the id.
func (t *table) entries(ctx context.Context, c *conn, sh shape, place, reason, number, from string) ([]entry, error) {
	var names []string
	query := `SELECT t.` + number
	for _, col := range sh.columns {
		if !col.generated {
			names = append(names, col.name)
			query += `,+t.` + ident(col.name)
		}
	}
	rows, err := c.QueryContext(ctx, query+from)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []entry
	for rows.Next() {
		e := entry{place: place}
		values := make([]any, len(names))
		into := []any{&e.number}
		for n := range values {
			into = append(into, &values[n])
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		e.Row = t.literals(names, values)
		e.ID = t.nameOf(names, values)
		if e.Reason = reason; reason == "" {
			e.Reason = t.whyMisfit(names, values)
		}
		e.Key = t.Name + "/" + place + "-" + strconv.FormatInt(e.number, 10) + "-" + digest(e.Row)
		found = append(found, e)
	}
	return found, rows.Err()
}

// literals writes a row in SQL, the declared columns first.
func (t *table) literals(names []string, values []any) string {
	order := make([]int, len(names))
	for n := range order {
		order[n] = n
	}
	rank := func(name string) int {
		for n, f := range t.Fields {
			if strings.EqualFold(f.Column, name) {
				return n
			}
		}
		return len(t.Fields)
	}
	sort.SliceStable(order, func(a, b int) bool { return rank(names[order[a]]) < rank(names[order[b]]) })
	items := make([]string, len(names))
	for n, at := range order {
		items[n] = names[at] + "=" + literal(values[at])
	}
	return strings.Join(items, ", ")
}

// nameOf is a row's id as people see it.
func (t *table) nameOf(names []string, values []any) string {
	key := t.keyValues(names, values)
	if len(key) == 1 {
		return name(key[0])
	}
	items := make([]string, len(key))
	for n, v := range key {
		items[n] = literal(v)
	}
	return strings.Join(items, ", ")
}

func (t *table) keyValues(names []string, values []any) []any {
	key := make([]any, len(t.key))
	for n, f := range t.key {
		for at, name := range names {
			if strings.EqualFold(name, f.Column) {
				key[n] = values[at]
			}
		}
	}
	return key
}

func (t *table) whyMisfit(names []string, values []any) string {
	for n, v := range t.keyValues(names, values) {
		f := t.key[n]
		switch v.(type) {
		case nil:
			return "null " + f.Name
		case []byte:
			return "blob " + f.Name
		}
		if _, reason := f.decode(v); reason != "" {
			return reason
		}
	}
	return "its id is no record's"
}

// digest tells one row, as it is, from another one, and from what becomes of it.
func digest(row string) string {
	sum := sha256.Sum256([]byte(row))
	return hex.EncodeToString(sum[:8])
}

// marked are the records with a mark, and those that have changed since and are
// unfit: no mark says so yet.
func (t *table) marked(ctx context.Context, c *conn, sh shape) ([]entry, error) {
	var found []entry
	for _, where := range []string{"m.unfit IS NOT NULL AND m.deleted=0", "m.pending=1 AND m.unfit IS NULL AND m.deleted=0"} {
		records, err := t.unfit(ctx, c, where)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			found = append(found, entry{place: isMarked, id: r.ID, Quarantined: store.Quarantined{
				Key: t.Name + "/" + isMarked + "-" + digest(string(r.ID)+r.Pair.String()), ID: r.ID.String(), Reason: r.Unfit,
			}})
		}
	}
	sort.Slice(found, func(a, b int) bool { return found[a].id < found[b].id })
	for n := range found {
		e := &found[n]
		e.detail = func() error { return t.describe(ctx, c, sh, e) }
	}
	return found, nil
}

// unfit returns which of some records are unfit, and why, without their bodies.
func (t *table) unfit(ctx context.Context, c *conn, where string) ([]Record, error) {
	rows, err := c.query(ctx, `SELECT `+meta+`,`+t.keys(",", func(k, _ string) string { return "m." + k })+t.values()+` FROM `+t.companion+` m JOIN `+t.name+` t ON `+
		t.keys(" AND ", func(k, c string) string { return "m." + k + "=t." + c })+` WHERE `+where)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	r := t.reader("")
	var found []Record
	for rows.Next() {
		rec, err := r.read(rows)
		if err != nil {
			return nil, err
		}
		if rec.Unfit != "" {
			rec.Body = ""
			found = append(found, rec)
		}
	}
	return found, rows.Err()
}

// describe puts the row of a marked record in.
func (t *table) describe(ctx context.Context, c *conn, sh shape, e *entry) error {
	key, err := t.keyOf(e.id)
	if err != nil {
		return err
	}
	var names []string
	query := `SELECT 1`
	for _, col := range sh.columns {
		if !col.generated {
			names = append(names, col.name)
			query += `,+t.` + ident(col.name)
		}
	}
	values, one := make([]any, len(names)), 0
	into := []any{&one}
	for n := range values {
		into = append(into, &values[n])
	}
	err = c.QueryRowContext(ctx, query+` FROM `+t.name+` t WHERE `+t.keys(" AND ", func(_, c string) string { return "t." + c + "=? COLLATE BINARY" }), key...).Scan(into...)
	if err != nil {
		return err
	}
	e.ID, e.Row = t.nameOf(names, values), t.literals(names, values)
	return nil
}
