// Package memory keeps the two stores in memory: small and obviously right, it
// is the reference that the real databases are held against, and what the
// interleavings of the protocol are explored on.
//
// Every call takes the one lock of its store for as long as it runs, so it is
// atomic as a whole. A call whose context has ended does nothing and returns
// the context's error.
package memory

import (
	"fmt"
	"maps"
	"slices"

	"migrate/app/store"
)

// Filter selects bodies.
type Filter[B any] interface{ Match(B) bool }

// table is what both stores do alike. Its owner holds the lock.
type table[B any, F Filter[B]] map[string]store.Record[B]

func (t table[B, F]) get(ids []string) map[string]store.Record[B] {
	found := make(map[string]store.Record[B], len(ids))
	for _, id := range ids {
		if r, ok := t[id]; ok {
			found[id] = r
		}
	}
	return found
}

func (t table[B, F]) put(r store.Record[B]) {
	if r.Deleted {
		var zero B
		r.Body = zero
	}
	t[r.ID] = r
}

func (t table[B, F]) compareAndSwap(r store.Record[B], expect store.Pair) error {
	// An absent record reads as the zero Record, and so as the zero Pair.
	if held := t[r.ID].Pair; held != expect {
		return fmt.Errorf("%w: %q is at %v, not %v", store.ErrConflict, r.ID, held, expect)
	}
	t.put(r)
	return nil
}

func (t table[B, F]) putIfNewer(recs []store.Record[B]) {
	for _, r := range recs {
		if r.Newer(t[r.ID].Pair) {
			r.Pending = false
			t.put(r)
		}
	}
}

func (t table[B, F]) list(filter F, after string, limit int) store.Page[B] {
	return t.page(after, limit, func(r store.Record[B]) bool { return !r.Deleted && filter.Match(r.Body) })
}

func (t table[B, F]) pending(after string, limit int) store.Page[B] {
	return t.page(after, limit, func(r store.Record[B]) bool { return r.Pending })
}

func (t table[B, F]) scan(after string, limit int) store.Page[B] {
	return t.page(after, limit, func(store.Record[B]) bool { return true })
}

// page returns up to limit chosen records after an id, in bytewise order, which
// is how Go compares strings.
func (t table[B, F]) page(after string, limit int, chosen func(store.Record[B]) bool) store.Page[B] {
	limit = max(limit, 1)
	var found []store.Record[B]
	for _, id := range slices.Sorted(maps.Keys(t)) {
		if len(found) >= limit {
			break
		}
		if id > after && chosen(t[id]) {
			found = append(found, t[id])
		}
	}
	return store.PageOf(found, limit)
}

func (t table[B, F]) countPending() int64 {
	var n int64
	for _, r := range t {
		if r.Pending {
			n++
		}
	}
	return n
}

func (t table[B, F]) clearPending(marks []store.Mark) {
	for _, m := range marks {
		if r, ok := t[m.ID]; ok && r.Pair == m.Pair {
			r.Pending = false
			t[m.ID] = r
		}
	}
}
