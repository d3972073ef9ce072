package sqlite

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// source is where a page of one collection comes from: a query, and those of its
// arguments that come behind the position and before the limit, and behind both.
type source func(t *table, start bool) (query string, args func(from []any, limit int) []any)

// plainly are the arguments of a query with a position and a limit.
func plainly(from []any, limit int) []any { return append(from, limit) }

// Scan returns up to limit records, tombstones too, with an id greater than
// after, in order of ids.
func (s *Store) Scan(ctx context.Context, after record.ID, limit int) (Page, store.Fence, error) {
	return s.page(ctx, "scan", s.tables, after, limit, func(t *table, start bool) (string, func([]any, int) []any) {
		query := t.sql.scan
		if start {
			query = t.sql.scanStart
		}
		return query, func(from []any, limit int) []any { return append(append(from, from...), limit) }
	}, false)
}

// Pending returns up to limit records with Pending set and an id greater than
// after, in order of ids.
func (s *Store) Pending(ctx context.Context, after record.ID, limit int) (Page, store.Fence, error) {
	return s.page(ctx, "read pending", s.tables, after, limit, func(t *table, start bool) (string, func([]any, int) []any) {
		if start {
			return t.sql.pendStart, plainly
		}
		return t.sql.pending, plainly
	}, false)
}

// List returns up to limit records that match and whose id is greater than
// after, in the order of ids. A page for which the table has an index on the
// fields and the id reads no more than it returns.
func (s *Store) List(ctx context.Context, filter record.Filter, after record.ID, limit int) (Page, store.Fence, error) {
	tables := s.tables
	if name := filter.Collection(); name != "" {
		t, err := s.table(record.Start(name))
		if err != nil {
			return Page{}, store.Fence{}, meaning(ctx, "list", err)
		}
		tables = []*table{t}
	}
	return s.page(ctx, "list", tables, after, limit, func(t *table, start bool) (string, func([]any, int) []any) {
		return t.listSQL(filter, start)
	}, true, filter.Equals()...)
}

// page reads a page of the tables, one behind the other. A page of fit records
// leaves out those of the quarantine. What is known of each isn't read.
func (s *Store) page(ctx context.Context, op string, tables []*table, after record.ID, limit int, from source, fit bool, known ...record.Equals) (Page, store.Fence, error) {
	var (
		page  Page
		fence store.Fence
	)
	err := s.read(ctx, op, func(ctx context.Context, c *conn, f store.Fence) error {
		page, fence = Page{}, f
		p := pager{left: max(limit, 1), from: from, fit: fit, known: known, page: &page}
		for _, t := range tables {
			if after >= t.end {
				continue
			}
			more, err := p.fill(ctx, c, t, after)
			if err != nil || more {
				return err
			}
		}
		page.End = true
		return nil
	})
	if err != nil {
		return Page{}, store.Fence{}, err
	}
	return page, fence, nil
}

// pager fills one page.
type pager struct {
	left int
	from source
	fit  bool
	// known are values that every record has: they need not be read.
	known []record.Equals
	page  *Page
}

// fill adds the records of one table. It reports whether there may be more.
func (p *pager) fill(ctx context.Context, c *conn, t *table, after record.ID) (more bool, err error) {
	for {
		position, start, err := t.position(after)
		if err != nil {
			return false, err
		}
		query, args := p.from(t, start)
		found, more, err := t.reader("", p.known...).records(ctx, c, p.left, query, args(position, p.left)...)
		if err != nil {
			return false, err
		}
		more = more || len(found) == p.left
		if len(found) > 0 {
			after = found[len(found)-1].ID
		}
		if p.fit {
			found = slices.DeleteFunc(found, func(r Record) bool { return r.Unfit != "" })
		}
		p.left -= len(found)
		if len(p.page.Records) == 0 {
			p.page.Records = found
		} else {
			p.page.Records = append(p.page.Records, found...)
		}
		if !more {
			return false, nil
		}
		if len(p.page.Records) > 0 { // a page that is not the end holds at least one
			p.page.Next = after
			return true, nil
		}
	}
}

// position returns what the id's columns hold at a position, or the least that
// they can hold if the position is before them all.
func (t *table) position(after record.ID) (key []any, start bool, err error) {
	if after <= t.start {
		least := make([]record.Value, len(t.key))
		for n, f := range t.key {
			least[n] = f.least()
		}
		if after, err = record.NewID(t.Name, least...); err != nil {
			return nil, false, err
		}
		start = true
	}
	key, err = t.keyOf(after)
	return key, start, err
}

// listSQL selects what [record.Filter.Match] selects of the bodies that we read.
func (t *table) listSQL(filter record.Filter, start bool) (string, func([]any, int) []any) {
	branches := []condition{{}}
	for _, e := range filter.Equals() {
		var all []condition
		for _, b := range branches {
			for _, is := range t.is(e) {
				all = append(all, condition{b.sql + " AND " + is.sql, append(append([]any(nil), b.args...), is.args...)})
			}
		}
		branches = all
	}
	comparison := ">"
	if start {
		comparison = ">="
	}
	query, values := "", t.values(filter.Equals()...)
	for n, b := range branches {
		if n > 0 {
			query += " UNION ALL "
		}
		query += `SELECT ` + meta + `,` + t.ids() + values + ` FROM ` + t.joined() +
			` WHERE ` + t.behind(comparison) + ` AND ` + t.fits("t") + ` AND coalesce(m.deleted,0)=0` + b.sql
	}
	return query + t.order(), func(from []any, limit int) []any {
		var args []any
		for _, b := range branches {
			args = append(append(args, from...), b.args...)
		}
		return append(args, limit)
	}
}

// condition is one that rows must meet, with its arguments.
type condition struct {
	sql  string
	args []any
}

// is returns the conditions of which a row meets exactly one if the field holds
// the value: a value that is read loosely may be stored in several ways.
func (t *table) is(e record.Equals) []condition {
	f := t.fieldOf(e.Field)
	column := "t." + f.column()
	switch {
	case e.Value.IsNull():
		return []condition{{column + " IS NULL", nil}}
	case f.Loose && f.Type == record.Bool && e.Value.Bool():
		return []condition{{"NOT coalesce(" + column + "=0,0)", nil}}
	case f.Loose && f.Type == record.Bool:
		return []condition{{column + "=0", nil}}
	case f.Loose:
		text := e.Value.String()
		if !utf8.ValidString(text) {
			return []condition{{"0", nil}} // what has it is in quarantine
		}
		// A text that is stored as a blob is another value to SQLite, but not to us.
		ways := []condition{{column + "=? COLLATE BINARY", []any{text}}, {column + "=CAST(? AS BLOB)", []any{text}}}
		if text == "" { // which is how a NULL is read
			ways = append(ways, condition{column + " IS NULL", nil})
		}
		return ways
	}
	stored, err := f.encode(e.Value)
	if err != nil {
		return []condition{{"0", nil}} // what can't be stored is not there
	}
	if word, ok := stored.(string); ok && f.Type == record.Bool {
		if n, err := strconv.ParseInt(word, 10, 64); err == nil { // a number that shows as the word is read as it, too
			return []condition{
				{column + "=? COLLATE BINARY AND typeof(" + column + ")='text'", []any{word}},
				{column + "=? AND typeof(" + column + ")='integer'", []any{n}},
			}
		}
	}
	return []condition{{column + "=? COLLATE BINARY", []any{stored}}}
}

func (t *table) fieldOf(name string) field {
	f, _ := t.Field(name) // the filter has been checked
	return field{f}
}

// CountPending returns how many records have Pending set.
func (s *Store) CountPending(ctx context.Context) (int64, error) {
	return s.count(ctx, "count pending", `SELECT count(*) FROM %[1]s WHERE pending=1`)
}

// Count returns about how many records there are, tombstones included.
func (s *Store) Count(ctx context.Context) (int64, error) {
	return s.count(ctx, "count", `SELECT max((SELECT count(*) FROM %[1]s), (SELECT count(*) FROM %[2]s))`)
}

// count adds what a query says of each table.
func (s *Store) count(ctx context.Context, op, query string) (int64, error) {
	var total int64
	err := s.read(ctx, op, func(ctx context.Context, c *conn, _ store.Fence) error {
		total = 0
		for _, t := range s.tables {
			var n int64
			if err := c.value(ctx, fmt.Sprintf(query, t.companion, t.name), &n); err != nil {
				return err
			}
			total += n
		}
		return nil
	})
	return total, err
}
