package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

var _ store.Legacy = (*Old)(nil)

// Quarantine implements [store.Legacy]. Rows are marked where they are: by the
// take-over, by the relay, and here by what is read of rows that have changed since.
func (o *Old) Quarantine(ctx context.Context, limit int) (rows []store.Quarantined, total int64, err error) {
	err = o.read(ctx, "read the quarantine", func(ctx context.Context, t tx) error {
		rows, total = nil, 0
		for _, of := range o.tables {
			if err := o.quarantined(ctx, t, of, limit, &rows, &total); err != nil {
				return err
			}
		}
		return nil
	})
	return rows, total, err
}

func (o *Old) quarantined(ctx context.Context, t tx, of *table, limit int, rows *[]store.Quarantined, total *int64) error {
	q, err := t.Query(ctx, `select array[`+of.keys(", ", func(k string, _ field) string { return "m." + k + "::text" })+`], array[null`+of.bodiesOf("t.")+`]::text[], m.unfit, t::text from `+of.companion+` m join `+
		of.name+` t on `+of.same("t.", "m.")+` where m.unfit is not null and not m.deleted order by `+of.ks("m."))
	if err != nil {
		return err
	}
	if err := of.entries(q, limit, rows, total); err != nil {
		return err
	}
	// Rows that have changed since: undecided until they are checked again.
	q, err = t.Query(ctx, `select array[`+of.keys(", ", func(k string, _ field) string { return "m." + k + "::text" })+`], array[null`+of.bodiesOf("t.")+`]::text[], m.unfit, t::text from `+of.companion+` m join `+
		of.name+` t on `+of.same("t.", "m.")+` where m.unfit is null and not m.deleted and `+of.isPending()+` order by `+of.ks("m."))
	if err != nil {
		return err
	}
	return of.entries(q, limit, rows, total)
}

// entries takes in those rows that have a mark, or that can't be read.
func (t *table) entries(q pgx.Rows, limit int, rows *[]store.Quarantined, total *int64) error {
	var (
		key, body []*string
		mark      *string
		whole     string
	)
	_, err := pgx.ForEachRow(q, []any{&key, &body, &mark, &whole}, func() error {
		reason := ""
		if mark != nil {
			reason = *mark
		} else if _, reason = t.bodyOf(body[1:]); reason == "" {
			return nil
		}
		id, err := t.idOf(key)
		if err != nil {
			return err
		}
		*total++
		if limit == 0 || len(*rows) < limit {
			*rows = append(*rows, store.Quarantined{Collection: t.Name, Key: t.Name + "/" + id.String(), Reason: reason, ID: id.String(), Row: whole})
		}
		return nil
	})
	return err
}

// Drop implements [store.Legacy]: the record is deleted.
func (o *Old) Drop(ctx context.Context, key string) error {
	name, text, _ := strings.Cut(key, "/")
	of, err := o.table(record.Start(name))
	if err != nil {
		return fmt.Errorf("postgres: drop: %w: there is no row %q", store.ErrConflict, key)
	}
	id, err := of.ParseID(text)
	if err != nil {
		return fmt.Errorf("postgres: drop: %w: there is no row %q", store.ErrConflict, key)
	}
	found, f, err := o.Get(ctx, id)
	switch held, ok := found[id]; {
	case err != nil:
		return err
	case f.Primary != store.PrimaryOld || f.Closing:
		return fmt.Errorf("postgres: drop: %w: the new database is primary", store.ErrFenceMoved)
	case !ok || held.Deleted || held.Unfit == "":
		return fmt.Errorf("postgres: drop: %w: the row %q is not in quarantine", store.ErrConflict, key)
	default:
		return o.CompareAndSwap(ctx, f.Epoch, Record{ID: id, Pair: store.Pair{Rev: held.Rev + 1, Epoch: f.Epoch}, Deleted: true, Pending: true, Request: held.Request}, held.Pair)
	}
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
					rows = append(rows, store.Quarantined{Collection: of.Name, Key: of.Name + "/" + id.String(), Reason: f.Name + " is NULL", ID: id.String(), Row: whole})
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
