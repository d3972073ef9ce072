package migration

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
)

// More records than a page of either store holds, some in one of them alone,
// some deleted in the other: every list shows each once and in order, whatever
// its limit and wherever it begins.
func TestListsLongerThanAPage(t *testing.T) {
	for _, step := range []Step{ReadBoth, NewPrimary, StopOldWrites, Backfill} {
		w := raisedTo(t, StopOldWrites, 0)
		var want []string
		// More than twice the greatest page, so that a list of 1,000 needs several.
		for i := range 2*pageSize + 4*leastPage {
			id := fmt.Sprintf("r-%04d", i)
			switch {
			case i < pageSize+5 && i%4 == 0: // less is left of new's pages than was asked for
				w.put(t, store.PrimaryNew, copyOf(record.ID(id), 1, 1, "deleted before"))
				w.put(t, store.PrimaryOld, copyOf(record.ID(id), 2, 1, ""))
				continue
			case i < pageSize+5: // new has a full page before old lists a record
				w.put(t, store.PrimaryNew, copyOf(record.ID(id), 1, 2, "new"))
			case i%5 == 0:
				w.put(t, store.PrimaryNew, copyOf(record.ID(id), 2, 2, ""))
				w.put(t, store.PrimaryOld, copyOf(record.ID(id), 1, 1, "deleted since"))
				continue
			case i%5 == 1:
				w.put(t, store.PrimaryOld, copyOf(record.ID(id), 2, 1, ""))
				w.put(t, store.PrimaryNew, copyOf(record.ID(id), 1, 1, "deleted before"))
				continue
			case i%5 == 2:
				w.put(t, store.PrimaryNew, copyOf(record.ID(id), 1, 2, "new"))
			default: // and then old has full pages where new has few
				w.put(t, store.PrimaryOld, copyOf(record.ID(id), 1, 1, "old"))
			}
			want = append(want, id)
		}
		s := w.at(t, step)
		for _, limit := range []int{1, leastPage - 1, leastPage, leastPage + 1, len(want), 1000} {
			for _, from := range []int{0, 1, leastPage, len(want) - 1, len(want)} {
				after := ""
				if from > 0 {
					after = want[from-1]
				}
				page, err := s.List(t.Context(), record.Filter{}, record.ID(after), limit)
				must(t, err)
				var got []string
				for _, r := range page.Records {
					got = append(got, string(r.ID))
				}
				if left := want[from:]; !slices.Equal(got, left[:min(limit, len(left))]) {
					t.Fatalf("step %d, %d after %q: %v", step, limit, after, got)
				}
				if more := from+limit < len(want); more && page.End || from+limit > len(want) && !page.End {
					t.Fatalf("step %d, %d after %q: end %v; there are more: %v", step, limit, after, page.End, more)
				}
			}
		}
	}
}

// A list of no length has one record: else it could not go on.
func TestListsOfNoLength(t *testing.T) {
	for step := DeployNew; step <= Backfill; step++ {
		w := raisedTo(t, step, 2)
		for _, limit := range []int{0, -1} {
			if page, err := w.at(t, step).List(t.Context(), record.Filter{}, "", limit); err != nil || len(page.Records) != 1 || page.End {
				t.Errorf("step %d, limit %d: %+v, %v", step, limit, page, err)
			}
		}
	}
}

// A list asks for single records only where one database alone listed them, and the
// copy in new is not final.
func TestListsAskForNoMoreThanTheyNeed(t *testing.T) {
	for _, c := range []struct {
		name     string
		old, new []store.Record
		want     []string
	}{
		{"both have it", []store.Record{copyOf("a", 1, 1, "x")}, []store.Record{copyOf("a", 1, 1, "x")}, nil},
		{"new has it as final", nil, []store.Record{copyOf("a", 1, 2, "x")}, nil},
		{"new has it, and not as final", nil, []store.Record{copyOf("a", 1, 1, "x")}, []string{"old.Get"}},
		{"old has it", []store.Record{copyOf("a", 1, 1, "x")}, nil, []string{"new.Get"}},
	} {
		w := raisedTo(t, StopOldWrites, 0)
		for _, rec := range c.old {
			w.put(t, store.PrimaryOld, rec)
		}
		for _, rec := range c.new {
			w.put(t, store.PrimaryNew, rec)
		}
		f := &failAt{}
		f.between(w)
		s := w.at(t, StopOldWrites)
		f.took()
		page, err := s.List(t.Context(), record.Filter{}, "", 10)
		if err != nil || len(page.Records) != 1 {
			t.Errorf("%s: %+v, %v", c.name, page, err)
		}
		if calls, want := f.took(), append([]string{"new.List", "old.List"}, c.want...); !slices.Equal(calls, want) {
			t.Errorf("%s: it calls %v, want %v", c.name, calls, want)
		}
	}
}

// While the primary is about to move, a list leaves new alone: the tool that moves it
// needs that database for itself.
func TestListsLeaveNewAloneWhileTheFenceCloses(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 1)
	f := fenceOf(t, w)
	closing := f
	closing.Closing, closing.Token, closing.Deadline = true, "tool", time.Now().Add(time.Hour)
	must(t, w.old.MoveFence(t.Context(), f, closing))
	calls := &failAt{}
	calls.between(w)
	s, err := New(Config{Step: ReadBoth, Old: w.old, New: w.new, Patience: time.Millisecond})
	must(t, err)
	if page, err := s.List(t.Context(), record.Filter{}, "", 10); err == nil {
		t.Errorf("%+v", page)
	}
	if took := calls.took(); slices.Contains(took, "new.List") {
		t.Errorf("it calls %v", took)
	}
}

// At step 3 nothing of a list is compared; under new nothing of a stranger's is listed.
func TestListsThatKeepToThemselves(t *testing.T) {
	w := raisedTo(t, WriteBoth, 1)
	s := w.at(t, WriteBoth)
	_, err := s.List(t.Context(), record.Filter{}, "", 10)
	must(t, err)
	if len(s.compared.lists) != 0 {
		t.Error("step 3 compares")
	}
	w = raisedTo(t, StopOldWrites, 1)
	w.new = memory.NewNew()
	must(t, w.new.Prepare(t.Context(), "another"))
	if page, err := w.unstarted(t, ReadBoth).List(t.Context(), record.Filter{}, "", 10); !errors.Is(err, store.ErrStranger) {
		t.Errorf("%+v, %v", page, err)
	}
}
