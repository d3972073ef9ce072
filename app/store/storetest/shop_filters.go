package storetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

func shopFilterCases() []Case[Records] {
	return []Case[Records]{
		{Name: "filters are equality of values, bytewise, and NULL is one", Run: filterValues},
		{Name: "filters by columns of an id", Run: filterIDs},
		{Name: "a filter by nothing that is there selects nothing", Run: filterNothing},
	}
}

func timeOf(second, microsecond int64) time.Time { return time.Unix(second, microsecond*1000) }

// quoteJSON writes a JSON string.
func quoteJSON(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a text always can be written
	}
	return string(b)
}

// filtered checks a List against what the filter itself says of the records.
func filtered(t T, s Records, all []Record, c record.Collection, conditions ...record.Equals) {
	t.Helper()
	filter, err := c.Filter(conditions...)
	if err != nil {
		t.Fatalf("Filter: %v", err)
	}
	want := slices.DeleteFunc(slices.Clone(all), func(r Record) bool { return r.Deleted || !filter.Match(r.ID, r.Body) })
	limits := []int{100}
	if len(want) > 1 && len(want) < 5 {
		limits = append(limits, 1)
	}
	for _, limit := range limits {
		got := walk(t, "", limit, len(all), func(after record.ID) (Page, error) { return s.List(t.Context(), filter, after, limit) })
		what := ""
		for _, e := range conditions {
			what += fmt.Sprintf(" %s = %.40q", e.Field, e.Value.String())
		}
		same(t, fmt.Sprintf("List of %s by%s, pages of %d", c.Name, what, limit), got, want)
	}
}

func filterValues(t T, s Records) {
	c := shop(items)
	var all []Record
	used := map[string][]record.Value{}
	add := func(v values) {
		r := v.of(itemID(int64(len(all))), 1, 1)
		err := s.PutIfNewer(t.Context(), r)
		if err != nil {
			wantErr(t, "put", err, store.ErrUnfit)
			return
		}
		all = append(all, r)
	}
	add(values{})
	for _, f := range c.Body() {
		if !f.Type.Filters() {
			continue
		}
		some := append(edges(f), plain(f)...)
		if f.Type == record.Text || f.Type == record.Raw {
			for _, text := range []string{"bill", "Bill", "BILL", "bill ", "b", "1", "01", "1.0", "été", "e\u0301te\u0301"} {
				some = append(some, must(record.Parse(f.Type, text)))
			}
		}
		used[f.Name] = some
		for _, v := range some {
			add(values{f.Name: v})
		}
	}
	tomb := gone(values{}.of(itemID(-1), 1, 1), 2, 1)
	put(t, s, tomb) // it matches no filter, nor that for NULL
	for name, some := range used {
		filtered(t, s, all, c, record.Equals{Field: name})
		for n, v := range some {
			if n%2 == 0 || n > len(some)-12 { // time
				filtered(t, s, all, c, record.Equals{Field: name, Value: v})
			}
		}
	}
	filtered(t, s, all, c, record.Equals{Field: "sold"}, record.Equals{Field: "day", Value: plain(record.Field{Type: record.Date})[0]})
	filtered(t, s, all, c, record.Equals{Field: "sold"}, record.Equals{Field: "title"})
	filtered(t, s, all, c)
}

func filterIDs(t T, s Records) {
	c := shop(orders)
	var all []Record
	for _, place := range []string{"a", "A", "b"} {
		for n := range int64(4) {
			all = append(all, values{"paid": record.OfBool(n%2 == 0)}.of(orderID(place, n), 1, 1))
		}
	}
	slices.SortFunc(all, func(a, b Record) int { return compareIDs(a.ID, b.ID) })
	put(t, s, all...)
	place := func(p string) record.Equals { return record.Equals{Field: "shop", Value: record.UncheckedText(p)} }
	paid := func(b bool) record.Equals { return record.Equals{Field: "paid", Value: record.OfBool(b)} }
	filtered(t, s, all, c, place("a"))
	filtered(t, s, all, c, place("A"), paid(true))
	filtered(t, s, all, c, paid(false), record.Equals{Field: "number", Value: record.OfInt(1)})
	filtered(t, s, all, c, place("nobody"))
	one := values{}.of(itemID(5), 1, 1)
	put(t, s, one)
	filtered(t, s, []Record{one}, shop(items), record.Equals{Field: "number", Value: record.OfInt(5)})
	filtered(t, s, []Record{one}, shop(items), record.Equals{Field: "number", Value: record.OfInt(6)})
}

func compareIDs(a, b record.ID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func filterNothing(t T, s Records) {
	all := []Record{values{"title": record.UncheckedText("x")}.of(itemID(1), 1, 1)}
	put(t, s, all...)
	for _, text := range []string{"\xff", "x\xff"} { // nothing holds it
		filtered(t, s, all, shop(items), record.Equals{Field: "title", Value: record.UncheckedText(text)})
	}
	filtered(t, s, all, shop(items), record.Equals{Field: "checked", Value: must(record.OfTime(timeOf(1, 1)))})
	filtered(t, s, all, shop(accounts))
}
