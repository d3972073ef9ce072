package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	codes "modernc.org/sqlite/lib"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// untouched is the pair of a row that has no companion.
var untouched = store.Pair{Rev: 1}

// Get returns the records that exist, tombstones too, by id.
func (s *Store) Get(ctx context.Context, ids ...record.ID) (map[record.ID]Record, store.Fence, error) {
	var (
		found map[record.ID]Record
		fence store.Fence
	)
	err := s.read(ctx, "get", func(ctx context.Context, c *conn, f store.Fence) error {
		found, fence = make(map[record.ID]Record, len(ids)), f
		for _, id := range ids {
			r, ok, err := s.get(ctx, c, id)
			if err != nil {
				return err
			}
			if ok {
				found[id] = r
			}
		}
		return nil
	})
	if err != nil {
		return nil, store.Fence{}, err
	}
	return found, fence, nil
}

// get reads a record: its row, or else its companion.
func (s *Store) get(ctx context.Context, c *conn, id record.ID) (Record, bool, error) {
	t, err := s.table(id)
	if err != nil {
		return Record{}, false, err
	}
	key, err := t.keyOf(id)
	if err != nil {
		return Record{}, false, err
	}
	r := t.reader(id)
	for _, query := range []string{t.sql.get, t.sql.gone} {
		q, err := c.prepared(ctx, query)
		if err != nil {
			return Record{}, false, err
		}
		rec, err := r.read(q.QueryRowContext(ctx, key...))
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		return rec, err == nil, err
	}
	return Record{}, false, nil
}

// CompareAndSwap commits rec, as it is, if the stored pair is expect and the
// fence is at epoch. A record that would be stored otherwise than it was sent is
// unfit, so what is answered is what is stored.
func (s *Store) CompareAndSwap(ctx context.Context, epoch int64, rec Record, expect store.Pair) error {
	return s.writeAt(ctx, "commit "+rec.ID.String()+" of "+rec.ID.Collection(), epoch, func(ctx context.Context, c *conn, _ store.Fence) error {
		w, err := s.writing(rec)
		if err != nil {
			return err
		}
		ok, err := w.swap(ctx, c, expect)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("%w: it is not at %v", store.ErrConflict, expect)
		}
		w.absent = expect == (store.Pair{})
		return w.row(ctx, c)
	})
}

// PutIfNewer applies, all or none, each record that is newer than the stored
// one, with pending unset, if the fence is at epoch.
func (s *Store) PutIfNewer(ctx context.Context, epoch int64, recs ...Record) error {
	return s.writeAt(ctx, "replicate", epoch, func(ctx context.Context, c *conn, _ store.Fence) error {
		for _, rec := range recs {
			w, err := s.writing(rec)
			if err == nil {
				err = w.putIfNewer(ctx, c)
			}
			if err != nil {
				return refusal(rec.ID, err)
			}
		}
		return nil
	})
}

// refusal names the record that an error is about, and a rule of the table.
func refusal(id record.ID, err error) error {
	if code(err)&0xff == codes.SQLITE_CONSTRAINT {
		err = fmt.Errorf("%w: %w", store.ErrRule, err)
	}
	err = fmt.Errorf("record %q of %s: %w", id.String(), id.Collection(), err)
	if errors.Is(err, store.ErrRule) || errors.Is(err, store.ErrUnfit) {
		return &store.Refusal{ID: id, Err: err}
	}
	return err
}

// writing is a record on its way into its table.
type writing struct {
	*table
	Record
	id   []any // what the columns of the id hold
	body []any // what those of the body hold

	absent bool // no row is there, as was just seen
}

func (s *Store) writing(rec Record) (writing, error) {
	t, err := s.table(rec.ID)
	if err != nil {
		return writing{}, err
	}
	w := writing{table: t, Record: rec}
	if w.id, err = t.keyOf(rec.ID); err != nil {
		return w, err
	}
	for n, v := range w.id {
		if _, reason := t.key[n].decode(v); reason != "" {
			return w, fmt.Errorf("%w: %s", store.ErrUnfit, reason)
		}
	}
	if rec.Deleted {
		return w, nil
	}
	values := rec.Body.Values()
	if len(values) != len(t.body) {
		return w, fmt.Errorf("%w: a body of %s has %d fields, not %d", store.ErrUnfit, t.Name, len(t.body), len(values))
	}
	w.body = make([]any, len(values), len(values)+len(w.id))
	for n, v := range values {
		if w.body[n], err = t.body[n].encode(v); err != nil {
			return w, err
		}
	}
	return w, nil
}

// with returns the arguments, and then those of the id.
func (w writing) with(args ...any) []any { return append(args, w.id...) }

// swap makes the companion what the record says if its pair is expect.
func (w writing) swap(ctx context.Context, c *conn, expect store.Pair) (bool, error) {
	args := w.with(w.Rev, w.Epoch, w.Pending, w.Deleted, request(w.Record))
	if expect != (store.Pair{}) {
		n, err := c.exec(ctx, w.sql.swap, append(args, expect.Rev, expect.Epoch)...)
		if err != nil || n > 0 || expect != untouched {
			return n > 0, err
		}
	}
	n, err := c.exec(ctx, w.sql.create, append(append(args, w.id...), expect == untouched)...)
	return n > 0, err
}

func (w writing) putIfNewer(ctx context.Context, c *conn) error {
	ok, err := w.put(ctx, c)
	if err != nil || !ok {
		return err
	}
	return w.row(ctx, c)
}

// put makes the companion what the record says if that is newer.
func (w writing) put(ctx context.Context, c *conn) (bool, error) {
	if !w.Newer(untouched) { // or it would take the place of a row that counts as that
		if _, err := c.exec(ctx, w.sql.adoptRow, w.id...); err != nil {
			return false, err
		}
	}
	n, err := c.exec(ctx, w.sql.put, w.with(w.Rev, w.Epoch, w.Deleted, request(w.Record))...)
	return n > 0, err
}

// row makes the original's row what the record says, with the triggers standing
// aside, and looks that it is. Columns that aren't declared keep what they hold.
func (w writing) row(ctx context.Context, c *conn) error {
	if _, err := c.exec(ctx, w.sql.guard, w.id...); err != nil {
		return err
	}
	if err := w.change(ctx, c); err != nil {
		return err
	}
	if err := w.check(ctx, c); err != nil {
		return err
	}
	_, err := c.exec(ctx, w.sql.unguard, w.id...)
	return err
}

func (w writing) change(ctx context.Context, c *conn) error {
	if w.Deleted {
		_, err := c.exec(ctx, w.sql.delete, w.id...)
		return err
	}
	if w.absent {
		_, err := c.exec(ctx, w.sql.insert, slices.Concat(w.id, w.body)...)
		return err
	}
	if w.sql.update != "" {
		if n, err := c.exec(ctx, w.sql.update, w.with(w.body...)...); err != nil || n > 0 {
			return err
		}
	} else if there := 0; true {
		if err := c.value(ctx, w.sql.exists, &there, w.id...); err != nil || there != 0 {
			return err
		}
	}
	_, err := c.exec(ctx, w.sql.insert, slices.Concat(w.id, w.body)...)
	return err
}

// check reads what is stored: the column's type, or a trigger of the table's
// own, may have made something else of it.
func (w writing) check(ctx context.Context, c *conn) error {
	q, err := c.prepared(ctx, w.sql.stored)
	if err != nil {
		return err
	}
	stored := make([]any, len(w.table.body))
	there := 0
	into := make([]any, 0, 1+len(stored))
	into = append(into, &there)
	for n := range stored {
		into = append(into, &stored[n])
	}
	err = q.QueryRowContext(ctx, w.id...).Scan(into...)
	switch {
	case errors.Is(err, sql.ErrNoRows) && w.Deleted:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("%w: a trigger of the table %s keeps the row out", store.ErrRule, w.Table)
	case err != nil:
		return err
	case w.Deleted:
		return fmt.Errorf("%w: a trigger of the table %s keeps the row", store.ErrRule, w.Table)
	}
	body, reason := w.bodyOf(stored)
	if reason == "" && body == w.Record.Body {
		return nil
	}
	return fmt.Errorf("%w: it would be stored otherwise than it was sent: %s", store.ErrUnfit, first(reason, w.altered(body)))
}

// altered names the first field that is stored otherwise.
func (w writing) altered(stored record.Body) string {
	sent := w.Record.Body.Values()
	for n, v := range stored.Values() {
		if !v.Equal(sent[n]) {
			return fmt.Sprintf("%s %.60q as %.60q", w.table.body[n].Name, sent[n], v)
		}
	}
	return "its body"
}

func request(rec Record) sql.NullString {
	return sql.NullString{String: rec.Request, Valid: rec.Request != ""}
}

// ClearPending unsets pending on each copy that is still the stored one, under
// any fence.
func (s *Store) ClearPending(ctx context.Context, marks ...store.Mark) error {
	return s.write(ctx, "clear pending", func(ctx context.Context, c *conn, _ store.Fence) error {
		for _, m := range marks {
			t, err := s.table(m.ID)
			if err != nil {
				return err
			}
			key, err := t.keyOf(m.ID)
			if err != nil {
				return err
			}
			if _, err := c.exec(ctx, t.sql.clear, append(key, m.Rev, m.Epoch)...); err != nil {
				return err
			}
		}
		return nil
	})
}
