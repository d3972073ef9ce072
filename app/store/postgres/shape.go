package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// shape is a table as it is in the database; the zero shape is that of none.
type shape struct {
	oid     uint32
	columns []column
}

// column is one column of a table.
type column struct {
	Name      string
	Type      string // qualified, without its limits
	Limited   string // with them
	NotNull   bool
	Default   bool
	Generated bool
	Identity  bool
}

func (s shape) column(name string) (column, bool) {
	for _, c := range s.columns {
		if c.Name == name {
			return c, true
		}
	}
	return column{}, false
}

// look reads the shape of a table.
func (t *table) look(ctx context.Context, x tx) (s shape, err error) {
	var oid *uint32
	if err := x.QueryRow(ctx, `select to_regclass($1::text)::oid`, t.name).Scan(&oid); err != nil || oid == nil {
		return s, err
	}
	s.oid = *oid
	rows, err := x.Query(ctx, `select attname::text, format_type(atttypid, -1), format_type(atttypid, atttypmod), attnotnull, atthasdef, attgenerated <> '', attidentity <> ''
		from pg_attribute where attrelid = $1::oid and attnum > 0 and not attisdropped order by attnum`, s.oid)
	if err != nil {
		return s, err
	}
	s.columns, err = pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	return s, err
}
