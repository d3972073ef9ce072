package storetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// alterValues is a store that keeps values other than it was given them.
func (a *altered) alterValues(change func(f record.Field, v record.Value) record.Value) {
	altered := func(r Record) Record {
		c, ok := Shop().Collection(r.ID.Collection())
		if !ok || r.Deleted {
			return r
		}
		values := r.Body.Values()
		for n, f := range c.Body() {
			values[n] = change(f, values[n])
		}
		r.Body = record.NewBody(values...)
		return r
	}
	a.swap = func(ctx context.Context, r Record, expect store.Pair) error {
		return a.New.CompareAndSwap(ctx, altered(r), expect)
	}
	a.put = func(ctx context.Context, r Record) error { return a.New.PutIfNewer(ctx, altered(r)) }
}

// alterIDs is a store that keeps records under other ids than they have, and so
// takes some for one.
func (a *altered) alterIDs(change func(id record.ID) record.ID) {
	there := func(r Record) Record { r.ID = change(r.ID); return r }
	a.swap = func(ctx context.Context, r Record, expect store.Pair) error {
		return a.New.CompareAndSwap(ctx, there(r), expect)
	}
	a.put = func(ctx context.Context, r Record) error { return a.New.PutIfNewer(ctx, there(r)) }
	a.get = func(ctx context.Context, ids ...record.ID) (map[record.ID]Record, error) {
		found := map[record.ID]Record{}
		for _, id := range ids {
			held, err := a.New.Get(ctx, change(id))
			if err != nil {
				return nil, err
			}
			if r, ok := held[change(id)]; ok {
				r.ID = id
				found[id] = r
			}
		}
		return found, nil
	}
}

// sortedBy is a store whose pages follow another order of ids.
func (a *altered) sortedBy(order func(x, y record.ID) int) {
	page := func(ctx context.Context, after record.ID, limit int, keep func(Record) bool) (Page, error) {
		all, err := a.New.Scan(ctx, "", 1<<20)
		recs := slices.DeleteFunc(all.Records, func(r Record) bool { return !keep(r) || after != "" && order(r.ID, after) <= 0 })
		slices.SortStableFunc(recs, func(x, y Record) int { return order(x.ID, y.ID) })
		limit = max(limit, 1)
		return store.PageOf(recs[:min(limit, len(recs))], limit), err
	}
	a.scan = func(ctx context.Context, after record.ID, limit int) (Page, error) {
		return page(ctx, after, limit, func(Record) bool { return true })
	}
	a.list = func(ctx context.Context, f record.Filter, after record.ID, limit int) (Page, error) {
		return page(ctx, after, limit, func(r Record) bool { return !r.Deleted && f.Match(r.ID, r.Body) })
	}
}

// listing is a store whose lists hold what this selects.
func (a *altered) listing(match func(f record.Filter, r Record) bool) {
	a.list = func(ctx context.Context, f record.Filter, after record.ID, limit int) (Page, error) {
		page, err := a.New.Scan(ctx, after, 1<<20)
		recs := slices.DeleteFunc(page.Records, func(r Record) bool { return r.Deleted || !match(f, r) })
		limit = max(limit, 1)
		return store.PageOf(recs[:min(limit, len(recs))], limit), err
	}
}

// texts makes a change to values of a type by their text.
func texts(typ record.Type, change func(string) string) func(record.Field, record.Value) record.Value {
	return func(f record.Field, v record.Value) record.Value {
		if v.IsNull() || f.Type != typ {
			return v
		}
		if changed, err := record.Parse(typ, change(v.String())); err == nil {
			return changed
		}
		return v
	}
}

// brokenShops are new databases that break a rule about ids, values or
// collections.
func brokenShops() map[string]func(*altered) {
	broken := map[string]func(*altered){
		"integer ids are ordered as texts": func(a *altered) {
			a.sortedBy(func(x, y record.ID) int {
				return cmp.Or(cmp.Compare(x.Collection(), y.Collection()), cmp.Compare(x.String(), y.String()))
			})
		},
		"integer ids are ordered without their sign": func(a *altered) {
			a.sortedBy(func(x, y record.ID) int {
				if xs, ys := x.Values(), y.Values(); len(xs) == 1 && len(ys) == 1 && x.Collection() == items && y.Collection() == items {
					return cmp.Compare(uint64(xs[0].Int64()), uint64(ys[0].Int64()))
				}
				return cmp.Compare(x, y)
			})
		},
		"composite ids are ordered without case": func(a *altered) {
			a.sortedBy(func(x, y record.ID) int {
				xs, ys := x.Values(), y.Values()
				if len(xs) == 2 && len(ys) == 2 {
					return cmp.Or(cmp.Compare(strings.ToLower(xs[0].String()), strings.ToLower(ys[0].String())), cmp.Compare(x, y))
				}
				return cmp.Compare(x, y)
			})
		},
		"composite ids are ordered by their last column": func(a *altered) {
			a.sortedBy(func(x, y record.ID) int {
				if xs, ys := x.Values(), y.Values(); len(xs) == 2 && len(ys) == 2 {
					return cmp.Or(cmp.Compare(xs[1].Int64(), ys[1].Int64()), cmp.Compare(x, y))
				}
				return cmp.Compare(x, y)
			})
		},
		"composite ids lose their last column": func(a *altered) {
			a.alterIDs(func(id record.ID) record.ID {
				if v := id.Values(); len(v) == 2 {
					return must(record.NewID(id.Collection(), v[0]))
				}
				return id
			})
		},
		"ids are numbers of their text": func(a *altered) {
			a.alterIDs(func(id record.ID) record.ID {
				if v := id.Values(); len(v) == 2 {
					return orderID(strings.TrimRight(strings.ToLower(v[0].String()), " "), v[1].Int64())
				}
				return id
			})
		},
		"a page ends where its collection does, and says that it is the end": func(a *altered) {
			a.page = func(p Page) Page {
				for n := 1; n < len(p.Records); n++ {
					if p.Records[n].ID.Collection() != p.Records[0].ID.Collection() {
						return Page{Records: p.Records[:n], End: true}
					}
				}
				return p
			}
		},
		"the first collection alone is scanned": func(a *altered) {
			a.scan = func(ctx context.Context, after record.ID, limit int) (Page, error) {
				page, err := a.New.Scan(ctx, after, limit)
				kept := slices.DeleteFunc(page.Records, func(r Record) bool { return r.ID.Collection() == orders })
				return Page{Records: kept, Next: page.Next, End: page.End || len(kept) < limit}, err
			}
		},
		"a list goes on in the next collection": func(a *altered) {
			a.listing(func(f record.Filter, r Record) bool { return len(f.Equals()) == 0 || f.Match(r.ID, r.Body) })
		},
		"of one batch the last collection is left out": func(a *altered) {
			a.put = func(ctx context.Context, r Record) error {
				if r.ID.Collection() == orders && r.Deleted {
					return ctx.Err()
				}
				return a.New.PutIfNewer(ctx, r)
			}
		},
		"the outbox of the first collection alone is cleared": func(a *altered) {
			a.clear = func(ctx context.Context, m store.Mark) error {
				if m.ID.Collection() == orders {
					return ctx.Err()
				}
				return a.New.ClearPending(ctx, m)
			}
		},
		"an emptied field comes back": func(a *altered) {
			merge := func(ctx context.Context, r Record) Record {
				before, now := a.held(ctx, r.ID).Body.Values(), r.Body.Values()
				for n := range min(len(before), len(now)) {
					if now[n].IsNull() {
						now[n] = before[n]
					}
				}
				if !r.Deleted {
					r.Body = record.NewBody(now...)
				}
				return r
			}
			a.swap = func(ctx context.Context, r Record, expect store.Pair) error {
				return a.New.CompareAndSwap(ctx, merge(ctx, r), expect)
			}
			a.put = func(ctx context.Context, r Record) error { return a.New.PutIfNewer(ctx, merge(ctx, r)) }
		},
		"NULL is the empty text": func(a *altered) {
			a.alterValues(func(f record.Field, v record.Value) record.Value {
				if v.IsNull() && f.Type == record.Text {
					return record.UncheckedText("")
				}
				return v
			})
		},
		"the empty text is NULL": func(a *altered) {
			a.alterValues(func(f record.Field, v record.Value) record.Value {
				if f.Type == record.Text && v.String() == "" {
					return record.Value{}
				}
				return v
			})
		},
		"false is NULL": func(a *altered) {
			a.alterValues(func(f record.Field, v record.Value) record.Value {
				if f.Type == record.Bool && !f.NotNull && !v.Bool() {
					return record.Value{}
				}
				return v
			})
		},
		"NULL equals nothing": func(a *altered) {
			a.listing(func(f record.Filter, r Record) bool {
				return !slices.ContainsFunc(f.Equals(), func(e record.Equals) bool { return e.Value.IsNull() }) && f.Match(r.ID, r.Body)
			})
		},
		"a filter by NULL is no filter": func(a *altered) {
			a.listing(func(f record.Filter, r Record) bool {
				c, ok := Shop().Collection(f.Collection())
				if !ok {
					return f.Match(r.ID, r.Body)
				}
				kept := slices.DeleteFunc(slices.Clone(f.Equals()), func(e record.Equals) bool { return e.Value.IsNull() })
				return must(c.Filter(kept...)).Match(r.ID, r.Body)
			})
		},
		"a refusal names no field": func(a *altered) {
			refused := func(r Record) error {
				if strings.Contains(string(r.Body), "NULL") {
					return fmt.Errorf("%w: this one", store.ErrUnfit)
				}
				return nil
			}
			a.swap = func(ctx context.Context, r Record, expect store.Pair) error {
				return cmp.Or(refused(r), a.New.CompareAndSwap(ctx, r, expect))
			}
			a.put = func(ctx context.Context, r Record) error { return cmp.Or(refused(r), a.New.PutIfNewer(ctx, r)) }
		},
		"what is refused is stored all the same": func(a *altered) {
			a.swap = func(ctx context.Context, r Record, expect store.Pair) error {
				err := a.New.CompareAndSwap(ctx, r, expect)
				if err == nil && r.ID.Collection() == items && bytes.Contains([]byte(r.Body), []byte("trailing")) {
					return fmt.Errorf("%w: collection items, id %s, field title", store.ErrUnfit, r.ID)
				}
				return err
			}
		},
		"a rule of one value is a rule between records": func(a *altered) {
			a.put = func(ctx context.Context, r Record) error {
				if strings.Contains(string(r.Body), "trailing") {
					return errors.Join(store.ErrRule)
				}
				return a.New.PutIfNewer(ctx, r)
			}
		},
	}
	for name, change := range map[string]func(record.Field, record.Value) record.Value{
		"integers are doubles": texts(record.Int, func(s string) string {
			f, _ := strconv.ParseFloat(s, 64)
			return strconv.FormatFloat(f, 'f', 0, 64)
		}),
		"decimals lose their trailing zeros": texts(record.Decimal, func(s string) string {
			if strings.Contains(s, ".") {
				s = strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
			}
			return s
		}),
		"decimals are doubles": texts(record.Decimal, func(s string) string {
			f, _ := strconv.ParseFloat(s, 64)
			return strconv.FormatFloat(f, 'f', -1, 64)
		}),
		"decimals are rounded to 34 digits": texts(record.Decimal, func(s string) string { return s[:min(len(s), 36)] }),
		"timestamps have milliseconds": func(_ record.Field, v record.Value) record.Value {
			if v.Type() != record.Timestamp {
				return v
			}
			return must(record.OfTime(v.Time().Truncate(1_000_000)))
		},
		"-0 is 0": func(_ record.Field, v record.Value) record.Value {
			if v.Type() == record.Float && v.Float64() == 0 {
				return record.OfFloat(0)
			}
			return v
		},
		"NaN is NULL": func(_ record.Field, v record.Value) record.Value {
			if v.Type() == record.Float && math.IsNaN(v.Float64()) {
				return record.Value{}
			}
			return v
		},
		"an infinity is the greatest number": func(_ record.Field, v record.Value) record.Value {
			if v.Type() == record.Float && math.IsInf(v.Float64(), 1) {
				return record.OfFloat(math.MaxFloat64)
			}
			return v
		},
		"bytes end at a NUL": func(_ record.Field, v record.Value) record.Value {
			if v.Type() != record.Bytes {
				return v
			}
			before, _, _ := bytes.Cut(v.Bytes(), []byte{0})
			return record.OfBytes(before)
		},
		"raw text is trimmed":              texts(record.Raw, func(s string) string { return strings.TrimLeft(s, "0$") }),
		"text loses trailing blanks":       texts(record.Text, func(s string) string { return strings.TrimRight(s, " ") }),
		"text is normalized":               texts(record.Text, func(s string) string { return strings.ReplaceAll(s, "e\u0301", "é") }),
		"a text of the shop ends at a NUL": texts(record.Text, func(s string) string { s, _, _ = strings.Cut(s, "\x00"); return s }),
		"dates before 1582 are moved":      texts(record.Date, func(s string) string { return strings.Replace(s, "1582-10-10", "1582-10-20", 1) }),
		"numbers in JSON are doubles": texts(record.JSON, func(s string) string {
			f, err := strconv.ParseFloat(s, 64)
			if err != nil {
				return s
			}
			return strconv.FormatFloat(f, 'f', -1, 64)
		}),
		"JSON's null is NULL": func(_ record.Field, v record.Value) record.Value {
			if v.Type() == record.JSON && v.String() == "null" {
				return record.Value{}
			}
			return v
		},
		"keys with a dollar sign are lost": texts(record.JSON, func(s string) string { return strings.Replace(s, `{"$set":1}`, `{}`, 1) }),
	} {
		broken[name] = func(a *altered) { a.alterValues(change) }
	}
	return broken
}
