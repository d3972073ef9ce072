package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

func fenceCases() []Case[Old] {
	return []Case[Old]{
		{Name: "the fence starts at epoch 1, primary old, open", Run: fenceStarts},
		{Name: "MoveFence swaps the whole fence", Run: fenceMoves},
		{Name: "of many who move the fence, one does", Run: fenceRace},
		{Name: "reads return the fence", Run: fenceWithReads},
		{Name: "a write planned under another epoch changes nothing", Run: fenceStale},
		{Name: "a closing fence lets its own epoch replicate", Run: fenceClosing},
		{Name: "no write slips past a moving fence", Run: fenceAgainstWrites},
		{Name: "a store that nobody else touched is guarded and filled", Run: undisturbed},
	}
}

func fence(t T, s Old) store.Fence {
	t.Helper()
	f, err := s.Fence(t.Context())
	if err != nil {
		t.Fatalf("Fence: %v", err)
	}
	return f
}

func move(t T, s Old, to store.Fence) {
	t.Helper()
	if err := s.MoveFence(t.Context(), fence(t, s), to); err != nil {
		t.Fatalf("MoveFence to %+v: %v", to, err)
	}
}

// sameFence compares deadlines as moments: a database keeps no time zone.
func sameFence(t T, what string, got, want store.Fence) {
	t.Helper()
	if !got.Deadline.Equal(want.Deadline) || got.Deadline.IsZero() != want.Deadline.IsZero() {
		t.Errorf("%s: deadline %v, want %v", what, got.Deadline, want.Deadline)
	}
	got.Deadline, want.Deadline = time.Time{}, time.Time{}
	if got != want {
		t.Errorf("%s: %+v, want %+v", what, got, want)
	}
}

func fenceStarts(t T, s Old) {
	f := fence(t, s)
	if f.Migration == "" {
		t.Errorf("no migration id")
	}
	sameFence(t, "at the start", f, store.Fence{Migration: f.Migration, Epoch: 1, Primary: store.PrimaryOld})
}

func fenceMoves(t T, s Old) {
	id := fence(t, s).Migration
	deadline := time.UnixMilli(1_900_000_000_123)
	for _, to := range []store.Fence{
		{Epoch: 2, Primary: store.PrimaryNew},
		{Epoch: 2, Primary: store.PrimaryNew, Closing: true, Token: "mine", Deadline: deadline},
		{Epoch: 2, Primary: store.PrimaryNew},
		{Epoch: 2, Primary: store.PrimaryNew, Closing: true, Token: "yours", Deadline: deadline.Add(time.Hour)},
		{Epoch: 3, Primary: store.PrimaryOld},
		{Epoch: 9, Primary: store.PrimaryNew, Migration: "another"},
	} {
		from := fence(t, s)
		for _, wrong := range []func(*store.Fence){
			func(f *store.Fence) { f.Epoch++ },
			func(f *store.Fence) { f.Epoch-- },
			func(f *store.Fence) { f.Closing = !f.Closing },
			func(f *store.Fence) { f.Token += "x" },
			func(f *store.Fence) {
				f.Primary = map[store.Primary]store.Primary{store.PrimaryOld: store.PrimaryNew, store.PrimaryNew: store.PrimaryOld}[f.Primary]
			},
		} {
			other := from
			wrong(&other)
			wantErr(t, fmt.Sprintf("MoveFence from %+v", other), s.MoveFence(t.Context(), other, to), store.ErrFenceMoved)
			sameFence(t, "after a move from another", fence(t, s), from)
		}
		move(t, s, to)
		to.Migration = id
		sameFence(t, "after the move", fence(t, s), to)
	}
}

func fenceRace(t T, s Old) {
	var errs errorList
	for range 5 {
		from := fence(t, s)
		var won atomic.Int64
		race(rivals, func(i int) {
			to := store.Fence{Epoch: from.Epoch + 1, Primary: store.PrimaryNew, Token: fmt.Sprint(i)}
			switch err := s.MoveFence(t.Context(), from, to); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, store.ErrFenceMoved):
				errs.add(err)
			}
		})
		errs.report(t)
		if n := won.Load(); n != 1 {
			t.Errorf("the fence was moved from epoch %d by %d", from.Epoch, n)
		}
	}
}

func fenceWithReads(t T, s Old) {
	check := func() {
		t.Helper()
		want := fence(t, s)
		_, f, err := s.Get(t.Context(), key("a"))
		sameFence(t, fmt.Sprint("Get, ", err), f, want)
		_, f, err = s.Get(t.Context())
		sameFence(t, fmt.Sprint("Get of nothing, ", err), f, want)
		_, f, err = s.List(t.Context(), record.Filter{}, "", 10)
		sameFence(t, fmt.Sprint("List, ", err), f, want)
		_, f, err = s.Scan(t.Context(), "", 10)
		sameFence(t, fmt.Sprint("Scan, ", err), f, want)
		_, f, err = s.Pending(t.Context(), "", 10)
		sameFence(t, fmt.Sprint("Pending, ", err), f, want)
	}
	check()
	move(t, s, store.Fence{Epoch: 2, Primary: store.PrimaryNew, Closing: true, Token: "t", Deadline: time.UnixMilli(1_900_000_000_000)})
	check()
}

func fenceStale(t T, s Old) {
	ctx := t.Context()
	a := pending(live("a", 1, 1))
	swap(t, planned{s, 1}, a, store.Pair{})
	refused := func(epoch int64) {
		t.Helper()
		wantErr(t, "swap", s.CompareAndSwap(ctx, epoch, live("a", 2, epoch), a.Pair), store.ErrFenceMoved)
		wantErr(t, "create", s.CompareAndSwap(ctx, epoch, live("b", 1, epoch), store.Pair{}), store.ErrFenceMoved)
		wantErr(t, "put", s.PutIfNewer(ctx, epoch, live("a", 9, 9), live("c", 1, 9)), store.ErrFenceMoved)
		wantErr(t, "put together", s.PutTogether(ctx, epoch, live("a", 9, 9), live("c", 1, 9)), store.ErrFenceMoved)
		wantErr(t, "isolate", s.Isolate(ctx, epoch, a.Mark(), "x"), store.ErrConflict)
		holds(t, planned{s, epoch}, a)
	}
	refused(2)
	refused(0)
	move(t, s, store.Fence{Epoch: 2, Primary: store.PrimaryNew})
	refused(1)
	// The same primary as at first, and yet another time.
	move(t, s, store.Fence{Epoch: 3, Primary: store.PrimaryOld})
	refused(1)
	refused(2)
	next := live("a", 2, 3)
	swap(t, planned{s, 3}, next, a.Pair)
	holds(t, planned{s, 3}, next)
}

func fenceClosing(t T, s Old) {
	swap(t, planned{s, 1}, pending(live("a", 1, 1)), store.Pair{})
	move(t, s, store.Fence{Epoch: 2, Primary: store.PrimaryNew})
	put(t, planned{s, 2}, live("a", 2, 2))
	move(t, s, store.Fence{Epoch: 2, Primary: store.PrimaryNew, Closing: true, Token: "t", Deadline: time.UnixMilli(1_900_000_000_000)})
	put(t, planned{s, 2}, tombstone("a", 3, 2), live("b", 1, 2))
	holds(t, planned{s, 2}, tombstone("a", 3, 2), live("b", 1, 2))
	swap(t, planned{s, 2}, pending(live("c", 1, 2)), store.Pair{})
	// The outbox is emptied under any fence.
	if err := s.ClearPending(t.Context(), store.Mark{ID: key("c"), Pair: pair(1, 2)}); err != nil {
		t.Errorf("ClearPending under a closing fence: %v", err)
	}
	wantPending(t, planned{s, 2})
}

// fenceAgainstWrites moves the fence among writes: those that were granted
// under an epoch were committed before the move, so a read after it has them all.
func fenceAgainstWrites(t T, s Old) {
	var (
		errs    errorList
		granted atomic.Int64 // the greatest rev granted under epoch 1
		seen    store.Pair
	)
	const id = "contended"
	swap(t, planned{s, 1}, live(id, 1, 1), store.Pair{})
	granted.Store(1)
	race(2, func(i int) {
		if i == 1 {
			for granted.Load() < 5 && t.Context().Err() == nil {
				time.Sleep(time.Millisecond) // until the writer is under way
			}
			if err := s.MoveFence(t.Context(), store.Fence{Epoch: 1, Primary: store.PrimaryOld}, store.Fence{Epoch: 2, Primary: store.PrimaryNew}); err != nil {
				errs.add(fmt.Errorf("MoveFence: %w", err))
			}
			found, _, err := s.Get(context.WithoutCancel(t.Context()), key(id))
			if err != nil {
				errs.add(err)
			}
			seen = found[key(id)].Pair
			return
		}
		for rev := int64(1); rev < 100_000; rev++ {
			err := s.CompareAndSwap(t.Context(), 1, live(id, rev+1, 1), pair(rev, 1))
			if errors.Is(err, store.ErrFenceMoved) {
				return
			}
			if err != nil {
				errs.add(err)
				granted.Store(5)
				return
			}
			granted.Store(rev + 1)
		}
		errs.add(errors.New("100,000 writes and no moved fence"))
	})
	errs.report(t)
	found, f, err := s.Get(t.Context(), key(id))
	if err != nil || f.Epoch != 2 || found[key(id)].Rev != granted.Load() || found[key(id)].Pair != seen {
		t.Errorf("granted up to rev %d; seen after the move: %v; now %v under %+v, %v", granted.Load(), seen, found[key(id)].Pair, f, err)
	}
}

func undisturbed(t T, s Old) {
	put(t, planned{s, 1}, live("a", 1, 1), tombstone("b", 2, 1))
	if f, ok := store.As[store.Foreign](s); ok {
		if err := f.Guarded(t.Context()); err != nil {
			t.Errorf("Guarded: %v", err)
		}
		if err := f.Filled(t.Context()); err != nil {
			t.Errorf("Filled: %v", err)
		}
		if n, err := f.Sweep(t.Context()); err != nil || n != 0 {
			t.Errorf("Sweep: %d, %v", n, err)
		}
	}
	if l, ok := store.As[store.Legacy](s); ok {
		if rows, n, err := l.Converted(t.Context(), 10); err != nil || n != 0 || len(rows) != 0 {
			t.Errorf("Converted: %v, %d, %v", rows, n, err)
		}
		wantQuarantine(t, l)
	}
	holds(t, planned{s, 1}, live("a", 1, 1), tombstone("b", 2, 1))
}
