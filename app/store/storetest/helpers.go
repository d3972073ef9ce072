package storetest

import (
	"fmt"
	"strings"

	"github.com/google/go-cmp/cmp"

	"migrate/app/store"
	"migrate/app/task"
)

func pair(rev, epoch int64) store.Pair { return store.Pair{Rev: rev, Epoch: epoch} }

// record returns a live one, whose body tells which copy it is.
func record(id string, rev, epoch int64) Record {
	return Record{
		ID: id, Pair: pair(rev, epoch), Request: "made of " + clip(id),
		Body: task.Task{Assignee: "bill", Description: fmt.Sprintf("rev %d of epoch %d", rev, epoch)},
	}
}

func tombstone(id string, rev, epoch int64) Record {
	r := record(id, rev, epoch)
	r.Deleted, r.Body = true, task.Task{}
	return r
}

func pending(r Record) Record {
	r.Pending = true
	return r
}

func put(t T, s Records, recs ...Record) {
	t.Helper()
	if err := s.PutIfNewer(t.Context(), recs...); err != nil {
		t.Fatalf("PutIfNewer: %v", err)
	}
}

func swap(t T, s Records, rec Record, expect store.Pair) {
	t.Helper()
	if err := s.CompareAndSwap(t.Context(), rec, expect); err != nil {
		t.Fatalf("CompareAndSwap %q %v -> %v: %v", clip(rec.ID), expect, rec.Pair, err)
	}
}

// holds checks that exactly these records are there, tombstones included.
func holds(t T, s Records, want ...Record) {
	t.Helper()
	got, err := scanAll(t.Context(), s)
	if err != nil {
		t.Fatalf("Scan: %v", err)
	}
	same(t, "the store's records", got, want)
	ids := make([]string, 0, len(want))
	for _, r := range want {
		ids = append(ids, r.ID)
	}
	found, err := s.Get(t.Context(), ids...)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	if len(found) != len(want) {
		t.Errorf("Get found %d records, want %d", len(found), len(want))
	}
	for _, r := range want {
		if found[r.ID] != r {
			t.Errorf("Get: %s", cmp.Diff(r, found[r.ID]))
		}
	}
}

func same(t T, what string, got, want []Record) {
	t.Helper()
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, clip(d))
	}
}

func idsOf(recs []Record) []string {
	ids := make([]string, 0, len(recs))
	for _, r := range recs {
		ids = append(ids, r.ID)
	}
	return ids
}

func sameIDs(t T, what string, got []Record, want ...string) {
	t.Helper()
	if strings.Join(idsOf(got), "\n") != strings.Join(want, "\n") {
		t.Errorf("%s: got %.60q, want %.60q", what, idsOf(got), want)
	}
}

// clip keeps a megabyte out of the test's output.
func clip(s string) string {
	if len(s) > 4000 {
		return strings.ToValidUTF8(s[:4000], "") + "…"
	}
	return s
}
