package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// The size of a batch of rows whose companions are made, and how long it waits for
// a program that has one of them.
const (
	batch     = 1000
	batchWait = 50 * time.Millisecond
)

// fill makes the companions of the rows that have none, and marks those that can't
// be sent. After a gap it counts each record up. It goes on where it stopped, and
// returns how many rows it has looked at and marked.
func (o *Old) fill(ctx context.Context, of *table, say func(string, int64, int64)) (rows, unfit int64, err error) {
	var total int64
	err = o.readAny(ctx, "count the rows", func(ctx context.Context, t tx) error {
		return t.QueryRow(ctx, countRecords(of)).Scan(&total)
	})
	if err != nil {
		return 0, 0, err
	}
	for limit := batch; ; {
		n, marked, done, err := o.fillBatch(ctx, of, limit)
		switch c := code(err); {
		case c == codeNoLock || c == codeDeadlock:
			limit = max(limit/4, 1) // somebody writes one of them
			select {
			case <-ctx.Done():
				return rows, unfit, o.meaning(ctx, "fill", ctx.Err())
			case <-time.After(batchWait):
			}
			continue
		case err != nil:
			return rows, unfit, err
		}
		rows, unfit = rows+n, unfit+marked
		say("fill", rows, max(total, rows))
		if done {
			return rows, unfit, nil
		}
		limit = min(limit*2, batch)
	}
}

// fillBatch takes the next rows in the order of ids. It locks rows before
// companions, as everybody does, and waits for no writer for long.
func (o *Old) fillBatch(ctx context.Context, of *table, limit int) (rows, unfit int64, done bool, err error) {
	err = o.writeAny(ctx, "note what is kept of each row", func(ctx context.Context, t tx) error {
		rows, unfit = 0, 0
		if err := t.script(ctx, fmt.Sprintf("set local lock_timeout to %d; lock table migrate.gate in row share mode", batchWait.Milliseconds())); err != nil {
			return err
		}
		f, err := o.readFence(ctx, t)
		if err != nil {
			return err
		}
		if f.Primary != store.PrimaryOld {
			return fmt.Errorf("%w: the new database is primary", store.ErrFenceMoved)
		}
		var (
			position []byte
			again    bool
		)
		if err := t.QueryRow(ctx, `select filled, again, position from migrate.collection where name = $1::text for update`, of.Name).Scan(&done, &again, &position); err != nil || done {
			return err
		}
		at, err := of.position(max(record.ID(position), of.start))
		if err != nil {
			return err
		}
		q, err := t.Query(ctx, `select array[`+of.keys(", ", func(_ string, f field) string { return "t." + f.column() + "::text" })+`], array[null`+of.bodiesOf("t.")+`]::text[] from `+of.name+` t where `+
			of.behind("t.", at)+` order by `+of.ids("t.")+at.limit()+` for share of t`, append(at.args, limit)...)
		if err != nil {
			return err
		}
		type row struct{ Key, Body []*string }
		found, err := pgx.CollectRows(q, pgx.RowToStructByPos[row])
		if err != nil {
			return err
		}
		keys, reasons, last := make([][]*string, len(of.key)), []*string{}, record.ID(position)
		for _, r := range found {
			for n, text := range r.Key {
				keys[n] = append(keys[n], text)
			}
			var reason *string
			if _, why := of.bodyOf(r.Body[1:]); why != "" {
				reason = &why
				unfit++
			}
			reasons = append(reasons, reason)
			if last, err = of.idOf(r.Key); err != nil {
				return err
			}
		}
		rows, done = int64(len(found)), len(found) < limit
		if len(found) > 0 {
			if err := o.companions(ctx, t, of, keys, reasons, again, f.Epoch); err != nil {
				return err
			}
		}
		_, err = t.exec(ctx, `update migrate.collection set position = $2::bytea, filled = $3::boolean, again = again and not $3::boolean where name = $1::text`, of.Name, []byte(last), done)
		return err
	})
	if err == nil && done && rows > 0 {
		// After a gap rows may have gone, too.
		_, err = o.sweep(ctx, of)
	}
	return rows, unfit, done, err
}

// companions makes those of a batch. A row without one counts as (1,0).
func (o *Old) companions(ctx context.Context, t tx, of *table, keys [][]*string, reasons []*string, again bool, epoch int64) error {
	args := make([]any, len(keys), len(keys)+2)
	for n := range keys {
		args[n] = keys[n]
	}
	n := len(keys)
	ks := of.ks("")
	given := list(n, ", ", func(n int) string { return fmt.Sprintf("$%d::text[]", n) })
	from := ` from unnest(` + given + fmt.Sprintf(`, $%d::text[]) g(`, n+1) + ks + `, reason)`
	typed := of.keys(", ", func(k string, f field) string { return "g." + k + "::" + f.own() })
	args = append(args, reasons)
	if !again {
		_, err := t.exec(ctx, `insert into `+of.companion+`(`+ks+`, rev, epoch, deleted, unfit) select `+typed+`, 1, 0, false, g.reason`+from+` on conflict do nothing`, args...)
		return err
	}
	_, err := t.exec(ctx, `with counted as (insert into `+of.companion+` as m (`+ks+`, rev, epoch, deleted, unfit) select `+typed+fmt.Sprintf(`, 2, $%d::bigint, false, g.reason`, n+2)+from+`
		on conflict (`+ks+`) do update set rev = m.rev + 1, epoch = excluded.epoch, deleted = false, unfit = excluded.unfit returning `+of.ks("m.")+`, m.rev, m.unfit)
		insert into `+of.outbox+` select `+ks+fmt.Sprintf(`, rev, $%d::bigint`, n+2)+` from counted where unfit is null on conflict do nothing`, append(args, epoch)...)
	return err
}
