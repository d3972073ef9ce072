package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/store"
)

var _ store.Legacy = (*Old)(nil)

// Quarantine implements [store.Legacy]. Rows are marked where they are: by the
// take-over, by the relay, and here by what is read of rows that have changed since.
func (o *Old) Quarantine(ctx context.Context, limit int) (rows []store.Quarantined, total int64, err error) {
	err = o.patient().read(ctx, "read the quarantine", func(ctx context.Context, t tx) error {
		rows, total = nil, 0
		return o.quarantine(ctx, t, func(e entry) {
			if total++; limit == 0 || len(rows) < limit {
				rows = append(rows, e.Quarantined)
			}
		})
	})
	return rows, total, err
}

// entry is one row of the quarantine, and the record by whose deletion it is
// decided, at the pair that it has now.
type entry struct {
	store.Quarantined
	record Record
}

// quarantine finds the rows on which nobody has decided, those that have changed
// since they were looked at included.
func (o *Old) quarantine(ctx context.Context, t tx, found func(entry)) error {
	for _, of := range o.tables {
		for _, which := range []string{`m.unfit is not null`, `m.unfit is null and ` + of.isPending()} {
			q, err := t.Query(ctx, `select array[`+of.keys(", ", func(k string, _ field) string { return "m." + k + "::text" })+`], array[null`+of.bodiesOf("t.")+`]::text[], m.rev, m.epoch, coalesce(m.request, ''), m.unfit, t::text from `+of.companion+` m join `+
				of.name+` t on `+of.same("t.", "m.")+` where not m.deleted and `+which+` order by `+of.ks("m."))
			if err != nil {
				return err
			}
			if err := of.entries(q, found); err != nil {
				return err
			}
		}
	}
	return nil
}

// entries takes those rows that have a mark, or that can't be read.
func (t *table) entries(q pgx.Rows, found func(entry)) error {
	var (
		key, body []*string
		rec       = Record{Deleted: true, Pending: true}
		mark      *string
		whole     string
	)
	_, err := pgx.ForEachRow(q, []any{&key, &body, &rec.Rev, &rec.Epoch, &rec.Request, &mark, &whole}, func() error {
		reason := ""
		if mark != nil {
			reason = *mark
		} else if _, reason = t.bodyOf(body[1:]); reason == "" {
			return nil
		}
		var err error
		rec.ID, err = t.idOf(key)
		found(entry{store.Quarantined{Collection: t.Name, Key: t.Name + "/" + digest(string(rec.ID)+rec.Pair.String()), Reason: reason, ID: rec.ID.String(), Row: whole}, rec})
		return err
	})
	return err
}

// digest tells a copy of a row from another one, and from what becomes of it.
func digest(of string) string {
	sum := sha256.Sum256([]byte(of))
	return hex.EncodeToString(sum[:8])
}

// Drop implements [store.Legacy]: the record is deleted, if it is the copy that was
// listed.
func (o *Old) Drop(ctx context.Context, key string) error {
	var (
		f     fence
		found *entry
	)
	err := o.patient().read(ctx, "look for the row "+key, func(ctx context.Context, t tx) (err error) {
		found = nil
		if f, err = o.readFence(ctx, t); err != nil {
			return err
		}
		return o.quarantine(ctx, t, func(e entry) {
			if e.Key == key {
				found = &e
			}
		})
	})
	switch {
	case err != nil:
		return err
	case f.Primary != store.PrimaryOld || f.Closing:
		return fmt.Errorf("postgres: drop: %w: the new database is primary", store.ErrFenceMoved)
	case found == nil:
		return fmt.Errorf("postgres: drop: %w: there is no row %q in the quarantine", store.ErrConflict, key)
	}
	gone := found.record
	gone.Pair = store.Pair{Rev: gone.Rev + 1, Epoch: f.Epoch}
	return o.CompareAndSwap(ctx, f.Epoch, gone, found.record.Pair)
}

// Restore implements [store.Legacy]: nothing is ever moved aside here.
func (o *Old) Restore(_ context.Context, key string) error {
	return fmt.Errorf("postgres: restore: %w: the row %q was not moved: it is where it was", store.ErrConflict, key)
}

// Accept implements [store.Legacy].
func (o *Old) Accept(ctx context.Context, n int64) error {
	return o.write(ctx, "accept the quarantine", func(ctx context.Context, t tx) error {
		_, err := t.exec(ctx, `update migrate.fence set accepted = greatest(accepted, $1::bigint)`, n)
		return err
	})
}

// Accepted implements [store.Legacy].
func (o *Old) Accepted(ctx context.Context) (n int64, err error) {
	err = o.read(ctx, "read what was accepted", func(ctx context.Context, t tx) error {
		return t.QueryRow(ctx, `select accepted from migrate.fence`).Scan(&n)
	})
	return n, err
}

// Converted implements [store.Legacy]: values that are NULL, and are read otherwise.
func (o *Old) Converted(ctx context.Context, limit int) (rows []store.Quarantined, total int64, err error) {
	err = o.patient().read(ctx, "read what is converted", func(ctx context.Context, t tx) error {
		rows, total = nil, 0
		for _, of := range o.tables {
			for _, f := range of.body {
				if !f.Loose {
					continue
				}
				where := ` from ` + of.name + ` t where t.` + f.column() + ` is null`
				var n int64
				if err := t.QueryRow(ctx, `select count(*)`+where).Scan(&n); err != nil {
					return err
				}
				total += n
				left := limit - len(rows)
				if n == 0 || limit > 0 && left <= 0 {
					continue
				}
				if limit == 0 {
					left = int(n)
				}
				q, err := t.Query(ctx, fmt.Sprintf(`select array[%s], t::text%s order by %s limit %d`, of.keys(", ", func(_ string, f field) string { return "t." + f.column() + "::text" }), where, of.ids("t."), left))
				if err != nil {
					return err
				}
				var key []*string
				var whole string
				_, err = pgx.ForEachRow(q, []any{&key, &whole}, func() error {
					id, err := of.idOf(key)
					rows = append(rows, store.Quarantined{Collection: of.Name, Reason: f.Name + " is NULL", ID: id.String(), Row: whole})
					return err
				})
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	return rows, total, err
}
