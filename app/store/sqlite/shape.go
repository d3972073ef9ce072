package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"migrate.invalid/migrate/app/store"
)

// shape is what the file says about a table.
type shape struct {
	found        bool
	name         string // as the file spells it
	kind         string // table, view, virtual, shadow
	withoutRowid bool
	sql          string
	columns      []column
	uniques      []unique
	rowid        string // a name by which the row's number can be had; "" if there is none
	number       string // the column that is the row's number; "" if none is
}

type column struct {
	name      string
	declared  string
	notNull   bool
	fallback  bool // it has a default
	generated bool
}

// unique is an index that keeps rows from having the same values.
type unique struct {
	name       string
	columns    []string // "" for an expression
	collations []string
	partial    bool
}

// plain reports whether the index is of columns, and of every row.
func (u unique) plain() bool { return !u.partial && !slices.Contains(u.columns, "") }

// look reads what the file says about the table.
func (t *table) look(ctx context.Context, c *conn) (shape, error) {
	var sh shape
	err := c.QueryRowContext(ctx, `SELECT l.name, l.type, l.wr, coalesce(s.sql,'') FROM pragma_table_list(?1) l
		LEFT JOIN main.sqlite_master s ON s.name=l.name AND s.type IN ('table','view') WHERE l.schema='main'`, t.Table).
		Scan(&sh.name, &sh.kind, &sh.withoutRowid, &sh.sql)
	if errors.Is(err, sql.ErrNoRows) {
		return sh, nil
	}
	if err != nil {
		return sh, err
	}
	sh.found = true
	if err := sh.lookAtColumns(ctx, c); err != nil {
		return sh, err
	}
	if sh.kind != "table" {
		return sh, nil
	}
	return sh, sh.lookAtIndexes(ctx, c)
}

func (sh *shape) lookAtColumns(ctx context.Context, c *conn) error {
	rows, err := c.QueryContext(ctx, `SELECT name, type, "notnull", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid`, sh.name)
	if err != nil {
		return err
	}
	defer rows.Close()
	keys := 0
	for rows.Next() {
		var (
			col        column
			pk, hidden int
		)
		if err := rows.Scan(&col.name, &col.declared, &col.notNull, &col.fallback, &pk, &hidden); err != nil {
			return err
		}
		col.generated = hidden > 1
		if pk > 0 {
			if keys++; strings.EqualFold(col.declared, "INTEGER") {
				sh.number = col.name
			}
		}
		sh.columns = append(sh.columns, col)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if keys != 1 || sh.withoutRowid {
		sh.number = ""
	}
	if sh.number != "" { // INTEGER PRIMARY KEY DESC has an index of its own and isn't the row's number
		index := false
		if err := c.QueryRowContext(ctx, `SELECT EXISTS(SELECT 1 FROM pragma_index_list(?) WHERE origin='pk')`, sh.name).Scan(&index); err != nil {
			return err
		}
		if index {
			sh.number = ""
		}
	}
	for _, name := range []string{"rowid", "oid", "_rowid_"} {
		if _, taken := sh.column(name); !taken && sh.rowid == "" && !sh.withoutRowid {
			sh.rowid = name
		}
	}
	return nil
}

// numbered returns the quoted name by which the row's number can be had, "" if
// columns of the table hide it.
func (sh *shape) numbered() string {
	if sh.rowid == "" && sh.number != "" {
		return ident(sh.number)
	}
	return sh.rowid
}

func (sh *shape) lookAtIndexes(ctx context.Context, c *conn) error {
	rows, err := c.QueryContext(ctx, `SELECT l.name, l."unique", l.partial, coalesce(x.name,''), x.coll FROM pragma_index_list(?1) l, pragma_index_xinfo(l.name) x
		WHERE x.key ORDER BY l.seq, x.seqno`, sh.name)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			u             unique
			is            bool
			col, collated string
		)
		if err := rows.Scan(&u.name, &is, &u.partial, &col, &collated); err != nil {
			return err
		}
		if !is {
			continue
		}
		n := len(sh.uniques) - 1
		if n < 0 || sh.uniques[n].name != u.name {
			sh.uniques = append(sh.uniques, u)
			n++
		}
		sh.uniques[n].columns = append(sh.uniques[n].columns, col)
		sh.uniques[n].collations = append(sh.uniques[n].collations, collated)
	}
	return rows.Err()
}

// collation returns how SQLite compares the values of a column: the text of the
// table tells it only to a parser, and SQLite says it of indexes only. The plan
// of a comparison has its name, with the number of the encoding behind it.
func (sh *shape) collation(ctx context.Context, c *conn, column string) (string, error) {
	same := `t.` + ident(column) + `=t.` + ident(column)
	rows, err := c.QueryContext(ctx, `EXPLAIN SELECT `+same+` FROM `+ident(sh.name)+` t`)
	if err != nil {
		if _, unknown, ok := strings.Cut(err.Error(), "no such collation sequence: "); ok {
			return unknown, nil
		}
		return "", err
	}
	defer rows.Close()
	found := ""
	for rows.Next() {
		var (
			opcode string
			p4     sql.NullString
			rest   [6]any
		)
		if err := rows.Scan(&rest[0], &opcode, &rest[1], &rest[2], &rest[3], &p4, &rest[4], &rest[5]); err != nil {
			return "", err
		}
		if end := strings.LastIndex(p4.String, "-"); opcode == "Eq" && end > 0 {
			found = p4.String[:end]
		}
	}
	if err := rows.Err(); err != nil {
		return "", err
	}
	if found == "" {
		return "", fmt.Errorf("SQLite doesn't say how the column %s of the table %s compares", column, sh.name)
	}
	return found, nil
}

// column returns the column with this name, which SQLite doesn't tell by case.
func (sh *shape) column(name string) (column, bool) {
	n := slices.IndexFunc(sh.columns, func(c column) bool { return strings.EqualFold(c.name, name) })
	if n < 0 {
		return column{}, false
	}
	return sh.columns[n], true
}

// affinity returns the type that SQLite gives the column's values where it can:
// TEXT, NUM, INT, REAL, or none (https://www.sqlite.org/datatype3.html, 3.1).
func affinity(declared string) string {
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(strings.ToUpper(declared), w) })
	}
	switch {
	case has("INT"):
		return "INT"
	case has("CHAR", "CLOB", "TEXT"):
		return "TEXT"
	case has("BLOB") || declared == "":
		return ""
	case has("REAL", "FLOA", "DOUB"):
		return "REAL"
	}
	return "NUM"
}

// isRowid reports whether the id is the row's number.
func (t *table) isRowid(sh shape) bool {
	return len(t.key) == 1 && strings.EqualFold(sh.number, t.key[0].Column)
}

// hasRowid reports whether the row's number is part of the id.
func (t *table) hasRowid(sh shape) bool {
	return slices.ContainsFunc(t.key, func(f field) bool { return strings.EqualFold(sh.number, f.Column) })
}

// names reports whether the index is of the id's columns alone, in their order.
func (t *table) names(u unique) bool {
	if !u.plain() || len(u.columns) != len(t.key) {
		return false
	}
	for n, k := range t.key {
		if !strings.EqualFold(k.Column, u.columns[n]) || !strings.EqualFold(u.collations[n], "BINARY") {
			return false
		}
	}
	return true
}

// uniqueID reports whether the table keeps the id unique, in an index that has
// the id's order.
func (t *table) uniqueID(sh shape) bool {
	return t.isRowid(sh) || slices.ContainsFunc(sh.uniques, t.names)
}

// seconds returns the table's unique keys beyond the id.
func (t *table) seconds(sh shape) []unique {
	return slices.DeleteFunc(slices.Clone(sh.uniques), t.names)
}

// missing is the error about a table that isn't there.
func (t *table) missing() error {
	return fmt.Errorf("%w: the file has no table %s", store.ErrStranger, t.Table)
}
