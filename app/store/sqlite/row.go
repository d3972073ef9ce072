package sqlite

import (
	"context"
	"fmt"
	"unicode/utf8"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// Record is one copy of a record.
type Record = store.Record

// Page is a page of records.
type Page = store.Page

// reader takes records from rows that begin with [meta].
type reader struct {
	t      *table
	id     record.ID // that of every row; zero: the id's columns come next
	meta   []any     // into any, which database/sql fills without reflection
	values []any
	into   []any
	known  []record.Equals // these fields of the body aren't in the rows
}

func (t *table) reader(id record.ID, known ...record.Equals) *reader {
	n := 0
	if id.IsZero() {
		n += len(t.key)
	}
	for _, f := range t.body {
		if _, ok := value(known, f.Name); !ok {
			n++
		}
	}
	const own = 6 // columns of meta
	columns := make([]any, own+n)
	r := &reader{t: t, id: id, meta: columns[:own], values: columns[own:], into: make([]any, own+n), known: known}
	for i := range columns {
		r.into[i] = &columns[i]
	}
	return r
}

// about takes what [meta] reads.
func (r *reader) about() (rec Record, err error) {
	var numbers [4]int64
	for i := range numbers {
		n, ok := r.meta[i].(int64)
		if !ok {
			return rec, fmt.Errorf("%w: column %d of the companion of %s holds %s", store.ErrUnavailable, i+1, r.t.Name, class(r.meta[i]))
		}
		numbers[i] = n
	}
	rec.Rev, rec.Epoch, rec.Pending, rec.Deleted = numbers[0], numbers[1], numbers[2] != 0, numbers[3] != 0
	rec.Request, _ = r.meta[4].(string) // NULL is none
	rec.Unfit, _ = r.meta[5].(string)
	return rec, nil
}

type scanner interface{ Scan(...any) error }

func (r *reader) read(row scanner) (Record, error) {
	if err := row.Scan(r.into...); err != nil {
		return Record{}, err
	}
	rec, err := r.about()
	if err != nil {
		return Record{}, err
	}
	values := r.values
	rec.ID = r.id
	if r.id.IsZero() {
		id, reason, err := r.t.idOf(values[:len(r.t.key)])
		if err != nil {
			return rec, err
		}
		values = values[len(r.t.key):]
		rec.ID = id
		rec.Unfit = first(rec.Unfit, reason)
	}
	if rec.Deleted {
		return rec, nil
	}
	body, reason := r.t.bodyOf(values, r.known...)
	rec.Body, rec.Unfit = body, first(rec.Unfit, reason)
	return rec, nil
}

func first(reasons ...string) string {
	for _, r := range reasons {
		if r != "" {
			return r
		}
	}
	return ""
}

// idOf returns the id that these columns hold, which fit, and a reason if the
// new database can't have it.
func (t *table) idOf(stored []any) (id record.ID, reason string, err error) {
	var some [4]record.Value
	values := some[:0]
	for n, v := range stored {
		text, ok := v.(string)
		if ok && t.key[n].Type == record.Text {
			if !utf8.ValidString(text) {
				reason = t.key[n].Name + " is not valid UTF-8"
			}
			values = append(values, record.UncheckedText(text))
			continue
		}
		value, why := t.key[n].decode(v)
		if why != "" {
			return "", why, t.key[n].unfit(why)
		}
		values = append(values, value)
	}
	id, err = record.NewID(t.Name, values...)
	return id, reason, err
}

// bodyOf returns the body that these columns hold, or why they hold none.
func (t *table) bodyOf(stored []any, known ...record.Equals) (body record.Body, reason string) {
	var some [8]record.Value
	values := some[:0]
	for _, f := range t.body {
		v, ok := value(known, f.Name)
		if !ok {
			if v, reason = f.decode(stored[0]); reason != "" {
				return "", reason
			}
			stored = stored[1:]
		}
		values = append(values, v)
	}
	return record.NewBody(values...), ""
}

// records takes up to limit records, and fewer if they are large: then there
// are more.
func (r *reader) records(ctx context.Context, c *conn, limit int, query string, args ...any) (records []Record, more bool, err error) {
	rows, err := c.query(ctx, query, args...)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	records = make([]Record, 0, min(limit, usual))
	for size := 0; rows.Next(); {
		if size > most || len(records) == limit {
			return records, true, nil
		}
		rec, err := r.read(rows)
		if err != nil {
			return nil, false, err
		}
		size += len(rec.Body)
		records = append(records, rec)
	}
	return records, false, rows.Err()
}

// usual is for how many records a page is given room before they are read.
const usual = 128

// most is how many bytes of bodies a page has before it ends.
const most = 16 << 20
