package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/store"
)

// guardsSQL is the function that says by what a table is held inside the protocol: a
// text with a part for each thing that may be lost unseen. A rewrite of the table
// gives it another file: ALTER … TYPE … USING changes rows so, and no trigger
// fires. TRUNCATE does that, too, and its trigger takes the new file down. A
// trigger that was disabled and enabled again has another xmin.
func guardsSQL() string {
	return function(`migrate.guards(called text, keys text[], collection text)`, `text`, `  answer text;`, `  select concat_ws(' ', 'table=' || c.oid, 'file=' || pg_relation_filenode(c.oid),
    'id=' || coalesce((select string_agg(a.attname || ':' || a.atttypid, ',' order by a.attnum) from pg_attribute a where a.attrelid = c.oid and a.attname = any(keys) and not a.attisdropped), ''),
    'triggers=' || coalesce((select string_agg(g.tgname || ':' || g.tgenabled::text || ':' || g.xmin::text || ':' || md5(pg_get_triggerdef(g.oid)), ',' order by g.tgname) from pg_trigger g
      where g.tgrelid = c.oid and g.tgname in (`+ourTriggers()+`)), ''),
    'functions=' || coalesce((select md5(string_agg(p.proname || p.prosrc || p.prosecdef || coalesce(p.proconfig::text, ''), '' order by p.proname)) from pg_proc p
      where p.pronamespace = 'migrate'::regnamespace and p.proname in ('epoch', 'at', 'statement', 'foreign.' || collection, 'truncate.' || collection, 'truncated.' || collection)), ''),
    'children=' || (select count(*) from pg_inherits where inhparent = c.oid))
    into answer from pg_class c where c.oid = to_regclass(called);
  return coalesce(answer, 'table=none');`)
}

// triggers are what ours are called, behind "migrate_".
var triggers = []string{"statement", "row", "truncate", "truncated"}

// ourTriggers are their names as literals.
func ourTriggers() string {
	return list(len(triggers), ", ", func(n int) string { return literal("migrate_" + triggers[n-1]) })
}

// guards is the call that says by what the table is held now.
func (t *table) guards() string {
	return `migrate.guards(` + literal(t.name) + `, array[` + t.keys(", ", func(_ string, f field) string { return literal(f.Column) }) + `], ` + literal(t.Name) + `)`
}

// keyed is the condition under which the table has a unique key of the id alone,
// which an insert can ask.
func (t *table) keyed() string {
	return `exists(select from pg_index i where i.indrelid = to_regclass(` + literal(t.name) + `) and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null and i.indexprs is null
		and (select array_agg(a.attname::text order by a.attname::text collate "C") from pg_attribute a where a.attrelid = i.indrelid and ` + inKey + `) = array[` + t.sortedKey() + `])`
}

// inKey is the condition under which a column a is one of those by which the index i
// is ordered, and not only included.
const inKey = `a.attnum = any((i.indkey::int2[])[0:i.indnkeyatts - 1])`

// sortedKey are the columns of the id as literals, bytewise.
func (t *table) sortedKey() string {
	names := make([]string, len(t.key))
	for n, f := range t.key {
		names[n] = f.Column
	}
	slices.Sort(names)
	return list(len(names), ", ", func(n int) string { return literal(names[n-1]) + "::text" })
}

// missing says what has been lost since the table was taken over; "" for nothing.
func missing(kept, now string) string {
	if kept == now {
		return ""
	}
	was := map[string]string{}
	for _, part := range strings.Split(kept, " ") {
		name, value, _ := strings.Cut(part, "=")
		was[name] = value
	}
	says := map[string]string{
		"table": "another table has its name", "file": "it was rewritten (ALTER TABLE, VACUUM FULL or CLUSTER)", "id": "a column of the id was changed",
		"triggers": "our triggers on it are missing, or were disabled or changed", "functions": "a function of ours was replaced", "children": "tables inherit from it",
	}
	if now == "table=none" {
		return "it is not there under its name"
	}
	for _, part := range strings.Split(now, " ") {
		name, value, _ := strings.Cut(part, "=")
		if was[name] != value {
			return says[name]
		}
	}
	return "its guards have changed"
}

// lookForGuards returns nil if programs that know nothing of the migration are held
// inside the protocol, and have been since the take-over; else an ErrStranger.
func (o *Old) lookForGuards(ctx context.Context, t tx) error {
	for _, of := range o.tables {
		if err := o.lookForGuardsOf(ctx, t, of); err != nil {
			return err
		}
	}
	return nil
}

func (o *Old) lookForGuardsOf(ctx context.Context, t tx, of *table) error {
	what, err := o.gap(ctx, t, of)
	if err == nil && what != "" {
		return fmt.Errorf("%w: the table %s of %s: %s: what other programs wrote since may be unknown to the protocol; migrate adopt mends that while the old database is primary", store.ErrStranger, of.name, of.Name, what)
	}
	if err != nil {
		return err
	}
	var keyed bool
	if err := t.QueryRow(ctx, `select `+of.keyed()).Scan(&keyed); err != nil {
		return err
	}
	if !keyed {
		return fmt.Errorf("%w: the table %s of %s has lost the unique key of its id: an id could name several rows; create unique index concurrently on %s (%s)",
			store.ErrStranger, of.name, of.Name, of.name, of.keys(", ", func(_ string, f field) string { return f.column() }))
	}
	return nil
}

// gap says what the table has lost since it was taken over; "" for nothing.
func (o *Old) gap(ctx context.Context, t tx, of *table) (string, error) {
	var kept, now string
	err := t.QueryRow(ctx, `select guards, `+of.guards()+` from migrate.collection where name = $1::text`, of.Name).Scan(&kept, &now)
	if errors.Is(err, pgx.ErrNoRows) {
		return "it was not taken over", nil
	}
	return missing(kept, now), err
}

// Guarded implements [store.Foreign].
func (o *Old) Guarded(ctx context.Context) error {
	return o.read(ctx, "look for the triggers", o.lookForGuards)
}

// lookForCompanions returns nil once each row has a companion, or came by a trigger.
func (o *Old) lookForCompanions(ctx context.Context, t tx) error {
	for _, of := range o.tables {
		var filled bool
		if err := t.QueryRow(ctx, `select filled from migrate.collection where name = $1::text`, of.Name).Scan(&filled); err != nil {
			return err
		}
		if !filled {
			return fmt.Errorf("%w: the take-over of %s is not through: not each row is known yet; migrate adopt goes on with it", store.ErrStranger, of.Name)
		}
	}
	return nil
}

// Filled implements [store.Foreign].
func (o *Old) Filled(ctx context.Context) error {
	return o.read(ctx, "look whether the take-over is through", o.lookForCompanions)
}

var _ store.Foreign = (*Old)(nil)
