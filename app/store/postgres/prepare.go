package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// Prepare implements [store.NewMeta]. It makes the tables, or takes those that a
// person has made if they suit and are empty, in one transaction.
func (n *New) Prepare(ctx context.Context, migration string) error {
	return n.writeAny(ctx, "prepare the new database", func(ctx context.Context, t tx) error {
		if err := t.script(ctx, fmt.Sprintf("select pg_advisory_xact_lock(%d)", int64(contact))); err != nil {
			return err
		}
		held, err := n.identity(ctx, t)
		switch {
		case err != nil:
			return err
		case held == nil:
			return n.lay(ctx, t, migration)
		case held.migration != migration:
			return fmt.Errorf("%w: the new database is of migration %s, not of %s", store.ErrStranger, held.migration, migration)
		}
		return nil
	})
}

// lay makes all that the protocol needs.
func (n *New) lay(ctx context.Context, t tx, migration string) error {
	statements := append([]string{`create schema if not exists migrate_new`}, metaSQL()...)
	var reasons []string
	for _, of := range n.tables {
		sh, err := of.look(ctx, t)
		if err != nil {
			return err
		}
		if sh.oid == 0 {
			statements = append(statements, of.createSQL())
		} else {
			found, err := of.unsuited(ctx, t, sh)
			if err != nil {
				return err
			}
			reasons = append(reasons, found...)
		}
		statements = append(statements, of.companionSQL()...)
		statements = append(statements, of.listsSQL()...)
		statements = append(statements, of.writeSQL(sh))
	}
	if len(reasons) > 0 {
		return fmt.Errorf("%w: the tables in the new database don't suit: %s", store.ErrStranger, strings.Join(reasons, "; "))
	}
	for _, s := range statements {
		if err := t.script(ctx, s); err != nil {
			return err
		}
	}
	_, err := t.exec(ctx, `insert into migrate_new.meta(one, format, digest, declaration, migration) values (1, $1::bigint, $2::text, $3::text, $4::text)`,
		format, record.Declaration{Collections: n.cfg.Collections}.Digest(), n.text, migration)
	return err
}

// unsuited says why a table that a person has made can't be the new one: it holds
// rows, lacks a column, or has a rule about more than one record, which would
// refuse good copies that come in another order.
func (t *table) unsuited(ctx context.Context, x tx, sh shape) (reasons []string, err error) {
	add := func(format string, args ...any) {
		reasons = append(reasons, "table "+t.name+" "+fmt.Sprintf(format, args...))
	}
	var rows bool
	if err := x.QueryRow(ctx, `select exists(select from `+t.name+`)`).Scan(&rows); err != nil {
		return nil, err
	}
	if rows {
		add("holds rows, but the database has no migration id")
	}
	for _, f := range append(t.key[:len(t.key):len(t.key)], t.body...) {
		c, ok := sh.column(f.Column)
		switch {
		case !ok:
			add("has no column %s", f.Column)
		case c.Generated:
			add("generates the column %s by itself", f.Column)
		case !f.suits(c.Limited):
			add("has the column %s as %s; it must be %s", f.Column, c.Limited, f.own())
		}
	}
	for _, c := range sh.columns {
		if c.NotNull && !c.Default && !c.Generated && !c.Identity && !t.declares(c.Name) {
			add("wants a value in the column %s, which is not declared", c.Name)
		}
	}
	var key []string
	if err := x.QueryRow(ctx, `select coalesce((select array(select a.attname::text from unnest(i.indkey::int2[]) with ordinality k(n, o) join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.n order by k.o)
		from pg_index i where i.indrelid = $1::oid and i.indisprimary), '{}')`, sh.oid).Scan(&key); err != nil {
		return nil, err
	}
	var want []string
	for _, f := range t.key {
		want = append(want, f.Column)
	}
	if strings.Join(key, "\x00") != strings.Join(want, "\x00") {
		add("must have the primary key (%s)", strings.Join(want, ", "))
	}
	named, err := x.Query(ctx, `select 'the constraint ' || conname || ' ' || pg_get_constraintdef(oid) from pg_constraint where (conrelid = $1::oid and contype in ('u', 'f', 'x') or confrelid = $1::oid and contype = 'f')
		union all select 'the unique index ' || i.indexrelid::regclass from pg_index i where i.indrelid = $1::oid and i.indisunique and not i.indisprimary and not exists (select from pg_constraint c where c.conindid = i.indexrelid)
		union all select 'the trigger ' || tgname from pg_trigger where tgrelid = $1::oid and not tgisinternal order by 1`, sh.oid)
	if err != nil {
		return nil, err
	}
	rules, err := pgx.CollectRows(named, pgx.RowTo[string])
	for _, r := range rules {
		add("has %s; add it when the walk is over", r)
	}
	return reasons, err
}

// suits reports whether a column of this type holds every value of the field.
func (f field) suits(typ string) bool {
	switch f.Type {
	case record.Text:
		return typ == "text" || typ == "character varying"
	case record.JSON:
		return typ == "jsonb" || typ == "json"
	case record.Raw:
		return true // the database's own text says what fits
	}
	return typ == f.own()
}

// listsSQL makes pages of the declared lists a walk along an index each.
func (t *table) listsSQL() []string {
	var all []string
	for n, fields := range t.Lists {
		var columns []string
		for _, name := range fields {
			f, _ := t.Field(name)
			columns = append(columns, field{f, t.key[0].role}.indexed())
		}
		for _, f := range t.key {
			columns = append(columns, f.indexed())
		}
		all = append(all, fmt.Sprintf(`create index %s on %s (%s)`, ident(fmt.Sprintf("migrate_%s_list%d", t.Name, n+1)), t.name, strings.Join(columns, ", ")))
	}
	return all
}

// indexed is the column in an index, in the form in which it is compared.
func (f field) indexed() string {
	if f.own() == "text" {
		return `((` + f.column() + `::text) collate "C")`
	}
	return f.column()
}

// prepared reads the migration id, and ErrStranger if it or a table is missing.
func (n *New) prepared(id *string) work {
	return func(ctx context.Context, t tx) error {
		held, err := n.identity(ctx, t)
		if err != nil {
			return err
		}
		if held == nil {
			return errNoID
		}
		for _, of := range n.tables {
			for _, name := range []string{of.name, of.companion, of.outbox} {
				var there bool
				if err := t.QueryRow(ctx, `select to_regclass($1::text) is not null`, name).Scan(&there); err != nil {
					return err
				}
				if !there {
					return fmt.Errorf("%w: the table %s is missing in the new database", store.ErrStranger, name)
				}
			}
			for n := range of.Lists {
				index := ident(of.schema) + "." + ident(fmt.Sprintf("migrate_%s_list%d", of.Name, n+1))
				var there bool
				if err := t.QueryRow(ctx, `select to_regclass($1::text) is not null`, index).Scan(&there); err != nil {
					return err
				}
				if !there {
					return fmt.Errorf("%w: the index %s is missing in the new database", store.ErrStranger, index)
				}
			}
		}
		*id = held.migration
		return nil
	}
}

// errTried ends the transaction of a record that was only tried.
var errTried = errors.New("only tried")

// ProbeRecord implements [store.NewMeta]: in each table a record is written, read and
// deleted, in a transaction that is rolled back.
func (n *New) ProbeRecord(ctx context.Context) error {
	err := n.write(ctx, "try a record", func(ctx context.Context, t tx) error {
		for _, of := range n.tables {
			if err := n.tryRecord(ctx, t, of); err != nil {
				return err
			}
		}
		return errTried
	})
	if errors.Is(err, errTried) {
		return nil
	}
	return err
}

func (n *New) tryRecord(ctx context.Context, t tx, of *table) error {
	id, body, err := of.tried()
	if err != nil {
		return err
	}
	rec := Record{ID: id, Pair: store.Pair{Rev: 1, Epoch: 1}, Body: body}
	w, err := n.writing(rec)
	if err == nil {
		_, err = w.put(ctx, t, anywhere, &store.Pair{})
	}
	if err != nil {
		return n.refusal(id, err)
	}
	found, _, err := n.get(ctx, t, []record.ID{id})
	if err != nil {
		return err
	}
	if found[id].Body != rec.Body {
		return fmt.Errorf("%w: the record that was tried can't be read back from %s", store.ErrUnavailable, of.name)
	}
	gone, err := n.writing(Record{ID: id, Pair: store.Pair{Rev: 2, Epoch: 1}, Deleted: true})
	if err == nil {
		_, err = gone.put(ctx, t, anywhere, &rec.Pair)
	}
	return err
}

// fresh is a value of a column of an id that nobody has.
func (f field) fresh() record.Value {
	switch f.Type {
	case record.Int:
		return record.OfInt(int64(rand.Int32())) // also a small column holds it, or refuses it
	case record.UUID:
		return record.OfUUID(uuid.New())
	}
	return record.UncheckedText("migrate " + uuid.NewString())
}

// some is a value of the field's type.
func (f field) some() record.Value {
	text := map[record.Type]string{
		record.Int: "0", record.Float: "0", record.Decimal: "0", record.Bool: "false", record.Bytes: `\x`,
		record.Timestamp: "2000-01-01T00:00:00Z", record.Date: "2000-01-01", record.UUID: uuid.Nil.String(), record.JSON: "null",
	}[f.Type]
	v, err := record.Parse(f.Type, text)
	if err != nil {
		return record.UncheckedText("")
	}
	return v
}

// Strangers implements [store.Strange].
func (n *New) Strangers(ctx context.Context, limit int) (found []store.Stranger, total int64, err error) {
	err = n.read(ctx, "look for strangers", func(ctx context.Context, t tx) error {
		found, total = nil, 0
		for _, of := range n.tables {
			from := ` from ` + of.joined() + ` where m.rev is null`
			var count int64
			if err := t.QueryRow(ctx, `select count(*)`+from).Scan(&count); err != nil {
				return err
			}
			total += count
			rest := limit - len(found)
			if count == 0 || rest <= 0 {
				continue
			}
			ids := of.keys(", ", func(_ string, f field) string { return f.ordered("t." + f.column()) })
			rows, err := t.Query(ctx, fmt.Sprintf(`select array[%s]%s order by %s limit %d`,
				of.keys(", ", func(_ string, f field) string { return "t." + f.column() + "::text" }), from, ids, rest))
			if err != nil {
				return err
			}
			texts, err := pgx.CollectRows(rows, pgx.RowTo[[]*string])
			if err != nil {
				return err
			}
			for _, key := range texts {
				shown, err := of.idOf(key)
				if err != nil {
					return err
				}
				found = append(found, store.Stranger{Collection: of.Name, ID: shown.String()})
			}
		}
		return nil
	})
	return found, total, err
}

var (
	_ store.New     = (*New)(nil)
	_ store.Strange = (*New)(nil)
)
