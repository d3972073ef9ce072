package storetest

import (
	"errors"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/task"
)

// refusedCases are about records that one of the two databases can't hold.
func refusedCases() []Case[Old] {
	return []Case[Old]{
		{Name: "Isolate marks the copy that it names and no other", Run: isolate},
		{Name: "a later write lifts the mark of Isolate", Run: isolateLifted},
		{Name: "PutTogether is PutIfNewer of each", Run: putTogether},
		{Name: "PutTogether puts in what only fits together", Run: swapTogether},
	}
}

// marked checks that a record is marked as unfit, and otherwise as it was.
func marked(t T, s Old, want Record, reason string) {
	t.Helper()
	found, _, err := s.Get(t.Context(), want.ID)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	got := found[want.ID]
	if got.Unfit != reason || got.Pair != want.Pair || got.Deleted || got.Pending {
		t.Errorf("%q is %+v, want it at %v, not pending, marked %q", want.ID.String(), got, want.Pair, reason)
	}
}

func isolate(t T, s Old) {
	ctx, records := t.Context(), planned{s, 1}
	a, b := pending(live("a", 4, 1)), pending(live("b", 1, 1))
	swap(t, records, a, store.Pair{})
	swap(t, records, b, store.Pair{})
	for _, p := range []store.Pair{pair(3, 1), pair(4, 0), pair(4, 2)} {
		wantErr(t, "isolate another copy", s.Isolate(ctx, 1, store.Mark{ID: key("a"), Pair: p}, "x"), store.ErrConflict)
	}
	wantErr(t, "isolate nothing", s.Isolate(ctx, 1, store.Mark{ID: key("nobody"), Pair: pair(1, 1)}, "x"), store.ErrConflict)
	holds(t, records, a, b)
	if err := s.Isolate(ctx, 1, a.Mark(), "too large"); err != nil {
		t.Fatalf("Isolate: %v", err)
	}
	marked(t, s, a, "too large")
	// It is not sent, not listed, and it keeps its place.
	wantPending(t, records, "b")
	listed, err := listAll(ctx, records, task.Filter{})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	sameIDs(t, "List", listed, "b")
	scanned, err := scanAll(ctx, records)
	if err != nil {
		t.Fatalf("Scan: %v", err)
	}
	sameIDs(t, "Scan", scanned, "a", "b")
	if len(scanned) == 2 && (scanned[0].Unfit != "too large" || scanned[1].Unfit != "") {
		t.Errorf("Scan shows the marks %q and %q", scanned[0].Unfit, scanned[1].Unfit)
	}
	if l, ok := store.As[store.Legacy](s); ok {
		wantQuarantine(t, l, "a")
	}
}

// wantQuarantine checks which records of the suite's are in quarantine.
func wantQuarantine(t T, l store.Legacy, ids ...string) {
	t.Helper()
	rows, n, err := l.Quarantine(t.Context(), 0)
	if err != nil || n != int64(len(ids)) || len(rows) != len(ids) {
		t.Errorf("Quarantine: %+v, %d, %v; want %q", rows, n, err, ids)
		return
	}
	for i, row := range rows {
		if row.Collection != collection.Name || row.ID != ids[i] || row.Reason == "" || row.Key == "" || row.Row == "" {
			t.Errorf("Quarantine: %+v, want %q of %s with key, reason and row", row, ids[i], collection.Name)
		}
	}
	if rows, n, err := l.Quarantine(t.Context(), 1); err != nil || n != int64(len(ids)) || len(rows) != min(1, len(ids)) {
		t.Errorf("Quarantine of one: %+v, %d, %v", rows, n, err)
	}
}

func isolateLifted(t T, s Old) {
	records := planned{s, 1}
	for id, write := range map[string]func(held Record) Record{
		"swapped": func(held Record) Record {
			next := pending(live("swapped", held.Rev+1, 1))
			swap(t, records, next, held.Pair)
			return next
		},
		"put": func(held Record) Record {
			next := live("put", held.Rev+1, 1)
			put(t, records, next)
			return next
		},
		"deleted": func(held Record) Record {
			next := pending(tombstone("deleted", held.Rev+1, 1))
			swap(t, records, next, held.Pair)
			return next
		},
	} {
		held := live(id, 2, 1)
		put(t, records, held)
		if err := s.Isolate(t.Context(), 1, held.Mark(), "as if"); err != nil {
			t.Fatalf("Isolate: %v", err)
		}
		// What is not newer decides nothing.
		put(t, records, live(id, 1, 1), live(id, 2, 0))
		marked(t, s, held, "as if")
		want := write(held)
		found, _, err := s.Get(t.Context(), want.ID)
		if err != nil || found[want.ID] != want {
			t.Errorf("%s: %+v, %v; want %+v", id, found[want.ID], err, want)
		}
	}
	if l, ok := store.As[store.Legacy](s); ok {
		wantQuarantine(t, l)
	}
}

func putTogether(t T, s Old) {
	records := planned{s, 1}
	held := pending(live("a", 5, 3))
	swap(t, records, held, store.Pair{})
	swap(t, records, live("b", 1, 1), store.Pair{})
	err := s.PutTogether(t.Context(), 1, live("a", 4, 9), pending(live("b", 2, 1)), tombstone("c", 3, 1), live("d", 1, 1))
	if err != nil {
		t.Fatalf("PutTogether: %v", err)
	}
	holds(t, records, held, live("b", 2, 1), tombstone("c", 3, 1), live("d", 1, 1))
	if err := s.PutTogether(t.Context(), 1); err != nil {
		t.Errorf("PutTogether of nothing: %v", err)
	}
	holds(t, records, held, live("b", 2, 1), tombstone("c", 3, 1), live("d", 1, 1))
}

// Ruler is an [Old] that can be told of a rule between records. One without
// such rules need not be.
type Ruler interface {
	Old
	// Unique has the database refuse two records of a collection with one value
	// in the field; NULLs excepted.
	Unique(t T, collection, field string)
}

// assigned is a live record with this assignee.
func assigned(id, assignee string, rev int64) Record {
	return with(live(id, rev, 1), func(t *task.Task) { t.Assignee = assignee })
}

func swapTogether(t T, s Old) {
	ruler, ok := s.(Ruler)
	if !ok {
		return // no rule between records can be in its way
	}
	ruler.Unique(t, collection.Name, "assignee")
	ctx, records := t.Context(), planned{s, 1}
	a, b := assigned("a", "first", 1), assigned("b", "second", 1)
	put(t, records, a, b)
	rule := func(what string, err error, want ...Record) {
		t.Helper()
		wantErr(t, what, err, store.ErrRule)
		holds(t, records, want...)
	}
	rule("create what is taken", s.CompareAndSwap(ctx, 1, assigned("c", "first", 1), store.Pair{}), a, b)
	rule("swap to what is taken", s.CompareAndSwap(ctx, 1, assigned("b", "first", 2), b.Pair), a, b)
	rule("put what is taken", s.PutIfNewer(ctx, 1, assigned("b", "first", 2)), a, b)
	// Neither fits alone; both fit, in either order.
	a, b = assigned("a", "second", 2), assigned("b", "first", 2)
	for _, swapped := range [][]Record{{a, b}, {assigned("b", "second", 3), assigned("a", "first", 3)}} {
		if err := s.PutTogether(ctx, 1, swapped...); err != nil {
			t.Fatalf("PutTogether of a swap: %v", err)
		}
	}
	a, b = assigned("a", "first", 3), assigned("b", "second", 3)
	holds(t, records, a, b)
	// A child before the place that it takes is free: the order means nothing.
	if err := s.PutTogether(ctx, 1, assigned("c", "first", 1), tombstone("a", 4, 1)); err != nil {
		t.Fatalf("PutTogether of a heir and a tombstone: %v", err)
	}
	gone, c := tombstone("a", 4, 1), assigned("c", "first", 1)
	holds(t, records, gone, b, c)
	// What doesn't fit at all changes nothing, the good ones among it included.
	err := s.PutTogether(ctx, 1, assigned("d", "fourth", 1), assigned("e", "second", 1))
	rule("put together what is taken", err, gone, b, c)
	var refusal *store.Refusal
	if !errors.As(err, &refusal) || refusal.ID != key("e") {
		t.Errorf("PutTogether: %v doesn't say that e could not be put in", err)
	}
}
