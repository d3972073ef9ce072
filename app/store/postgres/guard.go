package postgres

import (
	"context"
	"fmt"
	"strings"

	"migrate.invalid/migrate/app/store"
)

// guardsSQL is the function that says by what a table is held inside the protocol: a
// text with a part for each thing that may be lost unseen. A rewrite of the table
// gives it another file: ALTER … TYPE … USING changes rows so, and no trigger
// fires. TRUNCATE does that, too, and its trigger takes the new file down.
func guardsSQL() string {
	return function(`migrate.guards(called text, keys text[])`, `text`, `  answer text;`, `  select concat_ws(' ', 'table=' || c.oid, 'file=' || pg_relation_filenode(c.oid),
    'id=' || coalesce((select string_agg(a.attname || ':' || a.atttypid, ',' order by a.attnum) from pg_attribute a where a.attrelid = c.oid and a.attname = any(keys) and not a.attisdropped), ''),
    'triggers=' || coalesce((select string_agg(g.tgname || ':' || g.tgenabled::text || ':' || md5(p.prosrc), ',' order by g.tgname) from pg_trigger g join pg_proc p on p.oid = g.tgfoid where g.tgrelid = c.oid and g.tgname like 'migrate\_%'), ''),
    'children=' || (select count(*) from pg_inherits where inhparent = c.oid))
    into answer from pg_class c where c.oid = to_regclass(called);
  return coalesce(answer, 'table=none');`)
}

// guards is the call that says by what the table is held now.
func (t *table) guards() string {
	return `migrate.guards(` + literal(t.name) + `, array[` + t.keys(", ", func(_ string, f field) string { return literal(f.Column) }) + `])`
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
		"triggers": "our triggers on it are missing, disabled or changed", "children": "tables inherit from it",
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
		var kept, now string
		if err := t.QueryRow(ctx, `select guards, `+of.guards()+` from migrate.collection where name = $1::text`, of.Name).Scan(&kept, &now); err != nil {
			return err
		}
		if what := missing(kept, now); what != "" {
			return fmt.Errorf("%w: the table %s of %s: %s: what other programs wrote since may be unknown to the protocol; migrate adopt mends that while the old database is primary", store.ErrStranger, of.name, of.Name, what)
		}
	}
	return nil
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

// Sweep implements [store.Foreign]. It looks both ways: a row that came unseen
// becomes a record, too.
func (o *Old) Sweep(ctx context.Context) (swept int64, err error) {
	for _, of := range o.tables {
		n, err := o.sweep(ctx, of)
		swept += n
		if err != nil {
			return swept, err
		}
	}
	return swept, nil
}

func (o *Old) sweep(ctx context.Context, of *table) (swept int64, err error) {
	vanished := ` from ` + of.companion + ` m where not m.deleted and not exists (select from ` + of.name + ` t where ` + of.same("t.", "m.") + `)`
	came := ` from ` + of.name + ` t where not exists (select from ` + of.companion + ` m where ` + of.same("t.", "m.") + ` and not m.deleted)`
	// The search holds no lock against writers; what it finds is looked at again.
	var any bool
	err = o.read(ctx, "sweep", func(ctx context.Context, t tx) error {
		if err := t.script(ctx, `lock table `+of.name+` in access share mode`); err != nil {
			return err
		}
		return t.QueryRow(ctx, `select exists(select`+vanished+`) or exists(select`+came+`)`).Scan(&any)
	})
	if err != nil || !any {
		return 0, err
	}
	err = o.write(ctx, "sweep", func(ctx context.Context, t tx) error {
		swept = 0
		if err := t.script(ctx, `lock table migrate.gate in row share mode; lock table `+of.name+` in access share mode`); err != nil {
			return err
		}
		f, err := o.readFence(ctx, t)
		if err != nil || f.Primary != store.PrimaryOld || f.Closing {
			return err
		}
		ks := of.ks("")
		n, err := t.exec(ctx, `with swept as (update `+of.companion+` m set rev = m.rev + 1, epoch = $1::bigint, deleted = true, unfit = null where not m.deleted and not exists (select from `+of.name+` t where `+of.same("t.", "m.")+`)
			returning `+of.ks("m.")+`, m.rev) insert into `+of.outbox+` select `+ks+`, rev, $1::bigint from swept on conflict do nothing`, f.Epoch)
		if err != nil {
			return err
		}
		swept += n
		n, err = t.exec(ctx, `with swept as (insert into `+of.companion+` as m (`+ks+`, rev, epoch, deleted) select `+of.ids("t.")+`, 1, $1::bigint, false`+came+`
			on conflict (`+ks+`) do update set rev = m.rev + 1, epoch = excluded.epoch, deleted = false, unfit = null returning `+of.ks("m.")+`, m.rev)
			insert into `+of.outbox+` select `+ks+`, rev, $1::bigint from swept on conflict do nothing`, f.Epoch)
		swept += n
		return err
	})
	return swept, err
}

var _ store.Foreign = (*Old)(nil)
