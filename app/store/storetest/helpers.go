package storetest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-cmp/cmp"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/task"
)

func pair(rev, epoch int64) store.Pair { return store.Pair{Rev: rev, Epoch: epoch} }

// selected is a filter of tasks as the stores know it.
func selected(f task.Filter) record.Filter {
	var conditions []record.Equals
	if f.Assignee != nil {
		conditions = append(conditions, record.Equals{Field: "assignee", Value: record.UncheckedText(*f.Assignee)})
	}
	if f.Done != nil {
		conditions = append(conditions, record.Equals{Field: "done", Value: record.OfBool(*f.Done)})
	}
	filter, err := collection.Filter(conditions...)
	if err != nil {
		panic(err) // both are fields that lists are filtered by
	}
	return filter
}

// taskOf returns the task of a record; the zero one of a tombstone.
func taskOf(r Record) task.Task {
	v := r.Body.Values()
	if len(v) == 0 {
		return task.Task{}
	}
	return task.Task{Assignee: v[0].String(), Description: v[1].String(), Done: v[2].Bool()}
}

// key returns the id with this text.
func key(text string) record.ID {
	id, err := record.NewID(collection.Name, record.UncheckedText(text))
	if err != nil {
		panic(err) // a text always can be one
	}
	return id
}

// live returns a record that is not deleted, whose body tells which copy it is.
func live(id string, rev, epoch int64) Record {
	return Record{
		ID: key(id), Pair: pair(rev, epoch), Request: "made of " + clip(id),
		Body: body(task.Task{Assignee: "bill", Description: fmt.Sprintf("rev %d of epoch %d", rev, epoch)}),
	}
}

func body(t task.Task) record.Body {
	return record.NewBody(record.UncheckedText(t.Assignee), record.UncheckedText(t.Description), record.OfBool(t.Done))
}

// with returns the record with another task.
func with(r Record, edit func(*task.Task)) Record {
	t := taskOf(r)
	edit(&t)
	r.Body = body(t)
	return r
}

func tombstone(id string, rev, epoch int64) Record {
	r := live(id, rev, epoch)
	r.Deleted, r.Body = true, ""
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

// held puts a record. A text with a zero byte may be refused: not every database
// has such texts. Nothing else may.
func held(t T, s Records, r Record) bool {
	t.Helper()
	err := s.PutIfNewer(t.Context(), r)
	if zero(r) && errors.Is(err, store.ErrUnfit) {
		return false
	}
	if err != nil {
		t.Fatalf("PutIfNewer: %v", err)
	}
	return true
}

// zero reports whether a text of the record has a zero byte.
func zero(r Record) bool {
	k := taskOf(r)
	return strings.ContainsRune(r.ID.String()+k.Assignee+k.Description+r.Request, 0)
}

func swap(t T, s Records, rec Record, expect store.Pair) {
	t.Helper()
	if err := s.CompareAndSwap(t.Context(), rec, expect); err != nil {
		t.Fatalf("CompareAndSwap %q %v -> %v: %v", rec.ID, expect, rec.Pair, err)
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
	ids := make([]record.ID, 0, len(want))
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
		ids = append(ids, r.ID.String())
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
