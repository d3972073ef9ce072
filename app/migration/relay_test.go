package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
)

// A backlog longer than the relay's batch goes over in one flush, in either
// direction, and nothing is pending then.
func TestFlushSendsMoreThanABatch(t *testing.T) {
	const many = 2*relayBatch + 5
	for _, primary := range []store.Primary{store.PrimaryOld, store.PrimaryNew} {
		t.Run(string(primary), func(t *testing.T) {
			w := raisedTo(t, NewPrimary, 0)
			s := w.at(t, ReadBoth)
			epoch := int64(1)
			if primary == store.PrimaryNew {
				must(t, w.at(t, NewPrimary).Advance(t.Context()))
				epoch = 2
			}
			var ids []record.ID
			for i := range many {
				rec := copyOf(record.ID(fmt.Sprintf("p-%03d", i)), 1, epoch, "x")
				rec.Pending = true
				ids = append(ids, rec.ID)
				if primary == store.PrimaryNew {
					must(t, w.new.CompareAndSwap(t.Context(), rec, store.Pair{}))
				} else {
					must(t, w.old.CompareAndSwap(t.Context(), epoch, rec, store.Pair{}))
				}
			}
			must(t, s.Flush(t.Context()))
			var got map[record.ID]store.Record
			var left int64
			var err error
			if primary == store.PrimaryNew {
				got, _, err = w.old.Get(t.Context(), ids...)
				must(t, err)
				left, err = w.new.CountPending(t.Context())
			} else {
				got, err = w.new.Get(t.Context(), ids...)
				must(t, err)
				left, err = w.old.CountPending(t.Context())
			}
			must(t, err)
			if len(got) != many || left != 0 {
				t.Errorf("%d of %d went over, %d are still pending", len(got), many, left)
			}
			if moved, failed := s.relay.status(); moved < many || failed != "" {
				t.Errorf("the relay says it carried %d (%s)", moved, failed)
			}
		})
	}
}

// A record that new can't hold is marked, and leaves the others no longer pending.
func TestFlushGoesOnPastAnUnfitRecord(t *testing.T) {
	w := raisedTo(t, WriteBoth, 0)
	w.new = picky{w.new}
	for id, body := range map[string]string{"a": "fit", "b": "unfit", "c": "fit"} {
		rec := copyOf(record.ID(id), 1, 1, body)
		rec.Pending = true
		must(t, w.old.CompareAndSwap(t.Context(), 1, rec, store.Pair{}))
	}
	must(t, w.at(t, WriteBoth).relayPass(t.Context()))
	page, _, err := w.old.Pending(t.Context(), "", 10)
	must(t, err)
	rows, n, err := w.old.Quarantine(t.Context(), 0)
	must(t, err)
	if len(page.Records) != 0 || n != 1 || rows[0].ID != "b" {
		t.Errorf("pending after one pass: %+v; in quarantine: %+v", page.Records, rows)
	}
}

// A backfill is not complete before every row is decided on. The tombstone that
// decides is final under the epoch of the backfill's page, as the other copies are.
func TestTheTombstoneOfAnUnfitRecordIsFinal(t *testing.T) {
	w := raisedTo(t, NewPrimary, 0)
	must(t, w.old.CompareAndSwap(t.Context(), 1, copyOf("b", 1, 1, "unfit"), store.Pair{}))
	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	w.new = picky{w.new}
	res, err := CopyAll(t.Context(), w.old, w.new, BackfillOptions{})
	must(t, err)
	if res.Complete || res.Quarantine != 1 {
		t.Errorf("undecided: %+v", res)
	}
	remove(t, w.at(t, NewPrimary), "b")
	res, err = CopyAll(t.Context(), w.old, w.new, BackfillOptions{})
	must(t, err)
	recs, err := w.new.Get(t.Context(), "b")
	must(t, err)
	if b := recs["b"]; !res.Complete || !b.Deleted || b.Pair != (store.Pair{Rev: 2, Epoch: 2}) {
		t.Errorf("%+v, and new holds %+v", res, b)
	}
}

// Steps 3 to 5 send on what is pending in the primary, and no other step does.
func TestWhoSendsOnWhatIsPending(t *testing.T) {
	for step := DeployNew; step <= RemoveOld; step++ {
		w := raisedTo(t, NewPrimary, 0)
		w.leave(t, 1)
		if step > NewPrimary {
			must(t, w.at(t, NewPrimary).Advance(t.Context()))
		}
		s := w.at(t, step)
		must(t, s.Flush(t.Context()))
		s.endWatches()
		if left, _ := pending(t, w); (left == 0) != (step >= WriteBoth && step <= NewPrimary) {
			t.Errorf("step %d: %d are pending", step, left)
		}
	}
}

// With nothing pending the relay writes nothing, but while new is known to ail: then
// it finds out whether that takes writes again. It sends nothing from a database of
// another migration.
func TestThePassesOfAnIdleRelay(t *testing.T) {
	w := raisedTo(t, WriteBoth, 0)
	f := &failAt{}
	f.between(w)
	s := w.at(t, WriteBoth)
	f.took()
	must(t, s.relayPass(t.Context()))
	if ws := writes(f.took()); len(ws) != 0 {
		t.Errorf("all is well: it calls %v", ws)
	}
	s.newBreaker.failed(errDown)
	must(t, s.relayPass(t.Context()))
	if calls := f.took(); !slices.Contains(calls, "new.Probe") || !s.newBreaker.well() {
		t.Errorf("new was ailing: it calls %v", calls)
	}
	s.old = memory.NewOld("another")
	if err := s.relayPass(t.Context()); !errors.Is(err, store.ErrStranger) {
		t.Errorf("another's old database: %v", err)
	}
}

// flippingOld has another instance make new the primary while the outbox is read.
type flippingOld struct {
	oldStore
	move func()
}

func (o *flippingOld) Pending(ctx context.Context, after record.ID, limit int) (recordPage, store.Fence, error) {
	page, f, err := o.oldStore.Pending(ctx, after, limit)
	if o.move != nil {
		o.move()
		o.move = nil
	}
	return page, f, err
}

// What is to be cleared is what is pending in the primary at the end: when that moves
// meanwhile, the new one's outbox counts.
func TestClearedUnderAnotherPrimary(t *testing.T) {
	w := raisedTo(t, NewPrimary, 0)
	o := &flippingOld{oldStore: w.old}
	o.move = func() {
		must(t, w.at(t, NewPrimary).Advance(t.Context()))
		rec := copyOf("a", 1, 2, "x")
		rec.Pending = true
		must(t, w.new.CompareAndSwap(t.Context(), rec, store.Pair{}))
	}
	s := w.at(t, ReadBoth)
	s.old = o
	must(t, s.cleared(t.Context()))
	if _, left := pending(t, w); left != 0 {
		t.Errorf("%d are pending in the new primary", left)
	}
}

// restlessOld has every record change while it is sent: no mark is taken back.
type restlessOld struct{ oldStore }

func (restlessOld) ClearPending(context.Context, ...store.Mark) error { return nil }

// A pass of the relay meets each record once, also those that change meanwhile.
func TestAPassOfTheRelayEnds(t *testing.T) {
	w := raisedTo(t, WriteBoth, 0)
	for n := range relayBatch + 5 {
		w.leave(t, n)
	}
	s := w.at(t, WriteBoth)
	s.old = restlessOld{w.old}
	must(t, s.relayPass(t.Context()))
	if moved, _ := s.relay.status(); moved != relayBatch+5 {
		t.Errorf("it sent %d records", moved)
	}
}
