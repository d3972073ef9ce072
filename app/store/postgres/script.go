package postgres

import (
	"context"
	"fmt"
	"strings"

	"migrate.invalid/migrate/app/store"
)

var _ store.Scripted = (*Old)(nil)

// Script implements [store.Scripted]: what Adopt would run before it fills, for
// somebody with more rights to run, and what the service's role needs then.
func (o *Old) Script(ctx context.Context, accept ...string) (string, error) {
	k, err := o.inspect(ctx, question{accept: accept, script: true})
	if err != nil {
		return "", err
	}
	if k.laid && k.gap == "" {
		return "", fmt.Errorf("postgres: script: %w: the database was taken over already", store.ErrStranger)
	}
	if k.laid {
		return "", fmt.Errorf("postgres: script: %w: the guards have a gap, which the tables' owner mends by migrate adopt: %s", store.ErrStranger, k.gap)
	}
	if why := refusedRules(k.rules); why != nil {
		return "", why
	}
	var text string
	err = o.readAny(ctx, "look at the tables", func(ctx context.Context, t tx) error {
		var role string
		var version int
		if err := t.QueryRow(ctx, `select current_user::text, current_setting('server_version_num')::int`).Scan(&role, &version); err != nil {
			return err
		}
		laying, indexes, err := o.scripted(ctx, t, acceptedOf(k.rules))
		if err != nil {
			return err
		}
		var b strings.Builder
		fmt.Fprintf(&b, `-- What migrate adopt puts into this database, for a superuser or the tables' owner to run once:
--   psql -v ON_ERROR_STOP=1 -f FILE
-- Then migrate adopt, as the role %s, goes on from there. Nothing of this changes a row.
-- If a lock can't be had in %s, nothing was changed: run it again.
begin;
set local lock_timeout to %[3]d;
set local search_path to pg_catalog;
`, role, lockWait, lockWait.Milliseconds())
		grants, err := o.grants(ctx, t, role)
		if err != nil {
			return err
		}
		for _, s := range append(laying, grants...) {
			b.WriteString(s + ";\n")
		}
		b.WriteString("commit;\n-- These hold no writer up. One that fails leaves an invalid index: drop that, and repeat the line.\n")
		for _, s := range indexes {
			b.WriteString(s + ";\n")
		}
		if version >= 150000 {
			b.WriteString("-- Copies fire none of the tables' triggers and look at no foreign key. Only a superuser can grant that.\ngrant set on parameter session_replication_role to " + ident(role) + ";\n")
		} else {
			b.WriteString("-- Before version 15 nobody can be granted session_replication_role: tables with triggers or foreign keys need a superuser as the service's role.\n")
		}
		text = b.String()
		return nil
	})
	return text, err
}

// scripted are the statements of the transaction, and those of the indexes.
func (o *Old) scripted(ctx context.Context, t tx, accepted []string) (laying, indexes []string, err error) {
	laying = append([]string{`create schema migrate`}, fenceSQL()...)
	var last []string
	for _, of := range o.tables {
		sh, err := of.look(ctx, t)
		if err != nil {
			return nil, nil, err
		}
		if sh.oid == 0 {
			return nil, nil, fmt.Errorf("%w: there is no table %s", store.ErrUnsuited, of.name)
		}
		laying = append(append(laying, of.layingSQL(sh)...), `insert into migrate.collection(name, filled) values (`+literal(of.Name)+`, false)`)
		last = append(append(last, of.triggersSQL()...), of.guardedSQL())
		for _, x := range of.indexesOf() {
			indexes = append(indexes, x.create)
		}
	}
	rules := list(len(accepted), ", ", func(n int) string { return literal(accepted[n-1]) })
	laying = append(laying, fmt.Sprintf(`insert into migrate.fence(one, format, digest, declaration, migration, epoch, prim, state, rules) values (1, %d, %s, %s, %s, 1, 'old', 'open', array[%s]::text[])`,
		format, literal(o.digest), literal(o.text), literal(newID()), rules))
	return append(laying, last...), indexes, nil
}

// grants are what the service's role needs, and no more.
func (o *Old) grants(ctx context.Context, t tx, role string) ([]string, error) {
	to := ` to ` + ident(role)
	all := []string{
		`revoke all on all functions in schema migrate from public`,
		`grant usage on schema migrate` + to,
		`grant select, insert, update, delete on all tables in schema migrate` + to,
		`grant execute on all functions in schema migrate` + to,
	}
	for _, of := range o.tables {
		if of.schema != "public" {
			all = append(all, `grant usage on schema `+ident(of.schema)+to)
		}
		all = append(all, `grant select, insert, update, delete on `+of.name+to)
		counters, err := of.counters(ctx, t)
		if err != nil {
			return nil, err
		}
		for _, c := range counters {
			all = append(all, `grant usage, select, update on sequence `+c.Name+to)
		}
	}
	return all, nil
}
