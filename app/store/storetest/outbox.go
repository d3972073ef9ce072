package storetest

import (
	"fmt"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

func outboxCases() []Case[Records] {
	return []Case[Records]{
		{Name: "Pending pages by id", Run: pendingPages},
		{Name: "ClearPending clears the copy it names and no other", Run: clearByPair},
	}
}

func pendingPages(t T, s Records) {
	wantPending(t, s)
	for _, id := range []string{"e", "b", "d", "a", "c"} {
		swap(t, s, pending(live(id, 1, 1)), store.Pair{})
	}
	swap(t, s, pending(tombstone("bb", 2, 1)), store.Pair{})
	swap(t, s, live("ba", 1, 1), store.Pair{})
	wantPending(t, s, "a", "b", "bb", "c", "d", "e")
	for _, from := range []struct {
		after string
		limit int
		want  []string
	}{
		{"", 2, []string{"a", "b", "bb", "c", "d", "e"}},
		{"b", 2, []string{"bb", "c", "d", "e"}},
		{"bzzz", 10, []string{"c", "d", "e"}},
		{"e", 10, nil},
	} {
		var after record.ID
		if from.after != "" {
			after = key(from.after)
		}
		got := walk(t, after, from.limit, 6, func(after record.ID) (Page, error) { return s.Pending(t.Context(), after, from.limit) })
		sameIDs(t, fmt.Sprintf("Pending after %q by %d", from.after, from.limit), got, from.want...)
	}
}

func clearByPair(t T, s Records) {
	ctx := t.Context()
	a, b, gone := pending(live("a", 1, 1)), pending(live("b", 1, 1)), pending(tombstone("c", 4, 2))
	for _, r := range []Record{a, b, gone} {
		swap(t, s, r, store.Pair{})
	}
	clear := func(marks ...store.Mark) {
		t.Helper()
		if err := s.ClearPending(ctx, marks...); err != nil {
			t.Fatalf("ClearPending: %v", err)
		}
	}
	clear()
	wantPending(t, s, "a", "b", "c")
	// A newer copy was committed meanwhile: it is still to be sent.
	newer := pending(live("a", 2, 1))
	swap(t, s, newer, a.Pair)
	clear(a.Mark(), b.Mark())
	wantPending(t, s, "a", "c")
	for _, stale := range []store.Pair{pair(1, 2), pair(2, 0), pair(2, 2), pair(3, 1), {}} {
		clear(store.Mark{ID: key("a"), Pair: stale}, store.Mark{ID: key("nobody"), Pair: stale})
	}
	b.Pending = false
	holds(t, s, newer, b, gone)
	clear(newer.Mark(), gone.Mark())
	newer.Pending, gone.Pending = false, false
	wantPending(t, s)
	holds(t, s, newer, b, gone)
}

// wantPending checks which records are in the outbox, and that it counts them.
func wantPending(t T, s Records, ids ...string) {
	t.Helper()
	got := walk(t, "", 1000, 1000, func(after record.ID) (Page, error) { return s.Pending(t.Context(), after, 1000) })
	sameIDs(t, "Pending", got, ids...)
	for _, r := range got {
		if !r.Pending {
			t.Errorf("Pending returned %q as not pending", r.ID)
		}
	}
	n, err := s.CountPending(t.Context())
	if err != nil || n != int64(len(ids)) {
		t.Errorf("CountPending: %d, %v; want %d", n, err, len(ids))
	}
}
