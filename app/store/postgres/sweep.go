package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// sweptPage is how many records a page of a sweep looks at.
const sweptPage = 20_000

// Sweep implements [store.Foreign]. It looks both ways: a row that came unseen
// becomes a record, too. It stops where a table has no row left at all: what reads
// so may be a table that was moved.
func (o *Old) Sweep(ctx context.Context) (swept int64, err error) {
	for _, of := range o.tables {
		n, err := o.sweep(ctx, of, false)
		swept += n
		if err != nil {
			return swept, err
		}
	}
	return swept, nil
}

// sweep sweeps one table. After a gap, and with the guards laid anew, it believes
// an empty table.
func (o *Old) sweep(ctx context.Context, of *table, again bool) (swept int64, err error) {
	var filled, empty bool
	err = o.patient().read(ctx, "sweep", func(ctx context.Context, t tx) error {
		if err := o.hold(ctx, t, of); err != nil {
			return err
		}
		return t.QueryRow(ctx, `select filled, not exists(select from `+of.name+`) and exists(select from `+of.companion+` where not deleted) from migrate.collection where name = $1::text`, of.Name).Scan(&filled, &empty)
	})
	if err != nil {
		return 0, err
	}
	if empty && !again {
		return 0, fmt.Errorf("postgres: sweep: %w: the table %s has no row, and the protocol knows some: nothing was swept", store.ErrStranger, of.name)
	}
	vanished, err := o.sweepPages(ctx, of, of.companion+` t where not t.deleted and `, func(k string, _ field) string { return "t." + k },
		`not exists (select from `+of.name+` x where `+of.same("x.", "p.")+`)`, o.bury)
	if err != nil || !filled {
		return vanished, err // before, a row without a companion is one that is not filled yet
	}
	came, err := o.sweepPages(ctx, of, of.name+` t where `, func(_ string, f field) string { return f.ordered("t." + f.column()) },
		`not exists (select from `+of.companion+` m where (`+of.ks("m.")+`) = (`+of.ks("p.")+`) and not m.deleted)`, o.welcome)
	return vanished + came, err
}

// hold keeps a table from being rewritten before the snapshot of the next
// statement: an older one would see it empty.
func (o *Old) hold(ctx context.Context, t tx, of *table) error {
	return t.script(ctx, `lock table `+of.name+` in access share mode`)
}

// mend writes what a page has found, in a transaction in which old is primary. It
// returns how many records it has changed: what was found is looked at again.
type mend func(ctx context.Context, t tx, of *table, keys [][]*string, epoch int64) (int64, error)

// sweepPages walks one side, a statement a page, and mends what is odd of it.
func (o *Old) sweepPages(ctx context.Context, of *table, from string, id func(k string, f field) string, odd string, mend mend) (swept int64, err error) {
	for after := of.start; ; {
		found, last, err := o.sweepPage(ctx, of, from, id, odd, after)
		if err != nil {
			return swept, err
		}
		if len(found) > 0 && len(found[0]) > 0 {
			n, err := o.mend(ctx, of, found, mend)
			swept += n
			if err != nil {
				return swept, err
			}
		}
		if last == nil {
			return swept, nil
		}
		if after, err = of.idOf(last); err != nil {
			return swept, err
		}
	}
}

// sweepPage returns the odd ids of a page, a list for each column, and the page's
// last id; none at the end.
func (o *Old) sweepPage(ctx context.Context, of *table, from string, id func(k string, f field) string, odd string, after record.ID) (found [][]*string, last []*string, err error) {
	at, err := of.position(after)
	if err != nil {
		return nil, nil, err
	}
	ids := of.keys(", ", id)
	behind := of.after(at, func(n int) string { return id(fmt.Sprintf("k%d", n), of.key[n-1]) })
	texts := of.keys(", ", func(k string, _ field) string { return "p." + k + "::text" })
	query := `with p as materialized (select ` + of.keys(", ", func(k string, f field) string { return id(k, f) + " as " + k }) + ` from ` + from + behind + ` order by ` + ids + at.limit() + `)
		select array[` + texts + `], true from p where ` + odd + ` union all (select array[` + texts + `], false from p order by ` +
		list(len(of.key), ", ", func(n int) string { return fmt.Sprintf("k%d desc", n) }) + ` offset 0 limit 1)`
	err = o.patient().read(ctx, "sweep", func(ctx context.Context, t tx) error {
		found, last = make([][]*string, len(of.key)), nil
		// Each other plan would read the whole other side for each page.
		if err := t.script(ctx, `set local enable_hashjoin to off; set local enable_mergejoin to off; set local enable_seqscan to off`); err != nil {
			return err
		}
		if err := o.hold(ctx, t, of); err != nil {
			return err
		}
		rows, err := t.Query(ctx, query, append(at.args, sweptPage)...)
		if err != nil {
			return err
		}
		var (
			key   []*string
			isOdd bool
		)
		_, err = pgx.ForEachRow(rows, []any{&key, &isOdd}, func() error {
			if isOdd {
				for n, text := range key {
					found[n] = append(found[n], text)
				}
			} else {
				last = key
			}
			key = nil // the next row has an array of its own
			return nil
		})
		return err
	})
	return found, last, err
}

func (o *Old) mend(ctx context.Context, of *table, keys [][]*string, mend mend) (swept int64, err error) {
	err = o.patient().write(ctx, "sweep", func(ctx context.Context, t tx) error {
		swept = 0
		if err := t.script(ctx, `lock table migrate.gate in row share mode`); err != nil {
			return err
		}
		f, err := o.readFence(ctx, t)
		if err != nil || f.Primary != store.PrimaryOld || f.Closing {
			return err
		}
		if err := o.hold(ctx, t, of); err != nil {
			return err
		}
		// Where the triggers are gone the rows may be elsewhere.
		if err := o.lookForGuardsOf(ctx, t, of); err != nil {
			return err
		}
		swept, err = mend(ctx, t, of, keys, f.Epoch)
		return err
	})
	return swept, err
}

// bury makes tombstones of records whose row is gone. The companions are locked in
// a statement of their own: the next one sees a row that came while it waited.
func (o *Old) bury(ctx context.Context, t tx, of *table, keys [][]*string, epoch int64) (int64, error) {
	ids, args := of.passed(keys)
	mine := `(` + of.ks("m.") + `) in (select ` + of.ks("a.") + ` from ` + ids + `)`
	if _, err := t.exec(ctx, `select from `+of.companion+` m where `+mine+` order by `+of.ks("m.")+` for update`, args...); err != nil {
		return 0, err
	}
	e := fmt.Sprintf("$%d::bigint", len(args)+1)
	return t.exec(ctx, `with swept as (update `+of.companion+` m set rev = m.rev + 1, epoch = `+e+`, deleted = true, unfit = null where `+mine+` and not m.deleted and not exists (select from `+of.name+` t where `+of.same("t.", "m.")+`)
		returning `+of.ks("m.")+`, m.rev) insert into `+of.outbox+` select `+of.ks("")+`, rev, `+e+` from swept on conflict do nothing`, append(args, epoch)...)
}

// welcome makes records of rows that came unseen. A row that somebody is writing has
// a trigger that does it.
func (o *Old) welcome(ctx context.Context, t tx, of *table, keys [][]*string, epoch int64) (int64, error) {
	found, err := of.share(ctx, t, keys)
	if err != nil || len(found) == 0 {
		return 0, err
	}
	locked, reasons, _ := of.judged(found)
	args, from := of.marks(locked, reasons)
	e := fmt.Sprintf("$%d::bigint", len(args)+1)
	var n int64
	err = t.QueryRow(ctx, `with came as (insert into `+of.companion+` as m (`+of.ks("")+`, rev, epoch, deleted, unfit) select `+of.typedKeys("g.")+`, 1, `+e+`, false, g.reason`+from+`
		on conflict (`+of.ks("")+`) do update set rev = m.rev + 1, epoch = excluded.epoch, deleted = false, unfit = excluded.unfit where m.deleted returning `+of.ks("m.")+`, m.rev, m.unfit),
		sent as (insert into `+of.outbox+` select `+of.ks("")+`, rev, `+e+` from came where unfit is null on conflict do nothing)
		select count(*) from came`, append(args, epoch)...).Scan(&n)
	return n, err
}
