package migration

import (
	"errors"
	"fmt"
	"testing"

	"migrate/app/store"
)

// A new database that is too busy to take a whole page in its time gets smaller
// ones, so that a backfill ends; one that takes nothing is given up on.
func TestBackfillGoesDownToWhatNewCanTake(t *testing.T) {
	w := raisedTo(t, NewPrimary, 100)
	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	most, calls := 30, 0
	busy := yieldingNew{newStore: w.new, put: func(next func(...store.Record[journal]) error, recs []store.Record[journal]) error {
		if calls++; len(recs) > most {
			return fmt.Errorf("%w: no answer in time", store.ErrUnknown)
		}
		return next(recs...)
	}}
	res, err := CopyAll(t.Context(), w.old, busy, BackfillOptions{Batch: 80})
	must(t, err)
	if res.Copied != 100 || !res.Complete {
		t.Errorf("%+v; want 100 copied and the mark", res)
	}
	recs, err := w.new.Get(t.Context(), w.ids...)
	must(t, err)
	if len(recs) != 100 {
		t.Errorf("new has %d records, want 100", len(recs))
	}
	if calls > 1+6 { // once too many, then by twenty
		t.Errorf("%d calls: what was too many once was tried again", calls)
	}
	most, calls = 0, 0
	if _, err = CopyAll(t.Context(), w.old, busy, BackfillOptions{Batch: 80, Rescan: true}); !errors.Is(err, store.ErrUnknown) || calls != 3 {
		t.Errorf("a database that takes nothing: %v after %d calls; want ErrUnknown after 80, 20 and 10", err, calls)
	}
}
