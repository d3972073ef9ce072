package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/record"
)

// counter is a sequence from which a column of the id takes its numbers.
type counter struct {
	Name   string // quoted, with its schema
	Raises bool   // the role may set it
	Column string
	K      string // the companion's column
}

// counters finds the sequences of the id's columns: those of an identity or a serial
// column, and any that a default names.
func (t *table) counters(ctx context.Context, x tx) (all []counter, err error) {
	for n, f := range t.key {
		if f.Type != record.Int {
			continue
		}
		rows, err := x.Query(ctx, `select s.oid::regclass::text, has_sequence_privilege(s.oid, 'update'), $2::text, $3::text from pg_class s, pg_attribute a
			where s.relkind = 'S' and a.attrelid = to_regclass($1::text) and a.attname = $2::text and not a.attisdropped and (
			exists(select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = s.oid and d.refclassid = 'pg_class'::regclass and d.refobjid = a.attrelid and d.refobjsubid = a.attnum and d.deptype in ('a', 'i'))
			or exists(select from pg_depend d join pg_attrdef e on d.classid = 'pg_attrdef'::regclass and d.objid = e.oid where e.adrelid = a.attrelid and e.adnum = a.attnum and d.refclassid = 'pg_class'::regclass and d.refobjid = s.oid))
			order by 1`, t.name, f.Column, fmt.Sprintf("k%d", n+1))
		if err != nil {
			return nil, err
		}
		found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[counter])
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// raiseCounters sets each above the greatest id that there is or was: ids that came
// from the new database have not moved it, and the next one would be taken again. A
// sequence is no part of a transaction: what is raised stays so.
func (o *Old) raiseCounters(ctx context.Context, t tx) error {
	for _, of := range o.tables {
		all, err := of.counters(ctx, t)
		if err != nil {
			return err
		}
		for _, c := range all {
			_, err := t.exec(ctx, `select setval(`+literal(c.Name)+`::regclass, least(g.greatest, q.seqmax)) from pg_sequence q, `+c.Name+` s,
				(select greatest((select max(t.`+ident(c.Column)+`) from `+of.name+` t), (select max(m.`+c.K+`) from `+of.companion+` m)) as greatest) g
				where q.seqrelid = `+literal(c.Name)+`::regclass and q.seqincrement > 0 and (g.greatest > s.last_value or g.greatest = s.last_value and not s.is_called)`)
			if err != nil {
				return fmt.Errorf("raise the counter %s: %w", c.Name, err)
			}
		}
	}
	return nil
}
