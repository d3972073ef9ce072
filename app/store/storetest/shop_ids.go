package storetest

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/google/uuid"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

func shopIDCases() []Case[Records] {
	return []Case[Records]{
		{Name: "ids of every type are ordered by their own order", Run: idOrder},
		{Name: "pages break anywhere, and go on in the next collection", Run: idPages},
		{Name: "ids are told apart, and each comes back", Run: idsApart},
		{Name: "of many who swap one record with a composite id, one wins each rev", Run: compositeRace},
	}
}

// orderedIDs are ids of every collection, in their order: uuids bytewise,
// numbers by their value, texts bytewise.
func orderedIDs() []record.ID {
	var ids []record.ID
	for _, u := range []string{
		"00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000001", "0198c5a2-7d1e-7c3b-8f00-1234567890ab",
		"7fffffff-ffff-ffff-ffff-ffffffffffff", "80000000-0000-0000-0000-000000000000", "a0000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
	} {
		ids = append(ids, must(shop(accounts).MakeID(record.OfUUID(uuid.MustParse(u)))))
	}
	for _, n := range []int64{math.MinInt64, -1 << 53, -10, -9, -1, 0, 1, 2, 9, 10, 100, 1<<31 - 1, 1 << 31, 1<<53 + 1, math.MaxInt64} {
		ids = append(ids, itemID(n))
	}
	places := []string{
		"", "\x00", "\x00\x00", " ", "0", "10", "9", "A", "A\x00", "A ", "B", "Z", "[", "a", "a\x00b", "a b", "aa", "b", "e\u0301", "z", "ß", "é", "ﬀ", "\uFFFF", "\U00010000", "😀",
	}
	slices.Sort(places)
	for _, place := range places {
		for _, n := range []int64{math.MinInt64, -1, 0, 1, 10, math.MaxInt64} {
			ids = append(ids, orderID(place, n))
		}
	}
	return ids
}

// putIDs stores a record for each id that the store can hold, in no order, and
// returns those records in the order of ids. One that it can't hold is refused.
func putIDs(t T, s Records, ids []record.ID) (held []Record) {
	t.Helper()
	for n := range ids {
		r := values{}.of(ids[n*7919%len(ids)], 1, 1)
		switch err := s.PutIfNewer(t.Context(), r); {
		case err == nil:
			held = append(held, r)
		case !errors.Is(err, store.ErrUnfit) || !strings.Contains(r.ID.String(), `\u0000`) && !strings.Contains(r.ID.String(), "\x00"):
			t.Errorf("put of id %q: %v", r.ID.String(), err)
		}
	}
	slices.SortFunc(held, func(a, b Record) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return held
}

func idOrder(t T, s Records) {
	want := putIDs(t, s, orderedIDs())
	holds(t, s, want...)
	for _, name := range []string{accounts, items, orders} {
		filter := must(shop(name).Filter())
		got := walk(t, "", 10_000, len(want), func(after record.ID) (Page, error) { return s.List(t.Context(), filter, after, 10_000) })
		same(t, "List of "+name, got, slices.DeleteFunc(slices.Clone(want), func(r Record) bool { return r.ID.Collection() != name }))
	}
}

func idPages(t T, s Records) {
	want := putIDs(t, s, orderedIDs())
	for _, limit := range []int{1, 2, 7, 1000} {
		for name, next := range map[string]func(after record.ID) (Page, error){
			"Scan":        func(after record.ID) (Page, error) { return s.Scan(t.Context(), after, limit) },
			"List of all": func(after record.ID) (Page, error) { return s.List(t.Context(), record.Filter{}, after, limit) },
		} {
			same(t, fmt.Sprintf("%s by %d", name, limit), walk(t, "", limit, len(want), next), want)
		}
	}
	// From anywhere: an id that is there, one that is not, and the bounds of a collection.
	for _, after := range []record.ID{
		itemID(-1), itemID(3), orderID("a", 5), orderID("a", math.MaxInt64), accountID(0x7f), accountID(0xff),
		record.Start(accounts), record.End(accounts), record.Start(items), record.End(items), record.Start(orders), record.End(orders),
		record.Start("a collection before"), record.Start("between"), record.Start("zzz"),
	} {
		rest := slices.DeleteFunc(slices.Clone(want), func(r Record) bool { return r.ID <= after })
		got := walk(t, after, 5, len(want), func(after record.ID) (Page, error) { return s.Scan(t.Context(), after, 5) })
		same(t, fmt.Sprintf("Scan after %q of %q", after.String(), after.Collection()), got, rest)
		filter := must(shop(items).Filter())
		rest = slices.DeleteFunc(rest, func(r Record) bool { return r.ID.Collection() != items })
		got = walk(t, after, 5, len(want), func(after record.ID) (Page, error) { return s.List(t.Context(), filter, after, 5) })
		same(t, fmt.Sprintf("List of items after %q of %q", after.String(), after.Collection()), got, rest)
	}
}

// idsApart: ids that some order or type takes for one are two.
func idsApart(t T, s Records) {
	ids := []record.ID{
		itemID(0), itemID(1), itemID(-1), orderID("a", 1), orderID("a", 2), orderID("A", 1), orderID("a ", 1), orderID("", 1), orderID("1", 1), orderID("é", 1), orderID("e\u0301", 1), accountID(0), accountID(1),
	}
	for n, id := range ids {
		first := values{}.of(id, 1, 1)
		first.Request = fmt.Sprint("of ", n)
		swap(t, s, first, store.Pair{})
		wantErr(t, fmt.Sprintf("create %q twice", id.String()), s.CompareAndSwap(t.Context(), first, store.Pair{}), store.ErrConflict)
	}
	found, err := s.Get(t.Context(), append(slices.Clone(ids), itemID(99), orderID("nobody", 1), accountID(99))...)
	if err != nil || len(found) != len(ids) {
		t.Fatalf("Get of %d ids found %d, %v", len(ids), len(found), err)
	}
	for n, id := range ids {
		if found[id].Request != fmt.Sprint("of ", n) {
			t.Errorf("%q holds the record %q", id.String(), found[id].Request)
		}
	}
}

func compositeRace(t T, s Records) {
	id := orderID("contended", -1)
	swap(t, s, values{}.of(id, 1, 1), store.Pair{})
	swap(t, s, values{}.of(orderID("contended", 1), 1, 1), store.Pair{})
	var errs errorList
	wins := make([]int64, rivals)
	race(rivals, func(i int) {
		for range 15 {
			found, err := s.Get(t.Context(), id)
			if err != nil {
				errs.add(err)
				return
			}
			next := values{"note": record.UncheckedText(fmt.Sprint(i))}.of(id, found[id].Rev+1, 1)
			switch err := s.CompareAndSwap(t.Context(), next, found[id].Pair); {
			case err == nil:
				wins[i]++
			case !errors.Is(err, store.ErrConflict):
				errs.add(err)
			}
		}
	})
	errs.report(t)
	found, err := s.Get(t.Context(), id, orderID("contended", 1))
	total := int64(1)
	for _, n := range wins {
		total += n
	}
	if err != nil || total == 1 || found[id].Rev != total || found[orderID("contended", 1)].Rev != 1 {
		t.Errorf("after %d granted swaps: %+v, %v", total-1, found, err)
	}
}
