package sqlite

import (
	"context"
	"fmt"
	"strings"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// movedShape is what the file says about the table of moved rows, without the
// columns that are only its own. The person may have altered the table itself
// since: either may have columns that the other has not.
func (t *table) movedShape(ctx context.Context, c *conn) (shape, error) {
	sh, err := (&table{Collection: record.Collection{Table: "migrate_" + t.Name + ".repeated"}}).look(ctx, c)
	if err == nil && sh.found {
		sh.columns = sh.columns[2:] // behind migrate_n and migrate_row
	}
	return sh, err
}

// matchMoved gives the table of moved rows the columns that the table has got
// since, with the defaults that its own rows have there.
func (t *table) matchMoved(ctx context.Context, c *conn, sh shape) error {
	moved, err := t.movedShape(ctx, c)
	if err != nil || !moved.found {
		return err
	}
	for _, col := range sh.columns {
		if _, there := moved.column(col.name); there || col.generated {
			continue
		}
		fallback := "NULL"
		if err := c.QueryRowContext(ctx, `SELECT coalesce(max(dflt_value),'NULL') FROM pragma_table_info(?) WHERE name=?`, sh.name, col.name).Scan(&fallback); err != nil {
			return err
		}
		if err := execAll(ctx, c, []string{
			`ALTER TABLE ` + t.moved() + ` ADD COLUMN ` + ident(col.name),
			`UPDATE ` + t.moved() + ` SET ` + ident(col.name) + `=(` + fallback + `)`,
		}); err != nil {
			return err
		}
	}
	return nil
}

// putBack puts moved rows back, all or the one with this number in their table,
// each with the number that it had if no other row has it now. It returns how
// many have got another number.
func (t *table) putBack(ctx context.Context, c *conn, sh shape, only int64) (renumbered int, err error) {
	moved, err := t.movedShape(ctx, c)
	if err != nil || !moved.found {
		return 0, err
	}
	columns, from := "", ""
	for _, col := range moved.columns {
		switch now, there := sh.column(col.name); {
		case !there:
			return 0, fmt.Errorf("%w: rows that were moved aside have a column %s, which the table %s has no more: first say ALTER TABLE %s RENAME COLUMN %s TO the new name, or DROP COLUMN %s",
				store.ErrConflict, ident(col.name), t.Table, t.moved(), ident(col.name), ident(col.name))
		case !now.generated && !strings.EqualFold(col.name, sh.number):
			columns, from = columns+","+ident(now.name), from+",m."+ident(col.name)
		}
	}
	number := sh.number
	if number != "" {
		number = ident(number)
	} else if number = sh.rowid; number == "" {
		number = "NULL"
	}
	taken := `EXISTS(SELECT 1 FROM ` + t.name + ` x WHERE x.` + number + `=m.migrate_row)`
	insert := `INSERT INTO ` + t.name + `(` + number + columns + `) SELECT CASE WHEN ` + taken + ` THEN NULL ELSE m.migrate_row END` + from
	if number == "NULL" {
		taken = "0"
		insert = `INSERT INTO ` + t.name + `(` + columns[1:] + `) SELECT ` + from[1:]
	}
	rows, err := numbers(ctx, c, `SELECT m.migrate_n FROM `+t.moved()+` m WHERE ?1=0 OR m.migrate_n=?1 ORDER BY `+taken+`, m.migrate_n`, only)
	if err != nil {
		return 0, err
	}
	for _, n := range rows {
		other := false
		if err := c.value(ctx, `SELECT `+taken+` FROM `+t.moved()+` m WHERE m.migrate_n=?`, &other, n); err != nil {
			return 0, err
		}
		if _, err := c.ExecContext(ctx, insert+` FROM `+t.moved()+` m WHERE m.migrate_n=?`, n); err != nil {
			return 0, err
		}
		if other {
			renumbered++
		}
	}
	return renumbered, nil
}

// numbers returns what a query finds in its one column.
func numbers(ctx context.Context, c *conn, query string, args ...any) (found []int64, err error) {
	rows, err := c.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		found = append(found, n)
	}
	return found, rows.Err()
}

// sayRenumbered tells of rows that couldn't get their former number.
func (s *Store) sayRenumbered(t *table, n int) {
	if n > 0 {
		s.log.Warn("rows that are put back have other numbers now: rows that came since have theirs", "rows", n, "table", t.Table)
	}
}
