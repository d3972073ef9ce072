package migration

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// shortOld and shortNew break their pages anywhere, as a store does whose
// records are large. The pages say where they go on, and when they end.
type (
	shortOld struct {
		oldStore
		size func() int // of the next page
	}
	shortNew struct {
		newStore
		size func() int
	}
)

// cut leaves no more than size records on a page.
func cut(page recordPage, err error, size int) (recordPage, error) {
	if err == nil && len(page.Records) > size {
		page = recordPage{Records: page.Records[:size], Next: page.Records[size-1].ID}
	}
	return page, err
}

func one() int { return 1 }

func (o shortOld) List(ctx context.Context, f record.Filter, after record.ID, limit int) (recordPage, store.Fence, error) {
	page, fence, err := o.oldStore.List(ctx, f, after, limit)
	page, err = cut(page, err, o.size())
	return page, fence, err
}

func (o shortOld) Scan(ctx context.Context, after record.ID, limit int) (recordPage, store.Fence, error) {
	page, fence, err := o.oldStore.Scan(ctx, after, limit)
	page, err = cut(page, err, o.size())
	return page, fence, err
}

func (o shortOld) Pending(ctx context.Context, after record.ID, limit int) (recordPage, store.Fence, error) {
	page, fence, err := o.oldStore.Pending(ctx, after, limit)
	page, err = cut(page, err, o.size())
	return page, fence, err
}

func (n shortNew) List(ctx context.Context, f record.Filter, after record.ID, limit int) (recordPage, error) {
	page, err := n.newStore.List(ctx, f, after, limit)
	return cut(page, err, n.size())
}

func (n shortNew) Scan(ctx context.Context, after record.ID, limit int) (recordPage, error) {
	page, err := n.newStore.Scan(ctx, after, limit)
	return cut(page, err, n.size())
}

func (n shortNew) Pending(ctx context.Context, after record.ID, limit int) (recordPage, error) {
	page, err := n.newStore.Pending(ctx, after, limit)
	return cut(page, err, n.size())
}

// shorten gives a world stores whose pages break anywhere.
func shorten(w *world) (pages *int) {
	pages = new(int)
	size := func() int { *pages++; return 1 + *pages%3 }
	w.old, w.new = shortOld{w.old, size}, shortNew{w.new, size}
	return pages
}

// manyIDs names more records than any page of a short store holds.
func manyIDs() []record.ID {
	var ids []record.ID
	for i := range 20 {
		ids = append(ids, record.ID(fmt.Sprintf("%02d", i)))
	}
	return ids
}

// listedIDs pages through a list to its end.
func listedIDs(t *testing.T, s *service, limit int) string {
	t.Helper()
	var ids []string
	for after := ""; ; {
		page, err := s.List(t.Context(), record.Filter{}, record.ID(after), limit)
		must(t, err)
		for _, r := range page.Records {
			ids = append(ids, string(record.ID(string(r.ID))))
		}
		if page.End {
			return strings.Join(ids, " ")
		}
		after = string(page.Next)
	}
}

// A list is whole whatever the size of the stores' pages, when old answers and
// when both are merged.
func TestListsOfShortPages(t *testing.T) {
	for _, step := range []Step{AddDAO, ReadBoth, NewPrimary, StopOldWrites} {
		w := raisedTo(t, step, 0)
		for n, id := range manyIDs() {
			if step <= ReadBoth || n%2 == 0 {
				w.put(t, store.PrimaryOld, copyOf(id, 1, 1, "x"))
			}
			if step > ReadBoth && n%3 != 0 {
				w.put(t, store.PrimaryNew, copyOf(id, 1, 1, "x"))
			}
		}
		s := w.at(t, step)
		if step == NewPrimary {
			must(t, s.Advance(t.Context()))
		}
		whole := listedIDs(t, s, 1000)
		pages := shorten(w)
		short := w.at(t, step)
		for _, limit := range []int{1, 2, 7, 1000} {
			if got := listedIDs(t, short, limit); got != whole || got == "" {
				t.Errorf("step %d, pages of %d: %s; want %s", step, limit, got, whole)
			}
		}
		if *pages < 20 {
			t.Errorf("step %d: only %d pages were read", step, *pages)
		}
	}
}

// The completion mark means that every record was copied.
func TestBackfillOfShortPages(t *testing.T) {
	w := raisedTo(t, Backfill, 0)
	for _, id := range manyIDs() {
		w.put(t, store.PrimaryOld, copyOf(id, 1, 1, "x"))
	}
	shorten(w)
	res, err := CopyAll(t.Context(), w.old, w.new, BackfillOptions{})
	must(t, err)
	if res.Copied != 20 || !res.Complete {
		t.Errorf("copied %d, complete %v", res.Copied, res.Complete)
	}
	found, err := w.new.Get(t.Context(), manyIDs()...)
	must(t, err)
	if len(found) != 20 {
		t.Errorf("the mark is set, and new has %d of 20 records", len(found))
	}
}

// Verify looks at every record of either store.
func TestVerifyOfShortPages(t *testing.T) {
	w := raisedTo(t, Backfill, 0)
	for n, id := range manyIDs() {
		w.put(t, store.PrimaryOld, copyOf(id, 1, 1, "x"))
		if n != 17 {
			w.put(t, store.PrimaryNew, copyOf(id, 1, 1, "x"))
		}
	}
	shorten(w)
	rep, err := Verify(t.Context(), w.old, w.new, VerifyOptions{})
	must(t, err)
	if rep.Equal != 19 || rep.Missing != 1 {
		t.Errorf("%d equal, %d missing; want 19 and 1", rep.Equal, rep.Missing)
	}
}

// The relay's pass and the drain of a return send everything that is pending.
func TestOutboxOfShortPages(t *testing.T) {
	w := raisedTo(t, WriteBoth, 0)
	for _, id := range manyIDs() {
		rec := copyOf(id, 1, 1, "x")
		rec.Pending = true
		must(t, w.old.CompareAndSwap(t.Context(), 1, rec, store.Pair{}))
	}
	shorten(w)
	must(t, w.at(t, WriteBoth).Flush(t.Context()))
	if left, err := w.old.CountPending(t.Context()); left != 0 || err != nil {
		t.Errorf("after a flush %d are pending, %v", left, err)
	}

	w = raisedTo(t, StopOldWrites, 0)
	for _, id := range manyIDs() {
		rec := copyOf(id, 2, 2, "y")
		rec.Pending = true
		must(t, w.new.CompareAndSwap(t.Context(), rec, store.Pair{}))
	}
	shorten(w)
	_, err := ReturnPrimary(t.Context(), w.old, w.new, quickReturn())
	must(t, err)
	found, _, err := w.old.Get(t.Context(), manyIDs()...)
	must(t, err)
	if len(found) != 20 {
		t.Errorf("after the return old has %d of 20 records", len(found))
	}
}
