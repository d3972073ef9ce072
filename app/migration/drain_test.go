package migration

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// endlessNew is written to as fast as it is drained.
type endlessNew struct {
	newStore
	left   int64
	rounds int
}

func (n *endlessNew) CountPending(context.Context) (int64, error) {
	n.rounds++
	return n.left, nil
}

// Writes wait only once little is left to send back; where that doesn't come
// about, the return is given up and nothing has changed.
func TestReturnWaitsForASmallBacklog(t *testing.T) {
	for _, c := range []struct {
		left   int64
		rounds int
		want   error
	}{{11, 4, ErrGaveUp}, {10, 1, nil}, {0, 1, nil}} {
		w := raisedTo(t, StopOldWrites, 0)
		endless := &endlessNew{newStore: w.new, left: c.left}
		opt := quickReturn()
		opt.Backlog, opt.Rounds = 10, 4
		res, err := ReturnPrimary(t.Context(), w.old, endless, opt)
		if !errors.Is(err, c.want) || endless.rounds != c.rounds {
			t.Errorf("%d left: %v after %d rounds; want %v after %d", c.left, err, endless.rounds, c.want, c.rounds)
		}
		f := fenceOf(t, w)
		if isNew := f.Primary == store.PrimaryNew; isNew != (c.want != nil) || f.Closing {
			t.Errorf("%d left: the fence is %+v", c.left, f)
		}
		if (res.Pause > 0) != (c.want == nil) {
			t.Errorf("%d left: writes waited %v", c.left, res.Pause)
		}
	}
}

// A backlog of several pages is sent back whole, and is counted.
func TestReturnDrainsSeveralPages(t *testing.T) {
	const many = 2*relayBatch + 5
	w := raisedTo(t, StopOldWrites, 0)
	var ids []record.ID
	for i := range many {
		rec := copyOf(record.ID(fmt.Sprintf("p-%03d", i)), 1, 2, "x")
		rec.Pending = true
		ids = append(ids, rec.ID)
		must(t, w.new.CompareAndSwap(t.Context(), rec, store.Pair{}))
	}
	res, err := ReturnPrimary(t.Context(), w.old, w.new, quickReturn())
	must(t, err)
	recs, _, err := w.old.Get(t.Context(), ids...)
	must(t, err)
	if len(recs) != many || res.Before+res.Closed != many || res.Closed != 0 {
		t.Errorf("%d records came back, %d before and %d while writes waited; want all %d before", len(recs), res.Before, res.Closed, many)
	}
	left, err := w.new.CountPending(t.Context())
	if err != nil || left != 0 {
		t.Errorf("%d are still pending (%v)", left, err)
	}
}
