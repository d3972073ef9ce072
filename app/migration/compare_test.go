package migration

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// mutedNew keeps no report while it is muted.
type mutedNew struct {
	newStore
	muted bool
}

func (n *mutedNew) SaveCompared(ctx context.Context, epoch int64, instance string, c map[string]store.Compared) error {
	if n.muted {
		return errDown
	}
	return n.newStore.SaveCompared(ctx, epoch, instance, c)
}

// Each read at step 4 is counted as what it found, a report that could not be
// left is left later, and another epoch begins at nought.
func TestReadsAreCountedAsWhatTheyFind(t *testing.T) {
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
		{"deleted there", copyOf("deleted there", 2, 1, "x"), copyOf("deleted there", 2, 1, "")},
	} {
		w.put(t, store.PrimaryOld, c.old)
		if c.new.ID != "" {
			w.put(t, store.PrimaryNew, c.new)
		}
	}
	_, faulty := w.faulty()
	muted := &mutedNew{newStore: faulty}
	w.new = muted
	s := w.at(t, ReadBoth)
	read := func(id record.ID) {
		if _, _, err := s.Get(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		s.compareQueued(t.Context())
	}
	for _, id := range []record.ID{"equal", "equal", "equal", "older", "missing", "newer", "other body", "deleted there", "nobody"} {
		read(id)
	}
	faulty.get = errDown
	read("equal")
	faulty.get = nil
	s.newBreaker = breaker{}

	reported := func(epoch int64) store.Compared {
		p, err := w.new.Progress(t.Context(), epoch)
		must(t, err)
		return p.Compared[""]
	}
	muted.muted = true
	s.reportCompared(t.Context())
	if got := reported(1); got != (store.Compared{}) {
		t.Errorf("a report was kept: %+v", got)
	}
	muted.muted = false
	s.reportCompared(t.Context())
	want := store.Compared{Equal: 3, Behind: 2, Late: 1, Different: 2, Errors: 1}
	if d := cmp.Diff(want, reported(1), cmpopts.IgnoreFields(store.Compared{}, "OldP99", "NewP99")); d != "" {
		t.Errorf("(-want +reported)\n%s", d)
	}

	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	if _, err := ReturnPrimary(t.Context(), w.old, w.new, ReturnOptions{Token: "t", Gone: func(store.Registration) error { return errors.New("alive") }}); err != nil {
		t.Fatal(err)
	}
	read("equal")
	read("equal") // the first found that the primary had moved
	s.reportCompared(t.Context())
	if got := reported(3); got.Equal == 0 || got.Equal > 2 || got.Different != 0 {
		t.Errorf("under the next epoch of old: %+v", got)
	}
}

// compareQueued compares what was read, as the workers of [Service.Run] do.
func (s *Service) compareQueued(ctx context.Context) {
	for len(s.compared.queue) > 0 {
		s.compareNow(ctx, <-s.compared.queue)
	}
}

// meetingOld counts the reads, and may stand in for what happens before one.
type meetingOld struct {
	oldStore
	gets int
	err  error
}

func (o *meetingOld) Get(ctx context.Context, ids ...record.ID) (map[record.ID]store.Record, store.Fence, error) {
	o.gets++
	if o.err != nil {
		return nil, store.Fence{}, o.err
	}
	return o.oldStore.Get(ctx, ids...)
}

// A copy in new that is newer than what was read may have come there since: old is
// asked once more, for reads and lists alike, and no more than once. Where it does
// not answer, or another epoch has begun, nothing is counted.
func TestNewerCopiesAreComparedAgain(t *testing.T) {
	for _, lists := range []bool{false, true} {
		for _, c := range []struct {
			name  string
			since func(t *testing.T, w *world, o *meetingOld) // what happens after the read
			gets  int                                         // of old, for the comparison
			want  store.Compared
		}{
			{"nothing happens", func(*testing.T, *world, *meetingOld) {}, 0, store.Compared{Equal: 1}},
			{"a write comes to both", func(t *testing.T, w *world, _ *meetingOld) {
				must(t, w.appendTo(t.Context(), w.at(t, ReadBoth), w.ids[0], "y"))
			}, 1, store.Compared{Equal: 1}},
			{"a copy comes to new alone", func(t *testing.T, w *world, _ *meetingOld) {
				w.put(t, store.PrimaryNew, copyOf(w.ids[0], 9, 1, "y"))
			}, 1, store.Compared{Late: 1}},
			{"and old does not answer", func(t *testing.T, w *world, o *meetingOld) {
				w.put(t, store.PrimaryNew, copyOf(w.ids[0], 9, 1, "y"))
				o.err = errDown
			}, 1, store.Compared{}},
			{"and the primary moves", func(t *testing.T, w *world, _ *meetingOld) {
				w.put(t, store.PrimaryNew, copyOf(w.ids[0], 9, 1, "y"))
				must(t, w.at(t, NewPrimary).Advance(t.Context()))
			}, 1, store.Compared{}},
		} {
			w := raisedTo(t, ReadBoth, 1)
			must(t, w.appendTo(t.Context(), w.at(t, ReadBoth), w.ids[0], "x"))
			s := w.at(t, ReadBoth)
			o := &meetingOld{oldStore: w.old}
			s.old = o
			if lists {
				_, err := s.List(t.Context(), record.Filter{}, "", 10)
				must(t, err)
			} else {
				_, _, err := s.Get(t.Context(), w.ids[0])
				must(t, err)
			}
			c.since(t, w, o)
			o.gets = 0
			s.compareQueued(t.Context())
			s.compareListed(t)
			all, _, _ := s.counted()
			got := all[""]
			if d := cmp.Diff(c.want, got, cmpopts.IgnoreFields(store.Compared{}, "OldP99", "NewP99")); d != "" || o.gets != c.gets {
				t.Errorf("lists %v, %s: %d reads of old, want %d; (-want +counted)\n%s", lists, c.name, o.gets, c.gets, d)
			}
		}
	}
}

// What could not be compared is reported as well: the gate shows it.
func TestMissedComparisonsAreReported(t *testing.T) {
	w := raisedTo(t, ReadBoth, 1)
	s := w.at(t, ReadBoth)
	s.newBreaker.failed(errDown)
	_, _, err := s.Get(t.Context(), w.ids[0])
	must(t, err)
	s.reportCompared(t.Context())
	if p, err := w.new.Progress(t.Context(), 1); err != nil || p.Compared[""].Errors != 1 {
		t.Errorf("reported %+v (%v)", p.Compared, err)
	}
}

// A record that neither database has is no difference.
func TestTwoAbsencesAreEqual(t *testing.T) {
	if r := relate(store.Record{}, false, store.Record{}, false); r != equal {
		t.Errorf("they relate as %d", r)
	}
}

// Reads do not wait for what is compared: when more is read than can be, the surplus
// is left out.
func TestReadsThatAreTooManyToBeCompared(t *testing.T) {
	w := raisedTo(t, ReadBoth, 1)
	synctest.Test(t, func(t *testing.T) {
		s := w.at(t, ReadBoth)
		for range compareQueue + 10 {
			_, _, err := s.Get(t.Context(), w.ids[0])
			must(t, err)
		}
		if n := len(s.compared.queue); n != compareQueue {
			t.Errorf("%d reads wait to be compared", n)
		}
	})
}

// A comparison that ends after another epoch has begun is counted for neither.
func TestComparisonsOfAnEarlierEpoch(t *testing.T) {
	s := raisedTo(t, ReadBoth, 0).at(t, ReadBoth)
	s.compared.missed(3, "a")
	rec := copyOf("a", 1, 1, "x")
	s.compare(1, "a", rec, true, rec, true, nil)
	s.compared.missed(1, "a")
	if c, epoch, _ := s.countedAll(); epoch != 3 || c.Equal != 0 || c.Errors != 1 {
		t.Errorf("epoch %d: %+v", epoch, c)
	}
}

// countedAll is counted for records whose ids name no collection.
func (s *Service) countedAll() (store.Compared, int64, bool) {
	all, epoch, dirty := s.counted()
	return all[""], epoch, dirty
}
