package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
)

// noBodyTwice is the rule of an old database with a unique column.
func noBodyTwice(records map[record.ID]store.Record) error {
	holder := map[record.Body]record.ID{}
	for id, r := range records {
		if r.Deleted {
			continue
		}
		if other, ok := holder[r.Body]; ok && other != id {
			return fmt.Errorf("UNIQUE failed: %q is taken", string(r.Body))
		}
		holder[r.Body] = id
	}
	return nil
}

// ruled is a world with new as primary, and an old database with a rule that new
// doesn't have. Both hold a, b and c with bodies of their own.
func ruled(t *testing.T) *world {
	t.Helper()
	w := raisedTo(t, StopOldWrites, 0)
	for id, body := range map[record.ID]string{"a": "A", "b": "B", "c": "C"} {
		w.put(t, store.PrimaryOld, copyOf(id, 1, 1, body))
		w.put(t, store.PrimaryNew, copyOf(id, 1, 2, body))
	}
	w.old.(*memory.Old).Enforce(noBodyTwice)
	return w
}

// commits commits changes to new alone, as a step that doesn't write to old does.
func (w *world) commits(t *testing.T, bodies ...string) {
	t.Helper()
	for _, change := range bodies {
		id, body, _ := strings.Cut(change, "=")
		recs, err := w.new.Get(t.Context(), record.ID(id))
		must(t, err)
		was := recs[record.ID(id)].Pair
		next := copyOf(record.ID(id), was.Rev+1, 2, body)
		next.Pending = true
		must(t, w.new.CompareAndSwap(t.Context(), next, was))
	}
}

func (w *world) inOld(t *testing.T) string {
	t.Helper()
	page, _, err := w.old.Scan(t.Context(), "", 100)
	must(t, err)
	var parts []string
	for _, r := range page.Records {
		if !r.Deleted {
			parts = append(parts, fmt.Sprintf("%s=%s", r.ID, r.Body))
		}
	}
	return strings.Join(parts, " ")
}

// What a rule of old refuses one by one fits together: what follows a deletion that
// comes later in the order of ids, and a swap. What never fits keeps nobody else, and
// is listed with the rule.
func TestWhatOldRefusesIsTriedTogether(t *testing.T) {
	for _, c := range []struct {
		name    string
		changes []string
		want    string // in old, after one pass
		refused []string
	}{
		{"the name of a record that is deleted", []string{"c=", "a=C"}, "a=C b=B", nil},
		{"a swap", []string{"a=x", "b=A", "a=B"}, "a=B b=A c=C", nil},
		{"a ring of three", []string{"a=B", "b=C", "c=A"}, "a=B b=C c=A", nil},
		{"one that never fits", []string{"a=C"}, "a=A b=B c=C", []string{"a"}},
		{"a swap beside one that never fits", []string{"a=B", "b=A", "d=C", "e=E"}, "a=B b=A c=C e=E", []string{"d"}},
		{"one that depends on one that never fits", []string{"a=C", "b=A"}, "a=A b=B c=C", []string{"a", "b"}},
		{"two that collide with each other", []string{"d=D", "e=D"}, "a=A b=B c=C d=D", []string{"e"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := ruled(t)
			w.commits(t, c.changes...)
			s := w.at(t, ReadBoth)
			must(t, s.relayPass(t.Context()))
			if got := w.inOld(t); got != c.want {
				t.Errorf("old has %s, want %s", got, c.want)
			}
			var refused []string
			for _, r := range s.relay.refused.list() {
				refused = append(refused, r.ID)
				if !strings.Contains(r.Rule, "UNIQUE failed") {
					t.Errorf("%s: refused by %q", r.ID, r.Rule)
				}
			}
			_, left := pending(t, w)
			if !slices.Equal(refused, c.refused) || int(left) != len(refused) {
				t.Errorf("refused %v, want %v; %d are pending", refused, c.refused, left)
			}
		})
	}
}

// What old can't hold is left out by the moves forward, told apart by status and
// verify, and refused by the way back before any write waits. A change through the
// primary decides.
func TestWhatOldCanNotHold(t *testing.T) {
	w := ruled(t)
	s := w.at(t, ReadBoth)
	must(t, w.at(t, NewPrimary).settle(t.Context()))
	_, err := s.Apply(t.Context(), "a", false, setTo("C"))
	must(t, err) // acknowledged: new holds it
	gates, err := s.Gates(t.Context(), ReadBoth)
	must(t, err)
	if g := gates[0]; !g.OK || !strings.Contains(g.Detail, `1 records: "a" (`) || !strings.Contains(g.Detail, "the way back refuses") {
		t.Errorf("the gate says %+v", g)
	}
	gates, err = s.LookAtGates(t.Context(), ReadBoth)
	must(t, err)
	if g := gates[0]; !g.OK || g.Untried || !strings.Contains(g.Detail, `"a" (`) {
		t.Errorf("a look at the gate says %+v", g)
	}
	st := s.Status(t.Context())
	if st.Pending != 0 || st.RefusedCount != 1 || len(st.Refused) != 1 || st.RefusedIn[""] != 1 || st.Refused[0].ID != "a" || st.Refused[0].Pair != (store.Pair{Rev: 2, Epoch: 2}) {
		t.Errorf("status: %d pending, refused %+v", st.Pending, st.Refused)
	}
	s.endWatches()
	rep, err := Verify(t.Context(), w.old, w.new, VerifyOptions{})
	must(t, err)
	if rep.Refused != 1 || rep.Behind != 0 || rep.Equal != 2 || !rep.Clean || len(rep.Samples) != 1 || rep.Samples[0].Finding != FoundRefused || !strings.Contains(rep.Samples[0].Rule, "UNIQUE") {
		t.Errorf("verify: %+v", rep)
	}
	gone := ReturnOptions{Token: "t", Gone: func(store.Registration) error { return nil }}
	f := &failAt{}
	f.between(w)
	_, err = ReturnPrimary(t.Context(), w.old, w.new, gone)
	if !errors.Is(err, ErrOldRefuses) || errors.Is(err, ErrGaveUp) || !strings.Contains(err.Error(), `"a" (`) {
		t.Errorf("the return says %v", err)
	}
	if calls := f.took(); slices.Contains(calls, "old.MoveFence") {
		t.Errorf("the return closes the fence: %v", calls)
	}
	remove(t, s, "a")
	_, err = ReturnPrimary(t.Context(), w.old, w.new, gone)
	must(t, err)
	if got := w.inOld(t); got != "b=B c=C" {
		t.Errorf("old has %s", got)
	}
}

// A record that old can't hold and that comes while the fence is closed has the
// return give up, and new is primary as before.
func TestAReturnThatMeetsWhatOldCanNotHold(t *testing.T) {
	w := ruled(t)
	_, err := ReturnPrimary(t.Context(), w.old, w.new, ReturnOptions{Token: "t", Gone: func(store.Registration) error { return nil },
		Pause: func(context.Context, time.Duration) error { w.commits(t, "a=C", "d=D"); return nil }})
	if !errors.Is(err, ErrGaveUp) || !errors.Is(err, ErrOldRefuses) {
		t.Errorf("got %v", err)
	}
	if f := fenceOf(t, w); f.Primary != store.PrimaryNew || f.Closing {
		t.Errorf("the fence is %+v", f)
	}
	if got := w.inOld(t); got != "a=A b=B c=C d=D" {
		t.Errorf("old has %s", got)
	}
}

// A pass that has nothing new leaves what was refused alone until its time has
// come, which is later after each try; whatever was sent is a reason to try again.
func TestRefusedRecordsBackOff(t *testing.T) {
	w := ruled(t)
	w.commits(t, "a=C")
	f := &failAt{}
	f.between(w)
	s, clock := w.clocked(t, ReadBoth)
	tries := func() (n int) {
		must(t, s.relayPass(t.Context()))
		for _, call := range f.took() {
			if call == "old.PutTogether" || call == "old.PutIfNewer" {
				n++
			}
		}
		return n
	}
	if n := tries(); n != 2 {
		t.Errorf("%d tries at first; want one alone, one together", n)
	}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{0, 0}, {time.Second, 0}, {time.Second, 1}, {3 * time.Second, 0}, {time.Second, 1}, {time.Hour, 1}, {8 * time.Second, 0}} {
		*clock = clock.Add(c.after)
		if n := tries(); n != c.want {
			t.Errorf("%v later: %d tries, want %d", c.after, n, c.want)
		}
	}
	w.commits(t, "d=D")
	if n := tries(); n != 2 {
		t.Errorf("after another record was sent: %d tries, want its own and one more", n)
	}
	w.commits(t, "c=E")
	must(t, s.relayPass(t.Context()))
	if got := w.inOld(t); got != "a=C b=B c=E d=D" || s.relay.refused.count() != 0 {
		t.Errorf("once it fits, old has %s, refused %+v", got, s.relay.refused.list())
	}
}

// stuckOld takes no record of one collection.
type stuckOld struct {
	oldStore
	collection string
}

func (o stuckOld) PutIfNewer(ctx context.Context, epoch int64, recs ...store.Record) error {
	if slices.ContainsFunc(recs, func(r store.Record) bool { return r.ID.Collection() == o.collection }) {
		return errDown
	}
	return o.oldStore.PutIfNewer(ctx, epoch, recs...)
}

func idIn(t *testing.T, collection string, n int64) record.ID {
	t.Helper()
	id, err := record.NewID(collection, record.OfInt(n))
	must(t, err)
	return id
}

// A collection that can't be sent keeps no other one waiting. The pass fails all the
// same, and its error stays until one succeeds.
func TestTheRelayGoesOnWithTheNextCollection(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 0)
	for _, collection := range []string{"customers", "orders", "products"} {
		for n := range int64(relayBatch + 5) {
			rec := copyOf(idIn(t, collection, n), 1, 2, "x")
			rec.Pending = true
			must(t, w.new.CompareAndSwap(t.Context(), rec, store.Pair{}))
		}
	}
	plain := w.old
	w.old = stuckOld{w.old, "orders"}
	s := w.at(t, ReadBoth)
	err := s.relayPass(t.Context())
	if !errors.Is(err, errDown) || !strings.Contains(err.Error(), "collection orders") || strings.Count(err.Error(), "collection") != 1 {
		t.Errorf("got %v", err)
	}
	if _, left := pending(t, w); left != relayBatch+5 {
		t.Errorf("%d are pending; want those of one collection", left)
	}
	if moved, failed := s.relay.status(); moved != 2*(relayBatch+5) || !strings.Contains(failed, "collection orders") {
		t.Errorf("the relay says it carried %d (%s)", moved, failed)
	}
	if err := s.cleared(t.Context()); !errors.Is(err, errDown) {
		t.Errorf("cleared: %v", err)
	}
	w.old = plain
	s.old = plain
	must(t, s.relayPass(t.Context()))
	if _, failed := s.relay.status(); failed != "" {
		t.Errorf("after a pass that succeeds: %s", failed)
	}
}
