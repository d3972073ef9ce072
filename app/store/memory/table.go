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

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// table is what both stores do alike. Its owner holds the lock.
type table map[record.ID]store.Record

func (t table) get(ids []record.ID) map[record.ID]store.Record {
	found := make(map[record.ID]store.Record, len(ids))
	for _, id := range ids {
		if r, ok := t[id]; ok {
			found[id] = r
		}
	}
	return found
}

func (t table) put(r store.Record) {
	if r.Deleted {
		r.Body = ""
	}
	r.Unfit = "" // what is written decides
	t[r.ID] = r
}

func (t table) compareAndSwap(r store.Record, expect store.Pair) error {
	// An absent record reads as the zero Record, and so as the zero Pair.
	if held := t[r.ID].Pair; held != expect {
		return fmt.Errorf("%w: %q is at %v, not %v", store.ErrConflict, r.ID, held, expect)
	}
	t.put(r)
	return nil
}

func (t table) putIfNewer(recs []store.Record) {
	for _, r := range recs {
		if r.Newer(t[r.ID].Pair) {
			r.Pending = false
			t.put(r)
		}
	}
}

func (t table) list(filter record.Filter, after record.ID, limit int) store.Page {
	return t.page(after, limit, func(r store.Record) bool { return !r.Deleted && r.Unfit == "" && filter.Match(r.ID, r.Body) })
}

func (t table) pending(after record.ID, limit int) store.Page {
	return t.page(after, limit, func(r store.Record) bool { return r.Pending })
}

func (t table) scan(after record.ID, limit int) store.Page {
	return t.page(after, limit, func(store.Record) bool { return true })
}

// page returns up to limit chosen records after an id, in bytewise order, which
// is how Go compares strings.
func (t table) page(after record.ID, limit int, chosen func(store.Record) bool) store.Page {
	limit = max(limit, 1)
	var found []store.Record
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

func (t table) countPending() int64 {
	var n int64
	for _, r := range t {
		if r.Pending {
			n++
		}
	}
	return n
}

func (t table) clearPending(marks []store.Mark) {
	for _, m := range marks {
		if r, ok := t[m.ID]; ok && r.Pair == m.Pair {
			r.Pending = false
			t[m.ID] = r
		}
	}
}
