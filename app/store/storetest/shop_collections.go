package storetest

import (
	"errors"
	"fmt"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

func shopCollectionCases() []Case[Records] {
	return []Case[Records]{
		{Name: "one call is about records of several collections", Run: severalCollections},
		{Name: "one outbox holds all collections, in the order of ids", Run: oneOutbox},
		{Name: "a record of no declared collection is in no declared one", Run: undeclared},
	}
}

func severalCollections(t T, s Records) {
	a, i, o := values{}.of(accountID(1), 1, 1), values{}.of(itemID(-1), 1, 1), values{}.of(orderID("a", 1), 1, 1)
	put(t, s, o, a, i)
	holds(t, s, a, i, o)
	// Of one batch some are newer, some are older, some are absent, in each collection.
	newer := []Record{
		values{"name": record.UncheckedText("new")}.of(a.ID, 2, 1), values{}.of(accountID(2), 1, 1), values{}.of(itemID(-1), 1, 0),
		values{}.of(itemID(7), 5, 1), values{"note": record.UncheckedText("new")}.of(o.ID, 1, 2), gone(values{}.of(orderID("", 0), 1, 1), 3, 1),
	}
	put(t, s, newer...)
	holds(t, s, newer[0], newer[1], i, newer[3], newer[5], newer[4])
	if n, err := s.Count(t.Context()); err != nil || n < 3 || n > 12 {
		t.Errorf("Count of 6: %d, %v", n, err)
	}
}

func oneOutbox(t T, s Records) {
	var want []Record
	for n := range 3 {
		want = append(want, pending(values{}.of(accountID(byte(n)), 1, 1)))
	}
	for n := range 3 {
		want = append(want, pending(values{}.of(itemID(int64(n-1)), 1, 1)))
	}
	for n := range 3 {
		want = append(want, pending(values{}.of(orderID(fmt.Sprint(n), 1), 1, 1)))
	}
	for _, r := range want {
		swap(t, s, r, store.Pair{})
	}
	for _, limit := range []int{1, 2, 100} {
		got := walk(t, "", limit, len(want), func(after record.ID) (Page, error) { return s.Pending(t.Context(), after, limit) })
		same(t, fmt.Sprintf("Pending by %d", limit), got, want)
	}
	if n, err := s.CountPending(t.Context()); err != nil || n != int64(len(want)) {
		t.Errorf("CountPending: %d, %v; want %d", n, err, len(want))
	}
	// One of each collection, and one at another pair.
	other := want[4].Mark()
	other.Rev++
	if err := s.ClearPending(t.Context(), want[0].Mark(), want[3].Mark(), other, want[8].Mark()); err != nil {
		t.Fatalf("ClearPending: %v", err)
	}
	for _, n := range []int{0, 3, 8} {
		want[n].Pending = false
	}
	holds(t, s, want...)
}

// undeclared: what no declaration knows is refused, or it is held as what it is.
func undeclared(t T, s Records) {
	id := must(record.NewID("nobody's", record.OfInt(1)))
	r := Record{ID: id, Pair: pair(1, 1), Body: record.NewBody(record.OfInt(1))}
	var want []Record
	switch err := s.CompareAndSwap(t.Context(), r, store.Pair{}); {
	case err == nil:
		want = append(want, r)
	default:
		wantErr(t, "create", err, store.ErrUnfit)
		wantErr(t, "put", s.PutIfNewer(t.Context(), r), store.ErrUnfit)
	}
	found, err := s.Get(t.Context(), id)
	if err != nil && !errors.Is(err, store.ErrUnfit) || len(found) != len(want) {
		t.Errorf("Get: %v, %v", found, err)
	}
	holds(t, s, want...)
	for _, c := range Shop().Collections {
		filtered(t, s, nil, c)
	}
}
