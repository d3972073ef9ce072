package storetest

import (
	"context"
	"errors"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/task"
)

func swapCases() []Case[Records] {
	return []Case[Records]{
		{Name: "CompareAndSwap creates what is absent", Run: swapCreates},
		{Name: "CompareAndSwap replaces what is expected", Run: swapReplaces},
		{Name: "CompareAndSwap deletes and recreates", Run: swapTombstone},
		{Name: "a conflict changes nothing", Run: swapConflicts},
		{Name: "Get of nothing and of some", Run: getSome},
		{Name: "an ended context changes nothing", Run: endedContext},
	}
}

func swapCreates(t T, s Records) {
	a, b := live("a", 1, 1), pending(live("b", 7, 3))
	swap(t, s, a, store.Pair{})
	swap(t, s, b, store.Pair{})
	holds(t, s, a, b)
}

func swapReplaces(t T, s Records) {
	other := live("other", 1, 1)
	swap(t, s, other, store.Pair{})
	swap(t, s, live("a", 1, 1), store.Pair{})
	second := pending(live("a", 2, 1))
	second = with(second, func(t *task.Task) { t.Done, t.Assignee = true, "jane" })
	second.Request = "another"
	swap(t, s, second, pair(1, 1))
	holds(t, s, second, other)
	// What is given is what is stored: pending can be unset, too.
	third := live("a", 3, 5)
	swap(t, s, third, pair(2, 1))
	holds(t, s, third, other)
}

func swapTombstone(t T, s Records) {
	swap(t, s, live("a", 1, 1), store.Pair{})
	gone := pending(tombstone("a", 2, 1))
	swap(t, s, gone, pair(1, 1))
	holds(t, s, gone)
	wantErr(t, "create over a tombstone", s.CompareAndSwap(t.Context(), live("a", 1, 1), store.Pair{}), store.ErrConflict)
	holds(t, s, gone)
	back := live("a", 3, 2)
	swap(t, s, back, pair(2, 1))
	holds(t, s, back)
	// A tombstone may also be the first that is heard of a record.
	first := tombstone("b", 4, 1)
	swap(t, s, first, store.Pair{})
	holds(t, s, back, first)
}

func swapConflicts(t T, s Records) {
	held := pending(live("a", 5, 3))
	swap(t, s, held, store.Pair{})
	for _, expect := range []store.Pair{{}, pair(4, 3), pair(6, 3), pair(5, 2), pair(5, 4), pair(5, 0), pair(0, 3)} {
		err := s.CompareAndSwap(t.Context(), live("a", 9, 9), expect)
		wantErr(t, "swap expecting "+expect.String(), err, store.ErrConflict)
	}
	wantErr(t, "swap of an absent one", s.CompareAndSwap(t.Context(), live("b", 2, 1), pair(1, 1)), store.ErrConflict)
	holds(t, s, held)
}

func getSome(t T, s Records) {
	for _, ids := range [][]record.ID{nil, {key("nobody")}} {
		found, err := s.Get(t.Context(), ids...)
		if err != nil || len(found) != 0 {
			t.Errorf("Get(%q) of an empty store: %v, %v", ids, found, err)
		}
	}
	a, b := live("a", 1, 1), tombstone("b", 2, 1)
	put(t, s, a, b, live("c", 1, 1))
	found, err := s.Get(t.Context(), key("b"), key("nobody"), key("a"), key("b"))
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	if len(found) != 2 || found[key("a")] != a || found[key("b")] != b {
		t.Errorf("Get of two that exist and one that doesn't: %v", found)
	}
}

func endedContext(t T, s Records) {
	held := pending(live("a", 1, 1))
	swap(t, s, held, store.Pair{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls := map[string]func() error{
		"Get":            func() error { _, err := s.Get(ctx, key("a")); return err },
		"CompareAndSwap": func() error { return s.CompareAndSwap(ctx, live("a", 2, 1), pair(1, 1)) },
		"create":         func() error { return s.CompareAndSwap(ctx, live("b", 1, 1), store.Pair{}) },
		"PutIfNewer":     func() error { return s.PutIfNewer(ctx, live("a", 9, 9), live("c", 1, 1)) },
		"ClearPending":   func() error { return s.ClearPending(ctx, held.Mark()) },
		"List":           func() error { _, err := s.List(ctx, selected(task.Filter{}), "", 10); return err },
		"Scan":           func() error { _, err := s.Scan(ctx, "", 10); return err },
		"Pending":        func() error { _, err := s.Pending(ctx, "", 10); return err },
		"CountPending":   func() error { _, err := s.CountPending(ctx); return err },
		"Count":          func() error { _, err := s.Count(ctx); return err },
	}
	for name, call := range calls {
		err := call()
		if err == nil {
			t.Errorf("%s under an ended context: no error", name)
		}
		// It never began, so its outcome is known.
		for _, wrong := range []error{store.ErrConflict, store.ErrUnknown, store.ErrFenceMoved} {
			if errors.Is(err, wrong) {
				t.Errorf("%s under an ended context: %v", name, err)
			}
		}
	}
	holds(t, s, held)
}
