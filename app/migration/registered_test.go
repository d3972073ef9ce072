package migration

import (
	"context"
	"errors"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// At 6 and 7 a final copy answers alone; what is not final needs old, and is
// never "not found" for want of it.
func TestOldOutOfReachAtSix(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 2)
	must(t, w.appendTo(t.Context(), w.at(t, NewPrimary), w.ids[0], "x"))
	o, _ := w.faulty()
	s := w.at(t, StopOldWrites)
	o.get, o.fence = errDown, errDown
	if got := entries(t, s, w.ids[0]); got != "0;x;" {
		t.Errorf("the final record: %q", got)
	}
	must(t, w.appendTo(t.Context(), s, w.ids[0], "y"))
	for name, id := range map[string]string{"a legacy record": string(w.ids[1]), "an unknown id": "nobody"} {
		if _, found, err := s.Get(t.Context(), record.ID(id)); !errors.Is(err, store.ErrUnavailable) || found {
			t.Errorf("%s: found %v, %v; want unavailable", name, found, err)
		}
	}
	if ready, reason, degraded := s.Ready(t.Context()); !ready || degraded == "" {
		t.Errorf("ready %v (%s), degraded %q; want ready and degraded", ready, reason, degraded)
	}
	o.get, o.fence = nil, nil
	_, err := CopyAll(t.Context(), w.old, w.new, BackfillOptions{})
	must(t, err)
	must(t, s.adopt(t.Context())) // sees the completion mark
	o.get, o.fence = errDown, errDown
	if got := entries(t, s, w.ids[1]); got != "0;" {
		t.Errorf("the legacy record after the backfill: %q", got)
	}
	if _, found, err := s.Get(t.Context(), "nobody"); found || err != nil {
		t.Errorf("absence is final after the backfill: found %v, %v", found, err)
	}
}

func TestSixRegistersBeforeItReadsTheMirror(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 0)
	var calls []string
	w.new = &orderedNew{newStore: w.new, calls: &calls}
	w.at(t, StopOldWrites)
	reg, mirror := -1, -1
	for i, c := range calls {
		if c == "register" && reg < 0 {
			reg = i
		}
		if c == "mirror" && mirror < 0 {
			mirror = i
		}
	}
	if reg < 0 || mirror < reg {
		t.Errorf("calls in order: %v; want the registration first", calls)
	}
	rs, err := w.new.Registrations(t.Context())
	must(t, err)
	if len(rs) != 1 || rs[0].Step != 6 {
		t.Errorf("registrations: %+v", rs)
	}
}

type orderedNew struct {
	newStore
	calls *[]string
}

func (n *orderedNew) Register(ctx context.Context, r store.Registration) error {
	*n.calls = append(*n.calls, "register")
	return n.newStore.Register(ctx, r)
}

func (n *orderedNew) Mirror(ctx context.Context) (store.Mirror, error) {
	*n.calls = append(*n.calls, "mirror")
	return n.newStore.Mirror(ctx)
}

func TestTheMirrorDecidesAtSixAndNotTheFence(t *testing.T) {
	w := newWorld(t, 0)
	must(t, w.at(t, AddDAO).Prepare(t.Context()))
	cfg := Config{Step: StopOldWrites, Old: w.old, New: w.new}
	s, err := New(cfg)
	must(t, err)
	must(t, s.Start(t.Context()))
	if ready, reason, _ := s.Ready(t.Context()); ready {
		t.Errorf("ready under a mirror of old (%s)", reason)
	}
	if err := w.appendTo(t.Context(), s, "a", "x"); !errors.Is(err, ErrRefused) {
		t.Errorf("a write under a mirror of old: %v", err)
	}
	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	must(t, s.settle(t.Context()))
	must(t, w.appendTo(t.Context(), s, "a", "x"))
}

func TestDatabasesOfAnotherMigrationAreRefused(t *testing.T) {
	w, other := raisedTo(t, NewPrimary, 0), newWorld(t, 0)
	must(t, other.new.Prepare(t.Context(), "another"))
	s, err := New(Config{Step: ReadBoth, Old: w.old, New: other.new})
	must(t, err)
	if err := s.Start(t.Context()); !errors.Is(err, store.ErrStranger) {
		t.Errorf("start: %v", err)
	}
	s, err = New(Config{Step: DeployNew, Old: w.old, Migration: "remembered"})
	must(t, err)
	if _, _, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrStranger) {
		t.Errorf("a read: %v", err)
	}
}

// An instance above step 5 needs a mirror of its own migration: a new database that
// was only prepared was never primary.
func TestAMirrorThatWasNeverSet(t *testing.T) {
	w := newWorld(t, 0)
	must(t, w.new.Prepare(t.Context(), "m"))
	if err := w.unstarted(t, StopOldWrites).Start(t.Context()); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "the mirror was never set") {
		t.Errorf("without a mirror: %v", err)
	}
	w = raisedTo(t, StopOldWrites, 0)
	w.new = markedNew{newStore: w.new, mirror: store.Mirror{Migration: "another", Epoch: 2, Primary: store.PrimaryNew}}
	s := w.unstarted(t, StopOldWrites)
	s.new = lookingNew{s.new.(meteredNew).New}
	if err := s.Start(t.Context()); !errors.Is(err, store.ErrStranger) {
		t.Errorf("with another's mirror: %v", err)
	}
	if _, _, err := s.view(); err == nil {
		t.Error("it serves by another's mirror")
	}
}

// lookingNew looks at itself.
type lookingNew struct{ newStore }

func (n lookingNew) Look() store.NewLook { return n }
