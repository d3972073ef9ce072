package storetest

import (
	"fmt"

	"pgregory.net/rapid"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/task"
)

func replicateCases() []Case[Records] {
	return []Case[Records]{
		{Name: "PutIfNewer applies what is newer, rev first", Run: putNewer},
		{Name: "PutIfNewer carries tombstones and never sets pending", Run: putTombstone},
		{Name: "PutIfNewer ends at the greatest pair in any order", Run: putAnyOrder},
		{Name: "PutIfNewer of many, and of none", Run: putMany},
	}
}

func putNewer(t T, s Records) {
	other := pending(live("b", 1, 1))
	swap(t, s, other, store.Pair{})
	held := live("a", 5, 5)
	put(t, s, held)
	holds(t, s, held, other)
	for _, p := range []store.Pair{pair(5, 5), pair(4, 9), pair(5, 4), pair(1, 0), pair(4, 5)} {
		late := live("a", p.Rev, p.Epoch)
		late = with(late, func(t *task.Task) { t.Description = "late" })
		late.Request = "late"
		put(t, s, late)
		holds(t, s, held, other)
	}
	for _, p := range []store.Pair{pair(5, 6), pair(6, 0), pair(6, 1), pair(8, 8)} {
		held = live("a", p.Rev, p.Epoch)
		put(t, s, held)
		holds(t, s, held, other)
	}
}

func putTombstone(t T, s Records) {
	put(t, s, pending(live("a", 1, 1)))
	holds(t, s, live("a", 1, 1))
	put(t, s, pending(tombstone("a", 2, 1)), pending(tombstone("b", 3, 1)))
	holds(t, s, tombstone("a", 2, 1), tombstone("b", 3, 1))
	// An older copy must not bring it back.
	put(t, s, live("a", 1, 9))
	holds(t, s, tombstone("a", 2, 1), tombstone("b", 3, 1))
	// A newer copy over a pending one: what was pending no longer exists.
	swap(t, s, pending(live("c", 1, 1)), store.Pair{})
	put(t, s, pending(live("c", 1, 2)))
	holds(t, s, tombstone("a", 2, 1), tombstone("b", 3, 1), live("c", 1, 2))
	// An equal one is not newer and leaves pending alone.
	swap(t, s, pending(live("d", 1, 1)), store.Pair{})
	put(t, s, live("d", 1, 1))
	holds(t, s, tombstone("a", 2, 1), tombstone("b", 3, 1), live("c", 1, 2), pending(live("d", 1, 1)))
}

// putAnyOrder draws copies of one record and puts them, some twice, in batches
// of any size: the greatest pair is left, whatever came first.
func putAnyOrder(t T, s Records) {
	n := 0
	ctx := t.Context()
	rapid.Check(t, func(r *rapid.T) {
		n++
		id := fmt.Sprintf("drawn-%06d", n)
		copies := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) Record {
			rev, epoch := rapid.Int64Range(1, 4).Draw(r, "rev"), rapid.Int64Range(0, 3).Draw(r, "epoch")
			// The content follows from the pair, as it does in the protocol.
			if rapid.Bool().Draw(r, "deleted") {
				return tombstone(id, rev*2+1, epoch)
			}
			return live(id, rev*2, epoch)
		}), 1, 6).Draw(r, "copies")
		want := copies[0]
		for _, c := range copies {
			if c.Newer(want.Pair) {
				want = c
			}
		}
		for rest := copies; len(rest) > 0; {
			batch := rapid.IntRange(1, len(rest)).Draw(r, "batch")
			for range rapid.IntRange(1, 2).Draw(r, "times") {
				if err := s.PutIfNewer(ctx, rest[:batch]...); err != nil {
					r.Fatalf("PutIfNewer: %v", err)
				}
			}
			rest = rest[batch:]
		}
		found, err := s.Get(ctx, key(id))
		if err != nil {
			r.Fatalf("Get: %v", err)
		}
		if found[key(id)] != want {
			r.Fatalf("after %v: got %+v, want %+v", copies, found[key(id)], want)
		}
	})
}

func putMany(t T, s Records) {
	put(t, s)
	holds(t, s)
	// Of 300, a third is absent, a third older and a third newer than the batch's.
	var want, batch []Record
	for i := range 300 {
		id := fmt.Sprintf("%04d", i)
		switch i % 3 {
		case 1:
			put(t, s, live(id, 1, 1))
		case 2:
			put(t, s, live(id, 3, 1))
		}
		batch = append(batch, live(id, 2, 2))
		if i%3 == 2 {
			want = append(want, live(id, 3, 1))
		} else {
			want = append(want, live(id, 2, 2))
		}
	}
	put(t, s, batch...)
	holds(t, s, want...)
	put(t, s, batch...)
	holds(t, s, want...)
}
