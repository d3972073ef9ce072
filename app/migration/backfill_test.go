package migration

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
)

// Nothing is copied, verified or returned between databases that don't belong
// together.
func TestStrangersAreNotCopied(t *testing.T) {
	w := raisedTo(t, NewPrimary, 3)
	stranger := memory.NewNew()
	must(t, stranger.Prepare(t.Context(), "another"))
	for what, do := range map[string]func() error{
		"backfill": func() error { _, err := CopyAll(t.Context(), w.old, stranger, BackfillOptions{}); return err },
		"verify":   func() error { _, err := Verify(t.Context(), w.old, stranger, VerifyOptions{}); return err },
		"return": func() error {
			_, err := ReturnPrimary(t.Context(), w.old, stranger, ReturnOptions{Token: "t"})
			return err
		},
	} {
		if err := do(); !errors.Is(err, store.ErrStranger) {
			t.Errorf("%s: %v, want ErrStranger", what, err)
		}
	}
	recs, err := stranger.Get(t.Context(), w.ids...)
	if err != nil || len(recs) > 0 {
		t.Errorf("the stranger has %d records (%v)", len(recs), err)
	}
}

// sweptOld has rows that a foreign writer removed unseen.
type sweptOld struct {
	oldStore
	n int64
}

func (o sweptOld) Sweep(context.Context) (int64, error) { return o.n, nil }

// A rescan begins at the first record, whatever checkpoint or mark there is,
// and counts from nought.
func TestRescanBeginsAtTheFirstRecord(t *testing.T) {
	w := raisedTo(t, NewPrimary, 10)
	stop := errors.New("killed")
	pages := 0
	killed := func(context.Context, int) error {
		if pages++; pages > 1 {
			return stop
		}
		return nil
	}
	if _, err := CopyAll(t.Context(), w.old, w.new, BackfillOptions{Batch: 4, Throttle: killed}); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	w.put(t, store.PrimaryOld, copyOf(w.ids[0], 2, 1, "changed by a program that knows nothing of us"))
	var seen []int64
	res, err := CopyAll(t.Context(), sweptOld{w.old, 3}, w.new, BackfillOptions{Batch: 4, Rescan: true, Progress: func(p Pass) { seen = append(seen, p.Done) }})
	must(t, err)
	if res.Resumed || res.Copied != 10 || res.Swept != 3 || len(seen) != 3 || seen[0] != 4 {
		t.Errorf("%+v, pages ended at %v; want ten from the first on", res, seen)
	}
	recs, err := w.new.Get(t.Context(), w.ids[0])
	must(t, err)
	if got := recs[w.ids[0]].Rev; got != 2 {
		t.Errorf("the first record is at rev %d in new, want 2", got)
	}
	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	for _, c := range []struct{ rescan, already bool }{{false, false}, {false, true}, {true, false}} {
		res, err := CopyAll(t.Context(), w.old, w.new, BackfillOptions{Rescan: c.rescan})
		must(t, err)
		if res.Already != c.already || !res.Complete || res.Copied != 10 {
			t.Errorf("rescan %v: %+v", c.rescan, res)
		}
	}
}

// A page without records costs no allowance, and sends nothing.
func TestAnEmptyPageIsNotThrottled(t *testing.T) {
	w := raisedTo(t, WriteBoth, 0)
	_, n := w.faulty()
	n.put = errDown
	res, err := CopyAll(t.Context(), w.old, w.new, BackfillOptions{Throttle: func(_ context.Context, n int) error {
		return fmt.Errorf("%d records were asked for", n)
	}})
	if err != nil || res.Copied != 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

// rewrittenOld has another writer replace a record as soon as it was marked.
type rewrittenOld struct{ oldStore }

func (o rewrittenOld) Isolate(ctx context.Context, epoch int64, mark store.Mark, reason string) error {
	if err := o.oldStore.Isolate(ctx, epoch, mark, reason); err != nil {
		return err
	}
	recs, fence, err := o.Get(ctx, mark.ID)
	if err != nil {
		return err
	}
	next := recs[mark.ID]
	was := next.Pair
	next.Rev, next.Deleted, next.Pending, next.Body = next.Rev+1, false, true, record.Body("0;")
	return o.CompareAndSwap(ctx, fence.Epoch, next, was)
}

// What another writer has made of a record that was marked is not marked with it: it
// is pending, and the relay meets it.
func TestIsolationLeavesWhatComesAfter(t *testing.T) {
	w := raisedTo(t, WriteBoth, 1)
	w.new = pickyNew{w.new}
	_, err := CopyAll(t.Context(), rewrittenOld{w.old}, w.new, BackfillOptions{})
	must(t, err)
	recs, _, err := w.old.Get(t.Context(), w.ids[0])
	must(t, err)
	rows, _, err := w.old.Quarantine(t.Context(), 0)
	must(t, err)
	if r := recs[w.ids[0]]; r.Deleted || r.Body != "0;" || !r.Pending || r.Unfit != "" || len(rows) != 0 {
		t.Errorf("old has %+v, and %d rows are in quarantine", r, len(rows))
	}
}
