package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// mostBytes is how many bytes of bodies a page has before it ends.
const mostBytes = 16 << 20

// meta reads the protocol's fields of a row m of the companion: those of (1,0) if
// there is none.
func (t *table) meta() string {
	return `coalesce(m.rev, ` + t.untouched() + `), coalesce(m.epoch, 0), coalesce(m.deleted, false), ` + t.isPending() + `, coalesce(m.request, ''), coalesce(m.unfit, '')`
}

func (t *table) isPending() string {
	return `exists(select from ` + t.outbox + ` o where (` + t.ks("o.") + `) = (` + t.ks("m.") + `))`
}

// limit is the parameter behind those of a position.
func (at position) limit() string { return fmt.Sprintf(" limit $%d::bigint", len(at.args)+1) }

// nulls stand for the body of a tombstone.
func (t *table) nulls() string { return list(len(t.body), "", func(int) string { return ", null" }) }

// scanSQL selects rows and tombstones, which are never both under one id. Its
// parameters are a position and a limit.
func (t *table) scanSQL(at position) string {
	limit := at.limit()
	order := ` order by ` + list(len(t.key), ", ", func(n int) string { return fmt.Sprint(n) })
	ids := t.keys(", ", func(k string, f field) string { return f.ordered("t."+f.column()) + " as " + k })
	return `(select ` + ids + `, ` + t.meta() + t.bodies() + ` from ` + t.joined() +
		` where ` + t.behind("t.", at) + ` and not coalesce(m.deleted, false)` + order + limit +
		`) union all (select ` + t.ks("m.") + `, m.rev, m.epoch, true, ` + t.isPending() + `, coalesce(m.request, ''), coalesce(m.unfit, '')` + t.nulls() +
		` from ` + t.companion + ` m where m.deleted and ` + t.behindK("m.", at) + order + limit + `)` + order + limit
}

// joined is the table with its companions.
func (t *table) joined() string {
	return t.name + ` t left join ` + t.companion + ` m on ` + t.same("t.", "m.")
}

// pendingSQL selects what is in the outbox. A row that was removed unseen reads as
// deleted, as it does for the person's program.
func (t *table) pendingSQL(at position) string {
	order := ` order by ` + list(len(t.key), ", ", func(n int) string { return fmt.Sprint(n) })
	return `select ` + t.ks("m.") + `, m.rev, m.epoch, m.deleted or t.` + t.key[0].column() + ` is null, true, coalesce(m.request, ''), coalesce(m.unfit, '')` + t.bodies() +
		` from (select distinct ` + t.ks("o.") + ` from ` + t.outbox + ` o where ` + t.behindK("o.", at) + order +
		at.limit() + `) p join ` + t.companion + ` m on (` + t.ks("m.") + `) = (` + t.ks("p.") + `) left join ` +
		t.name + ` t on ` + t.same("t.", "m.") + order
}

// getSQL selects the records whose ids are passed, an array of texts for each
// column of the id.
func (t *table) getSQL() string {
	arrays := list(len(t.key), ", ", func(n int) string { return fmt.Sprintf("$%d::text[]", n) })
	ks := list(len(t.key), ", ", func(n int) string { return fmt.Sprintf("k%d", n) })
	typed := t.keys(", ", func(k string, f field) string {
		if f.Type == record.Text {
			return f.ordered("g."+k) + " as " + k
		}
		return "g." + k + "::" + f.own() + " as " + k
	})
	return `select ` + t.ks("a.") + `, coalesce(m.rev, ` + t.untouched() + `), coalesce(m.epoch, 0), coalesce(m.deleted, false) or t.` + t.key[0].column() + ` is null, ` +
		t.isPending() + `, coalesce(m.request, ''), coalesce(m.unfit, '')` + t.bodies() +
		` from (select ` + typed + ` from unnest(` + arrays + `) g(` + ks + `)) a left join ` + t.name + ` t on ` + t.same("t.", "a.") +
		` left join ` + t.companion + ` m on (` + t.ks("m.") + `) = (` + t.ks("a.") + `) where m.rev is not null or t.` + t.key[0].column() + ` is not null`
}

// untouched is the rev of a row without a companion: 1 where other programs write
// rows; 0, which no record has, where only a stranger can have done it.
func (t *table) untouched() string {
	if t.key[0].role.foreign {
		return "1"
	}
	return "0"
}

// listSQL selects what [record.Filter.Match] selects of the rows.
func (t *table) listSQL(filter record.Filter, at position) (string, []any) {
	var (
		conditions string
		args       []any
		n          = len(at.args) + 2
	)
	for _, e := range filter.Equals() {
		f, _ := t.Field(e.Field) // the filter has been checked
		condition, text := field{f, t.key[0].role}.is("t.", e.Value, n)
		conditions += " and " + condition
		if text != nil {
			args = append(args, *text)
			n++
		}
	}
	ids := t.keys(", ", func(k string, f field) string { return f.ordered("t."+f.column()) + " as " + k })
	return `select ` + ids + `, ` + t.meta() + t.bodies() + ` from ` + t.joined() + ` where ` + t.behind("t.", at) +
		` and not coalesce(m.deleted, false)` + conditions + ` order by ` + t.ids("t.") + at.limit(), args
}

// fence is the fence with which a read was made, if it is of an old database.
type fence struct {
	store.Fence
	format int64
	digest string
}

// reader takes records from rows: those of an old database begin with the fence.
type reader struct {
	*table
	base  *base
	most  int // it stops when the bodies have so many bytes; 0: never
	fence fence
}

// records runs a query of this table and returns its records; more reports that it
// stopped before the last row, since they are large.
func (r *reader) records(ctx context.Context, t tx, query string, args ...any) (records []Record, more bool, err error) {
	columns := list(len(r.key), ", ", func(n int) string { return fmt.Sprintf("c%d::text", n) }) +
		list(6+len(r.body), "", func(n int) string { return fmt.Sprintf(", c%d", len(r.key)+n) })
	names := list(len(r.key)+6+len(r.body), ", ", func(n int) string { return fmt.Sprintf("c%d", n) })
	if r.base.foreign {
		query = `select ` + fenceColumns + `, q.c1 is not null, ` + columns + ` from ` + r.base.schema + `.fence f left join lateral (` + query + `) q(` + names + `) on true where f.one = 1`
	} else {
		query = `select true, ` + columns + ` from (` + query + `) q(` + names + `)`
	}
	rows, err := t.Query(ctx, query, args...)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	size, any := 0, false
	for rows.Next() {
		any = true
		rec, found, err := r.read(rows)
		if err != nil {
			return nil, false, err
		}
		if !found {
			continue
		}
		if r.most > 0 && size > r.most {
			more = true
			break
		}
		size += len(rec.Body)
		records = append(records, rec)
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return nil, false, err
	}
	if r.base.foreign && !any {
		return nil, false, fmt.Errorf("%w: the fence is empty", store.ErrStranger)
	}
	slices.SortFunc(records, byID)
	return records, more, nil
}

const fenceColumns = `f.format, f.digest, f.migration, f.epoch, f.prim, f.state, coalesce(f.token, ''), f.deadline`

// columns are where the fence is scanned into.
func (f *fence) columns(state *string, deadline **int64) []any {
	return []any{&f.format, &f.digest, &f.Migration, &f.Epoch, &f.Primary, state, &f.Token, deadline}
}

func (f *fence) set(state string, deadline *int64) {
	f.Closing = state == closing
	if deadline != nil {
		f.Deadline = time.UnixMilli(*deadline)
	}
}

func (r *reader) read(rows pgx.Rows) (rec Record, found bool, err error) {
	var (
		into       []any
		state      string
		deadline   *int64
		rev, epoch *int64
		deleted    *bool
		pending    *bool
		request    *string
		unfit      *string
		texts      = make([]*string, len(r.key)+len(r.body))
	)
	if r.base.foreign {
		into = r.fence.columns(&state, &deadline)
	}
	into = append(into, &found)
	for n := range r.key {
		into = append(into, &texts[n])
	}
	into = append(into, &rev, &epoch, &deleted, &pending, &request, &unfit)
	for n := range r.body {
		into = append(into, &texts[len(r.key)+n])
	}
	if err := rows.Scan(into...); err != nil {
		return rec, false, err
	}
	r.fence.set(state, deadline)
	if !found {
		return rec, false, nil
	}
	if rec.ID, err = r.idOf(texts[:len(r.key)]); err != nil {
		return rec, false, err
	}
	rec.Pair = store.Pair{Rev: *rev, Epoch: *epoch}
	rec.Deleted, rec.Pending, rec.Request, rec.Unfit = *deleted, *pending, *request, *unfit
	if rec.Deleted {
		return rec, true, nil
	}
	body, reason := r.bodyOf(texts[len(r.key):])
	rec.Body = body
	if rec.Unfit == "" {
		rec.Unfit = reason
	}
	return rec, true, nil
}

// source is where a page of one collection comes from: a query, and its arguments
// behind position and limit.
type source func(t *table, at position) (string, []any)

func scanned(t *table, at position) (string, []any) { return t.scanSQL(at), nil }
func pending(t *table, at position) (string, []any) { return t.pendingSQL(at), nil }
func listed(filter record.Filter) source {
	return func(t *table, at position) (string, []any) { return t.listSQL(filter, at) }
}

// errMoved: the fence has moved between two statements of one read.
var errMoved = errors.New("the fence moved during the read")

// page reads a page of the tables, one behind the other. A page of fit records
// leaves out those of the quarantine. Where there is a fence, under looks at it.
func (b *base) page(ctx context.Context, op string, tables []*table, after record.ID, limit int, from source, fit bool, under func(context.Context, tx, fence) error) (page Page, found fence, err error) {
	for {
		err = b.read(ctx, op, func(ctx context.Context, t tx) error {
			page, found = Page{}, fence{}
			p := pager{base: b, left: max(limit, 1), from: from, fit: fit, page: &page, fence: &found}
			more := false
			for _, of := range tables {
				if after >= of.end {
					continue
				}
				if more, err = p.fill(ctx, t, of, after); err != nil {
					return err
				}
				if more {
					break
				}
			}
			page.End = !more
			if under == nil {
				return nil
			}
			if found.Migration == "" { // no table was read
				if found, err = b.readFence(ctx, t); err != nil {
					return err
				}
			}
			return under(ctx, t, found)
		})
		if !errors.Is(err, errMoved) {
			return page, found, err
		}
	}
}

// pager fills one page.
type pager struct {
	base  *base
	left  int
	from  source
	fit   bool
	page  *Page
	fence *fence
}

// fill adds the records of one table. It reports whether there may be more.
func (p *pager) fill(ctx context.Context, t tx, of *table, after record.ID) (more bool, err error) {
	if err := t.script(ctx, `lock table `+of.name+` in access share mode`); err != nil {
		return false, err
	}
	for {
		at, err := of.position(after)
		if err != nil {
			return false, err
		}
		query, args := p.from(of, at)
		r := reader{table: of, base: p.base, most: mostBytes}
		found, more, err := r.records(ctx, t, query, append(append(at.args, p.left), args...)...)
		if err != nil {
			return false, err
		}
		if err := p.under(r.fence); err != nil {
			return false, err
		}
		more = more || len(found) == p.left
		for _, rec := range found {
			after = rec.ID
			if p.fit && rec.Unfit != "" {
				continue
			}
			p.page.Records = append(p.page.Records, rec)
			p.left--
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

// under notes the fence with which a statement was answered: one page has one.
func (p *pager) under(f fence) error {
	switch {
	case !p.base.foreign:
		return nil
	case p.fence.Migration == "":
		*p.fence = f
	case p.fence.Epoch != f.Epoch || p.fence.Closing != f.Closing:
		return errMoved
	}
	return nil
}

// get returns the records that exist, tombstones too, by id.
func (b *base) get(ctx context.Context, t tx, ids []record.ID) (found map[record.ID]Record, under fence, err error) {
	found = make(map[record.ID]Record, len(ids))
	columns := map[*table][][]string{}
	for _, id := range ids {
		of, err := b.table(id)
		if err != nil {
			return nil, fence{}, err
		}
		key, err := of.keyTexts(id)
		if errors.Is(err, store.ErrUnfit) {
			continue // what can't be stored is not there
		}
		if err != nil {
			return nil, fence{}, err
		}
		if columns[of] == nil {
			columns[of] = make([][]string, len(key))
		}
		for n, text := range key {
			columns[of][n] = append(columns[of][n], text)
		}
	}
	for _, of := range b.tables {
		if columns[of] == nil {
			continue
		}
		args := make([]any, len(of.key))
		for n := range args {
			args[n] = columns[of][n]
		}
		r := reader{table: of, base: b}
		records, _, err := r.records(ctx, t, of.getSQL(), args...)
		switch {
		case err != nil:
			return nil, fence{}, err
		case under.Migration != "" && under.Epoch != r.fence.Epoch:
			return nil, fence{}, errMoved
		}
		under = r.fence
		for _, rec := range records {
			found[rec.ID] = rec
		}
	}
	return found, under, nil
}

// count adds what a query says of each table.
func (b *base) count(ctx context.Context, op string, query func(*table) string) (total int64, err error) {
	err = b.read(ctx, op, func(ctx context.Context, t tx) error {
		total = 0
		for _, of := range b.tables {
			var n int64
			if err := t.QueryRow(ctx, query(of)).Scan(&n); err != nil {
				return err
			}
			total += n
		}
		return nil
	})
	return total, err
}

func countPending(t *table) string {
	return `select count(*) from (select distinct ` + t.ks("o.") + ` from ` + t.outbox + ` o) p`
}

// many is from how many rows on an estimate is better than a count that takes long.
const many = 100_000

// countRecords is about how many records there are, tombstones included.
func countRecords(t *table) string {
	rows := func(name string) string {
		estimate := `(select reltuples::bigint from pg_class where oid = ` + literal(name) + `::regclass)`
		return fmt.Sprintf(`case when %s > %d then %[1]s else (select count(*) from %[3]s) end`, estimate, many, name)
	}
	return `select greatest(` + rows(t.name) + `, ` + rows(t.companion) + `)`
}
