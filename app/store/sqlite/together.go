package sqlite

import (
	"context"
	"slices"
	"strings"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// PutTogether is PutIfNewer of records that a rule has refused one by one: rows
// that stay are taken out, then put in, with what their other columns held. The
// person's triggers see no deletion and no new row in that, but an update of each.
func (s *Store) PutTogether(ctx context.Context, epoch int64, recs ...Record) error {
	return s.writeAt(ctx, "replicate together", epoch, func(ctx context.Context, c *conn, _ store.Fence) error {
		all, err := s.newest(ctx, c, recs)
		if err != nil {
			return err
		}
		each := func(meant func(writing) bool, do func(writing) error) error {
			for _, w := range all {
				if !meant(w) {
					continue
				}
				if err := do(w); err != nil {
					return refusal(w.Record.ID, err)
				}
			}
			return nil
		}
		row := func(w writing) error { return w.row(ctx, c) }
		if err := each(func(w writing) bool { return w.Deleted }, row); err != nil {
			return err
		}
		for _, t := range s.tables {
			mine := func(w writing) bool { return w.table == t && !w.Deleted }
			if !slices.ContainsFunc(all, mine) {
				continue
			}
			var out []takenOut
			err := t.quietly(ctx, c, func() error {
				err := each(mine, func(w writing) error {
					taken, err := w.takeOut(ctx, c)
					if taken.found {
						out = append(out, taken)
					}
					return err
				})
				if err != nil {
					return err
				}
				for _, w := range out {
					if err := w.putIn(ctx, c); err != nil {
						return refusal(w.Record.ID, err)
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return each(func(w writing) bool { return !w.Deleted }, row)
	})
}

// newest makes the companions what the records say that are newer than what is
// stored, and returns those: of each id the last.
func (s *Store) newest(ctx context.Context, c *conn, recs []Record) (all []writing, err error) {
	for _, rec := range recs {
		w, err := s.writing(rec)
		if err != nil {
			return nil, refusal(rec.ID, err)
		}
		newer, err := w.put(ctx, c)
		if err != nil {
			return nil, refusal(rec.ID, err)
		}
		if newer {
			all = append(slices.DeleteFunc(all, func(o writing) bool { return o.Record.ID == rec.ID }), w)
		}
	}
	return all, nil
}

// takenOut is a record whose row has been taken out.
type takenOut struct {
	writing
	columns []string // those that aren't declared, and the row's number
	values  []any
	found   bool
}

// takeOut removes the row, and remembers what isn't declared of it.
func (w writing) takeOut(ctx context.Context, c *conn) (takenOut, error) {
	t := takenOut{writing: w}
	sh, err := w.look(ctx, c)
	if err != nil {
		return t, err
	}
	if sh.rowid != "" && !w.isRowid(sh) {
		t.columns = append(t.columns, sh.rowid)
	}
	for _, col := range sh.columns {
		if !w.declares(col.name) && !col.generated {
			t.columns = append(t.columns, ident(col.name))
		}
	}
	if t.found, err = t.remember(ctx, c); err != nil {
		return t, err
	}
	if _, err := c.exec(ctx, w.sql.guard, w.id...); err != nil {
		return t, err
	}
	if _, err := c.exec(ctx, w.sql.delete, w.id...); err != nil {
		return t, err
	}
	_, err = c.exec(ctx, w.sql.unguard, w.id...)
	return t, err
}

// declares reports whether the column is a field's.
func (t *table) declares(column string) bool {
	return slices.ContainsFunc(t.Fields, func(f record.Field) bool { return strings.EqualFold(f.Column, column) })
}

func (t *takenOut) remember(ctx context.Context, c *conn) (bool, error) {
	query := `SELECT 1`
	for _, col := range t.columns {
		query += `,+t.` + col
	}
	rows, err := c.query(ctx, query+` FROM `+t.name+` t WHERE `+t.keys(" AND ", func(_, c string) string { return "t." + c + "=? COLLATE BINARY" }), t.id...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	if !rows.Next() {
		return false, rows.Err()
	}
	t.values = make([]any, len(t.columns))
	one := 0
	into := []any{&one}
	for n := range t.values {
		into = append(into, &t.values[n])
	}
	return true, rows.Scan(into...)
}

// putIn puts the row that was taken out in again, as the record says.
func (t takenOut) putIn(ctx context.Context, c *conn) error {
	if _, err := c.exec(ctx, t.sql.guard, t.id...); err != nil {
		return err
	}
	columns := t.keys(",", func(_, c string) string { return c })
	marks := list(len(t.id)+len(t.body)+len(t.columns), ",", func(int) string { return "?" })
	for n := range t.table.body {
		columns += "," + t.table.body[n].column()
	}
	for _, col := range t.columns {
		columns += "," + col
	}
	args := append(append(append([]any(nil), t.id...), t.body...), t.values...)
	if _, err := c.exec(ctx, `INSERT INTO `+t.name+`(`+columns+`) VALUES(`+marks+`)`, args...); err != nil {
		return err
	}
	if err := t.check(ctx, c); err != nil {
		return err
	}
	_, err := c.exec(ctx, t.sql.unguard, t.id...)
	return err
}
