package migration

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

func remove(t *testing.T, s *service, id record.ID) {
	t.Helper()
	_, err := s.Apply(t.Context(), id, false, func(cur store.Record, found bool) (store.Record, bool, error) {
		if !found || cur.Deleted {
			return cur, false, errors.New("nothing to delete")
		}
		cur.Deleted = true
		return cur, true, nil
	})
	must(t, err)
}

// put places a copy in one of the databases, past the service.
func (w *world) put(t *testing.T, primary store.Primary, rec store.Record) {
	t.Helper()
	if primary == store.PrimaryNew {
		must(t, w.new.PutIfNewer(t.Context(), rec))
		return
	}
	f, err := w.old.Fence(t.Context())
	must(t, err)
	must(t, w.old.PutIfNewer(t.Context(), f.Epoch, rec))
}

func copyOf(id record.ID, rev, epoch int64, body string) store.Record {
	return store.Record{ID: id, Pair: store.Pair{Rev: rev, Epoch: epoch}, Body: record.Body(body), Deleted: body == ""}
}

// A tombstone in one database hides the other's stale copy, in lists and reads,
// and a deleted record stays deleted to the end.
func TestTombstonesHideStaleCopies(t *testing.T) {
	for _, step := range []Step{ReadBoth, NewPrimary, StopOldWrites, Backfill} {
		w := raisedTo(t, StopOldWrites, 0)
		w.put(t, store.PrimaryNew, copyOf("a", 1, 1, "stale"))
		w.put(t, store.PrimaryOld, copyOf("a", 2, 1, "")) // deleted in old
		w.put(t, store.PrimaryOld, copyOf("b", 1, 1, "stale"))
		w.put(t, store.PrimaryNew, copyOf("b", 2, 2, "")) // deleted in new
		w.put(t, store.PrimaryOld, copyOf("c", 1, 0, "only old"))
		w.put(t, store.PrimaryNew, copyOf("d", 5, 2, "only new"))
		w.put(t, store.PrimaryNew, copyOf("e", 3, 2, "final"))
		w.put(t, store.PrimaryOld, copyOf("e", 3, 1, "final"))
		w.put(t, store.PrimaryNew, copyOf("f", 1, 1, "older"))
		w.put(t, store.PrimaryOld, copyOf("f", 2, 1, "newer"))
		s := w.at(t, step)
		for _, limit := range []int{1, 2, 10} {
			got, after := "", ""
			for {
				page, err := s.List(t.Context(), record.Filter{}, record.ID(after), limit)
				must(t, err)
				for _, r := range page.Records {
					got += string(r.ID) + "=" + string(r.Body) + ";"
				}
				if page.End {
					break
				}
				after = string(page.Next)
			}
			if want := "c=only old;d=only new;e=final;f=newer;"; got != want {
				t.Errorf("step %d, pages of %d: %s, want %s", step, limit, got, want)
			}
		}
		for id, want := range map[string]bool{"a": true, "b": true, "c": false} {
			rec, found, err := s.Get(t.Context(), record.ID(id))
			must(t, err)
			if !found || rec.Deleted != want {
				t.Errorf("step %d: %s found %v, deleted %v; want a tombstone: %v", step, id, found, rec.Deleted, want)
			}
		}
	}
}

func TestDeletedStaysDeletedThroughTheWalk(t *testing.T) {
	w := newWorld(t, 3)
	must(t, w.at(t, AddDAO).Prepare(t.Context()))
	remove(t, w.at(t, DeployNew), w.ids[0])
	_, err := CopyAll(t.Context(), w.old, w.new, BackfillOptions{})
	must(t, err)
	remove(t, w.at(t, WriteBoth), w.ids[1])
	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	remove(t, w.at(t, StopOldWrites), w.ids[2])
	_, err = CopyAll(t.Context(), w.old, w.new, BackfillOptions{})
	must(t, err)
	last := w.at(t, RemoveOld)
	for _, id := range w.ids {
		if rec, found, err := last.Get(t.Context(), id); err != nil || !found || !rec.Deleted {
			t.Errorf("%s at step 8: found %v, deleted %v, %v; want a tombstone", id, found, rec.Deleted, err)
		}
	}
}

func TestBackfillResumesAndStartsAgainUnderAnotherEpoch(t *testing.T) {
	w := raisedTo(t, NewPrimary, 10)
	stop := errors.New("killed")
	pages := 0
	_, err := CopyAll(t.Context(), w.old, w.new, BackfillOptions{Batch: 3, Throttle: func(context.Context, int) error {
		if pages++; pages > 2 {
			return stop
		}
		return nil
	}})
	if !errors.Is(err, stop) {
		t.Fatalf("got %v", err)
	}
	res, err := CopyAll(t.Context(), w.old, w.new, BackfillOptions{Batch: 3})
	must(t, err)
	if !res.Resumed || res.Copied != 10 || res.Complete {
		t.Errorf("the next run: %+v; want it resumed, 10 copied, not complete under old", res)
	}
	recs, err := w.new.Get(t.Context(), w.ids...)
	must(t, err)
	for _, id := range w.ids {
		if r := recs[id]; r.Pair != (store.Pair{Rev: 1}) {
			t.Errorf("%s went over as %v; under old a copy keeps its own epoch", id, r.Pair)
		}
	}
	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	res, err = CopyAll(t.Context(), w.old, w.new, BackfillOptions{Batch: 3})
	must(t, err)
	if res.Resumed || res.Copied != 10 || !res.Complete {
		t.Errorf("under the next epoch: %+v; want all of it again and the mark", res)
	}
	if p, _ := w.new.Progress(t.Context(), 1); p.Complete {
		t.Error("the epoch of old has a completion mark")
	}
	recs, err = w.new.Get(t.Context(), w.ids...)
	must(t, err)
	for _, id := range w.ids {
		if r := recs[id]; r.Pair != (store.Pair{Rev: 1, Epoch: 2}) {
			t.Errorf("%s is %v; want it final under epoch 2", id, r.Pair)
		}
	}
}

// The fence moves between two pages: what was begun under old must not be
// marked complete under new.
func TestBackfillNoticesAFlipBetweenPages(t *testing.T) {
	w := raisedTo(t, NewPrimary, 9)
	flipper := w.at(t, NewPrimary)
	flipped := false
	res, err := CopyAll(t.Context(), w.old, w.new, BackfillOptions{Batch: 4, Throttle: func(ctx context.Context, _ int) error {
		if flipped {
			return nil
		}
		flipped = true
		return flipper.Advance(ctx)
	}})
	must(t, err)
	if res.Epoch != 2 || res.Copied != 9 || !res.Complete || res.Resumed {
		t.Errorf("got %+v; want all nine again under epoch 2", res)
	}
}

func TestVerifyNamesWhatItFinds(t *testing.T) {
	cases := []struct {
		name    string
		primary store.Primary
		old     *store.Record
		new     *store.Record
		want    Finding
		clean   bool
	}{
		{"equal, whatever the epochs", store.PrimaryOld, ptr(copyOf("a", 2, 1, "x")), ptr(copyOf("a", 2, 0, "x")), "", true},
		{"equal tombstones", store.PrimaryNew, ptr(copyOf("a", 2, 1, "")), ptr(copyOf("a", 2, 2, "")), "", true},
		{"not copied yet", store.PrimaryOld, ptr(copyOf("a", 1, 0, "x")), nil, FoundBehind, true},
		{"old is behind under new", store.PrimaryNew, ptr(copyOf("a", 1, 0, "x")), ptr(copyOf("a", 2, 2, "y")), FoundBehind, true},
		{"only in old under new", store.PrimaryNew, ptr(copyOf("a", 1, 0, "x")), nil, FoundMissing, false},
		{"newer in old under new", store.PrimaryNew, ptr(copyOf("a", 3, 1, "x")), ptr(copyOf("a", 2, 1, "y")), FoundStale, false},
		{"same pair, other content", store.PrimaryOld, ptr(copyOf("a", 2, 1, "x")), ptr(copyOf("a", 2, 1, "y")), FoundDifferent, false},
		{"same pair, deleted in one", store.PrimaryNew, ptr(copyOf("a", 2, 2, "x")), ptr(copyOf("a", 2, 2, "")), FoundDifferent, false},
		{"same rev, other content, new of a later epoch", store.PrimaryNew, ptr(copyOf("a", 2, 1, "x")), ptr(copyOf("a", 2, 2, "y")), FoundBehind, true},
		{"new ahead under old with the present epoch", store.PrimaryOld, nil, ptr(copyOf("a", 2, 1, "y")), FoundMissing, false},
		{"a late command", store.PrimaryOld, ptr(copyOf("a", 1, 0, "x")), ptr(copyOf("a", 2, 0, "y")), FoundLate, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			step := NewPrimary
			if c.primary == store.PrimaryNew {
				step = StopOldWrites
			}
			w := raisedTo(t, step, 0)
			if c.old != nil {
				w.put(t, store.PrimaryOld, *c.old)
			}
			if c.new != nil {
				w.put(t, store.PrimaryNew, *c.new)
			}
			rep, err := Verify(t.Context(), w.old, w.new, VerifyOptions{})
			must(t, err)
			got := map[Finding]int64{FoundBehind: rep.Behind, FoundMissing: rep.Missing, FoundStale: rep.Stale, FoundLate: rep.Late, FoundDifferent: rep.Different, "": rep.Equal}
			for f, n := range got {
				if want := c.want == f; (n == 1) != want {
					t.Errorf("%d counted as %q; want %q", n, f, c.want)
				}
			}
			if rep.Clean != c.clean {
				t.Errorf("clean %v, want %v", rep.Clean, c.clean)
			}
			p, err := w.new.Progress(t.Context(), rep.Epoch)
			must(t, err)
			if p.Verify == nil || p.Verify.Clean != c.clean {
				t.Errorf("recorded %+v", p.Verify)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

func TestVerifyRepairsButNeverGuesses(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 0)
	w.put(t, store.PrimaryOld, copyOf("missing", 1, 0, "x"))
	w.put(t, store.PrimaryOld, copyOf("stale", 3, 1, "x"))
	w.put(t, store.PrimaryNew, copyOf("stale", 2, 1, "y"))
	w.put(t, store.PrimaryOld, copyOf("odd", 3, 1, "x"))
	w.put(t, store.PrimaryNew, copyOf("odd", 3, 1, "y"))
	rep, err := Verify(t.Context(), w.old, w.new, VerifyOptions{Repair: true, Batch: 1})
	must(t, err)
	if rep.Repaired != 2 || rep.Different != 1 || rep.Clean {
		t.Errorf("got %+v; want two repaired and one different", rep)
	}
	recs, err := w.new.Get(t.Context(), "missing", "stale", "odd")
	must(t, err)
	for id, want := range map[string]string{"missing": "x", "stale": "x", "odd": "y"} {
		if string(recs[record.ID(id)].Body) != want {
			t.Errorf("%s: %q, want %q", id, recs[record.ID(id)].Body, want)
		}
	}
}

// picky is a new store that can't hold some bodies.
type picky struct{ newStore }

func (n picky) PutIfNewer(ctx context.Context, recs ...store.Record) error {
	for _, r := range recs {
		if r.Body == "unfit" {
			return fmt.Errorf("%w: %s", store.ErrUnfit, r.ID)
		}
	}
	return n.newStore.PutIfNewer(ctx, recs...)
}

// What new can't hold is marked, and stays as it is; it stops neither the relay nor
// the backfill.
func TestUnfitRecordsAreIsolated(t *testing.T) {
	for name, carry := range map[string]func(t *testing.T, w *world) error{
		"backfill": func(t *testing.T, w *world) error {
			_, err := CopyAll(t.Context(), w.old, w.new, BackfillOptions{})
			return err
		},
		"relay": func(t *testing.T, w *world) error {
			return w.at(t, WriteBoth).Flush(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := raisedTo(t, WriteBoth, 0)
			w.new = picky{w.new}
			for _, id := range []record.ID{"a", "b", "c"} {
				body := "fit"
				if id == "b" {
					body = "unfit"
				}
				rec := store.Record{ID: id, Pair: store.Pair{Rev: 1, Epoch: 1}, Pending: true, Body: record.Body(body)}
				must(t, w.old.CompareAndSwap(t.Context(), 1, rec, store.Pair{}))
			}
			must(t, carry(t, w))
			recs, err := w.new.Get(t.Context(), "a", "b", "c")
			must(t, err)
			if _, sent := recs["b"]; recs["a"].Body != "fit" || recs["c"].Body != "fit" || sent {
				t.Errorf("new holds %+v", recs)
			}
			olds, _, err := w.old.Get(t.Context(), "b")
			must(t, err)
			if b := olds["b"]; b.Body != "unfit" || b.Pair != (store.Pair{Rev: 1, Epoch: 1}) || b.Pending || b.Unfit == "" {
				t.Errorf("old holds %+v; want the row as it was, marked", b)
			}
			rows, _, err := w.old.Quarantine(t.Context(), 0)
			must(t, err)
			if len(rows) != 1 || rows[0].ID != "b" || rows[0].Reason == "" {
				t.Errorf("quarantine: %+v", rows)
			}
		})
	}
}
