package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// Old is a PostgreSQL database that is left. It is safe for concurrent use.
type Old struct {
	*base
	digest string                 // of the declaration
	seen   atomic.Int64           // the greatest epoch that the fence has had
	quiet  atomic.Pointer[string] // what mayBeQuiet has found
}

var _ store.Old = (*Old)(nil)

// OpenOld returns a store on a server that may be out of reach now; calls then
// fail with store.ErrUnavailable.
func OpenOld(ctx context.Context, cfg Config) (*Old, error) {
	b, err := newBase(ctx, cfg, asOld)
	if err != nil {
		return nil, err
	}
	return &Old{base: b, digest: record.Declaration{Collections: cfg.Collections}.Digest()}, nil
}

// Get returns the records that exist, tombstones too, by id.
func (o *Old) Get(ctx context.Context, ids ...record.ID) (found map[record.ID]Record, under store.Fence, err error) {
	before := o.seen.Load()
	for {
		err = o.read(ctx, "get", func(ctx context.Context, t tx) error {
			var f fence
			if found, f, err = o.get(ctx, t, ids); err != nil {
				return err
			}
			if f.Migration == "" { // no table was read
				if f, err = o.readFence(ctx, t); err != nil {
					return err
				}
			}
			under = f.Fence
			return o.known(ctx, t, before, f)
		})
		switch {
		case errors.Is(err, errMoved):
			continue
		case err != nil:
			return nil, store.Fence{}, err
		}
		return found, under, nil
	}
}

// CompareAndSwap commits rec, as it is, if the stored pair is expect and the fence
// is at epoch. A record that would be stored otherwise than it was sent is unfit,
// so what is answered is what is stored.
func (o *Old) CompareAndSwap(ctx context.Context, epoch int64, rec Record, expect store.Pair) error {
	return o.compareAndSwap(ctx, epoch, rec, expect)
}

// PutIfNewer applies, all or none, each record that is newer than the stored one,
// with pending unset, if the fence is at epoch. Where the role may do that, it
// fires none of the person's triggers and looks at no foreign key.
func (o *Old) PutIfNewer(ctx context.Context, epoch int64, recs ...Record) error {
	quiet, err := o.mayBeQuiet(ctx)
	if err != nil {
		return err
	}
	if len(recs) == 0 {
		quiet += at(epoch)
	}
	return o.mayAskAgain(o.putIfNewer(ctx, epoch, quiet, recs))
}

// mayAskAgain forgets which rights the role has if they turn out to be others.
func (o *Old) mayAskAgain(err error) error {
	if code(err) == codeNoRight {
		o.quiet.Store(nil)
	}
	return err
}

// at is a statement that fails unless the fence is at the epoch.
func at(epoch int64) string { return fmt.Sprintf("select migrate.at(%d);", epoch) }

// quietly is the statement by which the person's triggers and foreign keys sleep in
// a transaction.
const quietly = "set local session_replication_role to replica;"

// maySleepSQL reports whether the role may set session_replication_role: a
// superuser, or, from version 15 on, whom a superuser has granted that.
const maySleepSQL = `select case when (select rolsuper from pg_roles where rolname = current_user) then true
	when current_setting('server_version_num')::int >= 150000 then has_parameter_privilege('session_replication_role', 'SET') else false end`

// PutTogether is PutIfNewer of records that a rule has refused one by one: rows
// that stay are taken out, then put in, with what their other columns held.
func (o *Old) PutTogether(ctx context.Context, epoch int64, recs ...Record) error {
	quiet, err := o.mayBeQuiet(ctx)
	if err != nil {
		return err
	}
	return o.mayAskAgain(o.write(ctx, "replicate together", func(ctx context.Context, t tx) error {
		if err := t.script(ctx, quiet+at(epoch)); err != nil {
			return err
		}
		return o.putTogether(ctx, t, epoch, recs)
	}))
}

// List returns up to limit records that match and whose id is greater than after,
// in the order of ids.
func (o *Old) List(ctx context.Context, filter record.Filter, after record.ID, limit int) (Page, store.Fence, error) {
	tables := o.tables
	if name := filter.Collection(); name != "" {
		of, err := o.table(record.Start(name))
		if err != nil {
			return Page{}, store.Fence{}, o.meaning(ctx, "list", err)
		}
		tables = []*table{of}
	}
	return o.pageUnder(ctx, "list", tables, after, limit, listed(filter), true)
}

// Scan returns up to limit records, tombstones too, with an id greater than after,
// in the order of ids.
func (o *Old) Scan(ctx context.Context, after record.ID, limit int) (Page, store.Fence, error) {
	return o.pageUnder(ctx, "scan", o.tables, after, limit, scanned, false)
}

// Pending returns up to limit records with Pending set and an id greater than
// after, in the order of ids.
func (o *Old) Pending(ctx context.Context, after record.ID, limit int) (Page, store.Fence, error) {
	return o.pageUnder(ctx, "read pending", o.tables, after, limit, pending, false)
}

func (o *Old) pageUnder(ctx context.Context, op string, tables []*table, after record.ID, limit int, from source, fit bool) (Page, store.Fence, error) {
	before := o.seen.Load()
	page, f, err := o.page(ctx, op, tables, after, limit, from, fit, func(ctx context.Context, t tx, f fence) error { return o.known(ctx, t, before, f) })
	if err != nil {
		return Page{}, store.Fence{}, err
	}
	return page, f.Fence, nil
}

// CountPending returns how many records have Pending set.
func (o *Old) CountPending(ctx context.Context) (int64, error) {
	return o.count(ctx, "count pending", countPending)
}

// Count returns about how many records there are, tombstones included.
func (o *Old) Count(ctx context.Context) (int64, error) { return o.count(ctx, "count", countRecords) }

// ClearPending unsets pending on each copy that is still the stored one, under any
// fence.
func (o *Old) ClearPending(ctx context.Context, marks ...store.Mark) error {
	return o.clearPending(ctx, marks)
}

// Isolate marks a record that the new database can't hold as unfit, if mark is
// still the stored copy and the fence is at epoch; else store.ErrConflict.
func (o *Old) Isolate(ctx context.Context, epoch int64, mark store.Mark, reason string) error {
	return o.write(ctx, "isolate "+mark.ID.String()+" of "+mark.ID.Collection(), func(ctx context.Context, t tx) error {
		of, err := o.table(mark.ID)
		if err != nil {
			return err
		}
		key, err := of.keyOf(mark.ID)
		if err != nil {
			return err
		}
		err = t.script(ctx, at(epoch))
		if code(err) == codeEpoch {
			return fmt.Errorf("%w: %w", store.ErrConflict, err)
		}
		if err != nil {
			return err
		}
		return o.isolate(ctx, t, of, key, mark.Pair, reason)
	})
}

func (o *Old) isolate(ctx context.Context, t tx, of *table, key []any, held store.Pair, reason string) error {
	n := len(key)
	if _, err := t.exec(ctx, `select from `+of.name+` t where (`+of.ids("t.")+`) = (`+of.given(1)+`) for update`, key...); err != nil {
		return err
	}
	if held == untouched {
		_, err := t.exec(ctx, `insert into `+of.companion+`(`+of.ks("")+`, rev, epoch, deleted) select `+of.ids("t.")+`, 1, 0, false from `+of.name+
			` t where (`+of.ids("t.")+`) = (`+of.given(1)+`) on conflict do nothing`, key...)
		if err != nil {
			return err
		}
	}
	marked, err := t.exec(ctx, fmt.Sprintf(`update %s m set unfit = $%d::text where (%s) = (%s) and m.rev = $%d::bigint and m.epoch = $%d::bigint and not m.deleted`,
		of.companion, n+1, of.ks("m."), of.given(1), n+2, n+3), append(key[:n:n], reason, held.Rev, held.Epoch)...)
	if err != nil {
		return err
	}
	if marked == 0 {
		return fmt.Errorf("%w: it is not at %v", store.ErrConflict, held)
	}
	_, err = t.exec(ctx, `delete from `+of.outbox+` o where (`+of.ks("o.")+`) = (`+of.given(1)+`)`, key...)
	return err
}

// untouched is the pair of a row that has no companion.
var untouched = store.Pair{Rev: 1}
