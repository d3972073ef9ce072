package storetest

import (
	"errors"
	"fmt"
	"strings"

	"pgregory.net/rapid"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

func shopValueCases() []Case[Records] {
	return []Case[Records]{
		{Name: "plain values of every type come back", Run: plainValues},
		{Name: "what is stored is read back equal, or refused as unfit", Run: storedOrUnfit},
		{Name: "drawn values are read back equal, or refused as unfit", Run: drawnValues},
		{Name: "an emptied field does not come back", Run: emptied},
		{Name: "NULL is apart from empty", Run: nulls},
	}
}

func plainValues(t T, s Records) {
	var want []Record
	for _, f := range shop(items).Body() {
		for n, v := range plain(f) {
			r := values{f.Name: v}.of(itemID(int64(len(want))), 1, 1)
			if n == 0 {
				switch err := s.CompareAndSwap(t.Context(), pending(r), store.Pair{}); {
				case f.Name == "price" && errors.Is(err, store.ErrUnfit):
					continue // a form that not every server has
				case err != nil:
					t.Errorf("create with %s = %s: %v", f.Name, v, err)
					continue
				}
				r.Pending = true
			} else if err := s.PutIfNewer(t.Context(), r); f.Name == "price" && errors.Is(err, store.ErrUnfit) {
				continue
			} else if err != nil {
				t.Errorf("put with %s = %s: %v", f.Name, v, err)
				continue
			}
			want = append(want, r)
		}
	}
	holds(t, s, want...)
}

// exact writes a record with one value in one field, by a swap and by a copy, and
// looks whether it is there as it was sent, or refused without a trace.
func exact(t T, s Records, n int64, field string, v record.Value) {
	t.Helper()
	base := values{}.of(itemID(n), 1, 1)
	if err := s.PutIfNewer(t.Context(), base); err != nil {
		t.Fatalf("put: %v", err)
	}
	next := values{field: v}.of(itemID(n), 2, 1)
	held := base
	switch err := s.CompareAndSwap(t.Context(), next, base.Pair); {
	case err == nil:
		held = next
	default:
		wantUnfit(t, "swap", next.ID, field, err)
	}
	stored(t, s, held, field, v)
	last := next
	last.Rev = 3
	switch err := s.PutIfNewer(t.Context(), last); {
	case err == nil:
		held = last
	default:
		wantUnfit(t, "put", next.ID, field, err)
	}
	stored(t, s, held, field, v)
}

// wantUnfit checks that a refusal names the record and the field.
func wantUnfit(t T, what string, id record.ID, field string, err error) {
	t.Helper()
	wantErr(t, fmt.Sprintf("%s of %s", what, field), err, store.ErrUnfit)
	for _, part := range []string{id.Collection(), id.String(), field} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s of %s: %q doesn't say %q", what, field, clip(err.Error()), part)
		}
	}
}

func stored(t T, s Records, want Record, field string, v record.Value) {
	t.Helper()
	found, err := s.Get(t.Context(), want.ID)
	if err != nil {
		t.Fatalf("%s = %s: Get: %v", field, clip(v.String()), err)
	}
	if found[want.ID] != want {
		t.Errorf("%s = %s: neither held nor refused without a trace: %s", field, clip(v.String()), clip(fmt.Sprint(found[want.ID].Body.Values())))
	}
}

func storedOrUnfit(t T, s Records) {
	n := int64(0)
	for _, f := range shop(items).Body() {
		for _, v := range edges(f) {
			exact(t, s, n, f.Name, v)
			n++
		}
	}
}

func drawnValues(t T, s Records) {
	n := int64(0)
	rapid.Check(t, func(r *rapid.T) {
		n++
		f := rapid.SampledFrom(shop(items).Body()).Draw(r, "field")
		exact(r, s, n, f.Name, drawn(r, f))
	})
}

// drawn draws a value of the field's type.
func drawn(r *rapid.T, f record.Field) record.Value {
	accept := func(v record.Value, err error) record.Value {
		if err != nil {
			r.Skip(err)
		}
		return v
	}
	digits := rapid.StringMatching(`-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?`)
	switch f.Type {
	case record.Text:
		return accept(record.OfText(rapid.String().Draw(r, "text")))
	case record.Raw:
		return accept(record.OfRaw(rapid.String().Draw(r, "raw")))
	case record.Int:
		return record.OfInt(rapid.Int64().Draw(r, "int"))
	case record.Float:
		return record.OfFloat(rapid.Float64().Draw(r, "float"))
	case record.Decimal:
		return accept(record.OfDecimal(digits.Draw(r, "decimal")))
	case record.Bool:
		return record.OfBool(rapid.Bool().Draw(r, "bool"))
	case record.Bytes:
		return record.OfBytes(rapid.SliceOf(rapid.Byte()).Draw(r, "bytes"))
	case record.Timestamp, record.Date:
		const first, last = -62135596800, 253402300799 // the years 1 to 9999
		at := timeOf(rapid.Int64Range(first, last).Draw(r, "second"), rapid.Int64Range(0, 999_999).Draw(r, "microsecond"))
		if f.Type == record.Date {
			return accept(record.OfDate(at))
		}
		return accept(record.OfTime(at))
	case record.UUID:
		return record.OfUUID([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(r, "uuid")))
	}
	return accept(record.OfJSON(drawnJSON(digits).Draw(r, "json")))
}

// drawnJSON draws the texts of JSON values, a few levels deep.
func drawnJSON(digits *rapid.Generator[string]) *rapid.Generator[string] {
	text := rapid.Map(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"$a", "a.b", "", "\x00", "_id"})), quoteJSON)
	value := rapid.OneOf(rapid.SampledFrom([]string{"null", "true", "false", "[]", "{}"}), text, digits)
	for range 3 {
		inner := value
		value = rapid.OneOf(inner,
			rapid.Map(rapid.SliceOfN(inner, 0, 3), func(list []string) string { return "[" + strings.Join(list, ",") + "]" }),
			rapid.Custom(func(r *rapid.T) string {
				var members []string
				for _, key := range rapid.SliceOfNDistinct(text, 0, 3, rapid.ID[string]).Draw(r, "keys") {
					members = append(members, key+":"+inner.Draw(r, "member"))
				}
				return "{" + strings.Join(members, ",") + "}"
			}))
	}
	return value
}

// full is a record with a value in every field that the store holds.
func full(t T, s Records, id record.ID, rev int64) Record {
	t.Helper()
	all := values{}
	for _, f := range shop(id.Collection()).Body() {
		all[f.Name] = plain(f)[0]
	}
	r := all.of(id, rev, 1)
	err := s.PutIfNewer(t.Context(), r)
	if errors.Is(err, store.ErrUnfit) {
		delete(all, "price")
		r = all.of(id, rev, 1)
		err = s.PutIfNewer(t.Context(), r)
	}
	if err != nil {
		t.Fatalf("put: %v", err)
	}
	return r
}

func emptied(t T, s Records) {
	a, b := full(t, s, itemID(1), 1), full(t, s, orderID("a", 1), 1)
	holds(t, s, a, b)
	a, b = values{}.of(a.ID, 2, 1), values{}.of(b.ID, 2, 1)
	swap(t, s, a, pair(1, 1))
	put(t, s, b)
	holds(t, s, a, b)
	// Nor does it after a tombstone.
	a, b = full(t, s, itemID(1), 3), full(t, s, orderID("a", 1), 3)
	holds(t, s, a, b)
	a, b = gone(a, 4, 1), gone(b, 4, 1)
	swap(t, s, a, pair(3, 1))
	put(t, s, b)
	holds(t, s, a, b)
	a, b = values{"title": record.UncheckedText("x")}.of(a.ID, 5, 1), values{"note": record.UncheckedText("x")}.of(b.ID, 5, 1)
	swap(t, s, a, pair(4, 1))
	put(t, s, b)
	holds(t, s, a, b)
}

func nulls(t T, s Records) {
	empty := func(f record.Field) (record.Value, bool) {
		switch f.Type {
		case record.Text, record.Raw:
			return must(record.Parse(f.Type, "")), true
		case record.Int, record.Decimal:
			return must(record.Parse(f.Type, "0")), true
		case record.Float:
			return record.OfFloat(0), true
		case record.Bool:
			return record.OfBool(false), true
		case record.Bytes:
			return record.OfBytes(nil), true
		}
		return record.Value{}, false
	}
	var want []Record
	for _, f := range shop(items).Body() {
		v, ok := empty(f)
		if !ok || f.Name == "price" {
			continue
		}
		n := int64(len(want))
		want = append(want, values{f.Name: v}.of(itemID(n), 1, 1), values{}.of(itemID(n+1), 1, 1))
	}
	put(t, s, want...)
	holds(t, s, want...)
}
