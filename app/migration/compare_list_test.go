package migration

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// compareListed compares what was listed last, as [Service.Run] does.
func (s *Service) compareListed(t *testing.T) {
	t.Helper()
	select {
	case l := <-s.compared.lists:
		s.compareList(t.Context(), l)
	default:
	}
}

// Each record of a list at step 4 is counted as what it is in the other database.
func TestListsAreCountedAsWhatTheyFind(t *testing.T) {
	w := raisedTo(t, ReadBoth, 0)
	for _, c := range []struct {
		id       string
		old, new store.Record
	}{
		{"equal", copyOf("equal", 2, 1, "x"), copyOf("equal", 2, 0, "x")},
		{"older", copyOf("older", 2, 1, "x"), copyOf("older", 1, 1, "x")},
		{"missing", copyOf("missing", 2, 1, "x"), store.Record{}},
		{"newer", copyOf("newer", 2, 1, "x"), copyOf("newer", 3, 1, "x")},
		{"other body", copyOf("other body", 2, 1, "x"), copyOf("other body", 2, 1, "y")},
		{"gone", copyOf("gone", 2, 1, ""), copyOf("gone", 1, 1, "x")}, // no list of old's shows it
	} {
		w.put(t, store.PrimaryOld, c.old)
		if c.new.ID != "" {
			w.put(t, store.PrimaryNew, c.new)
		}
	}
	_, faulty := w.faulty()
	w.new = faulty
	s := w.at(t, ReadBoth)
	list := func() {
		t.Helper()
		if page, err := s.List(t.Context(), record.Filter{}, "", 100); err != nil || len(page.Records) != 5 {
			t.Fatalf("%d records, %v", len(page.Records), err)
		}
	}
	counts := func(want store.Compared) {
		t.Helper()
		all, _, _ := s.counted()
		got := all[""]
		got.OldP99, got.NewP99 = 0, 0
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +counted)\n%s", d)
		}
	}
	list()
	s.compareListed(t)
	counts(store.Compared{Equal: 1, Behind: 2, Late: 1, Different: 1})

	// What came to old after the list, and to new before it was looked up, is no
	// difference.
	list()
	w.put(t, store.PrimaryOld, copyOf("equal", 3, 1, "x y"))
	w.put(t, store.PrimaryNew, copyOf("equal", 3, 1, "x y"))
	s.compareListed(t)
	counts(store.Compared{Equal: 2, Behind: 4, Late: 2, Different: 2})

	// A database that fails costs one error a list, and no answer.
	faulty.get = errDown
	list()
	s.compareListed(t)
	counts(store.Compared{Equal: 2, Behind: 4, Late: 2, Different: 2, Errors: 1})
	if !s.newBreaker.well() {
		t.Error("a comparison of many records that fails keeps writes from new")
	}

	// While new is known to be ill nobody asks it.
	s.newBreaker.note(errDown)
	list()
	if len(s.compared.lists) != 0 {
		t.Error("a list waits to be compared with a database that does not answer")
	}
	counts(store.Compared{Equal: 2, Behind: 4, Late: 2, Different: 2, Errors: 2})
}

// stuckNew answers no Get until its context ends.
type stuckNew struct{ newStore }

func (stuckNew) Get(ctx context.Context, _ ...record.ID) (map[record.ID]store.Record, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Lists under old ask nothing of new: a hundred are answered while one
// comparison waits for a database that hangs.
func TestListsDoNotWaitForWhatIsCompared(t *testing.T) {
	w := raisedTo(t, ReadBoth, 0)
	w.put(t, store.PrimaryOld, copyOf("a", 1, 1, "x"))
	w.new = stuckNew{w.new}
	s := w.at(t, ReadBoth)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.runCompareLists(ctx) }()
	for range 100 {
		if page, err := s.List(t.Context(), record.Filter{}, "", 10); err != nil || len(page.Records) != 1 {
			t.Fatalf("%d records, %v", len(page.Records), err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Of a long list a part is compared, no more in one call than the sample, and
// in the end each record of it.
func TestEachPartOfALongListIsCompared(t *testing.T) {
	w := raisedTo(t, ReadBoth, 0)
	const n = listSample + 20
	for i := range n {
		id := fmt.Sprintf("r-%03d", i)
		w.put(t, store.PrimaryOld, copyOf(record.ID(id), 1, 1, "x"))
		w.put(t, store.PrimaryNew, copyOf(record.ID(id), 1, 1, "x"))
	}
	s := w.at(t, ReadBoth)
	seen := map[string]bool{}
	for end := time.Now().Add(time.Minute); len(seen) < n; {
		if time.Now().After(end) {
			t.Fatalf("only %d of %d records were ever compared", len(seen), n)
		}
		if _, err := s.List(t.Context(), record.Filter{}, "", n); err != nil {
			t.Fatal(err)
		}
		l := <-s.compared.lists
		if len(l.recs) != listSample {
			t.Fatalf("%d records are to be compared at once", len(l.recs))
		}
		for _, r := range l.recs {
			seen[string(r.ID)] = true
		}
	}
	// One that waits is not replaced, and nobody waits for it.
	for range 3 {
		if _, err := s.List(t.Context(), record.Filter{}, "", n); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.compared.lists) != 1 {
		t.Errorf("%d lists wait", len(s.compared.lists))
	}
}

func TestRunComparesLists(t *testing.T) {
	w := raisedTo(t, ReadBoth, 0)
	w.put(t, store.PrimaryOld, copyOf("a", 1, 1, "x"))
	w.put(t, store.PrimaryNew, copyOf("a", 1, 1, "x"))
	s := w.at(t, ReadBoth)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if _, err := s.List(t.Context(), record.Filter{}, "", 10); err != nil {
			t.Fatal(err)
		}
		if got, _, _ := s.countedAll(); got.Equal > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nothing of a list was ever compared")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A list without records leaves nothing to compare: another one is not kept out.
func TestEmptyListsAreNotCompared(t *testing.T) {
	s := raisedTo(t, ReadBoth, 0).at(t, ReadBoth)
	for _, ill := range []bool{false, true} {
		if ill {
			s.newBreaker.failed(errDown)
		}
		_, err := s.List(t.Context(), record.Filter{}, "", 10)
		must(t, err)
		if c, _, _ := s.countedAll(); len(s.compared.lists) != 0 || c.Errors != 0 {
			t.Errorf("new is ill %v: %d lists wait, %+v", ill, len(s.compared.lists), c)
		}
	}
}

// Between one list and the next the comparison rests, since requests want the
// databases more; then it goes on. What ends meanwhile is no error of new.
func TestComparingListsRests(t *testing.T) {
	w := raisedTo(t, ReadBoth, 1)
	must(t, w.appendTo(t.Context(), w.at(t, ReadBoth), w.ids[0], "x"))
	synctest.Test(t, func(t *testing.T) {
		s := w.at(t, ReadBoth)
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.runCompareLists(ctx) }()
		equal := func(want int64, when string) {
			t.Helper()
			synctest.Wait()
			if c, _, _ := s.countedAll(); c.Equal != want || c.Errors != 0 {
				t.Errorf("%s: %+v, want %d equal", when, c, want)
			}
		}
		list := func() {
			t.Helper()
			_, err := s.List(t.Context(), record.Filter{}, "", 10)
			must(t, err)
		}
		list()
		equal(1, "the first list")
		list()
		time.Sleep(listRest - 1)
		equal(1, "while it rests")
		time.Sleep(time.Nanosecond)
		equal(2, "after the rest")
		end()
		must(t, <-done)
		list()
		s.compareList(ctx, <-s.compared.lists)
		equal(2, "after the end")
	})
}

// leisurelyNew takes its time to look records up.
type leisurelyNew struct {
	newStore
	takes time.Duration
}

func (n leisurelyNew) Get(ctx context.Context, ids ...record.ID) (map[record.ID]store.Record, error) {
	time.Sleep(n.takes)
	return n.newStore.Get(ctx, ids...)
}

// The longer a comparison takes, the longer is the rest: of a slow database the
// comparisons have a small share, too.
func TestComparingListsRestsLongerAfterASlowAnswer(t *testing.T) {
	const takes = 40 * time.Millisecond
	w := raisedTo(t, ReadBoth, 0)
	w.put(t, store.PrimaryOld, copyOf("a", 1, 1, "x"))
	w.put(t, store.PrimaryNew, copyOf("a", 1, 1, "x"))
	w.new = leisurelyNew{w.new, takes}
	synctest.Test(t, func(t *testing.T) {
		s := w.at(t, ReadBoth)
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.runCompareLists(ctx) }()
		const times = 5
		for begun := time.Now(); time.Since(begun) < times*listShare*takes; time.Sleep(time.Millisecond) {
			_, err := s.List(t.Context(), record.Filter{}, "", 10)
			must(t, err)
		}
		if c, _, _ := s.countedAll(); c.Equal != times || c.Errors != 0 {
			t.Errorf("%+v, want %d equal in %v", c, times, times*listShare*takes)
		}
		end()
		must(t, <-done)
	})
}

// New turns out to be another migration's: its records are compared with nothing.
func TestListsAreNotComparedWithAStrangers(t *testing.T) {
	w := newWorld(t, 1)
	must(t, w.new.Prepare(t.Context(), "another"))
	w.put(t, store.PrimaryNew, copyOf(w.ids[0], 1, 0, "0;"))
	s := w.unstarted(t, ReadBoth)
	_, err := s.List(t.Context(), record.Filter{}, "", 10)
	must(t, err)
	s.compareListed(t)
	if c, _, _ := s.countedAll(); c.Errors != 1 || c.Equal != 0 {
		t.Errorf("counted %+v", c)
	}
}
