package migration

import (
	"context"
	"testing"

	"migrate.invalid/migrate/app/store"
)

func TestStepFiveGoesOnAsFourWhileTheProbeFails(t *testing.T) {
	w := raisedTo(t, NewPrimary, 1)
	_, n := w.faulty()
	s := w.at(t, NewPrimary)
	n.probe, n.put = errDown, errDown
	must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
	if f, _ := w.old.Fence(t.Context()); f.Primary != store.PrimaryOld || f.Epoch != 1 {
		t.Fatalf("the fence moved to %+v although new takes no write", f)
	}
	n.probe, n.put = nil, nil
	s.newBreaker = breaker{}
	must(t, w.appendTo(t.Context(), s, w.ids[0], "y"))
	if f, _ := w.old.Fence(t.Context()); f.Primary != store.PrimaryNew || f.Epoch != 2 {
		t.Errorf("the first write did not make new primary: %+v", f)
	}
	if m, _ := w.new.Mirror(t.Context()); m.Epoch != 2 || m.Primary != store.PrimaryNew {
		t.Errorf("the mirror shows %+v", m)
	}
	if got := entries(t, w.at(t, ReadBoth), w.ids[0]); got != "0;x;y;" {
		t.Errorf("afterwards %q", got)
	}
}

func TestAlignPassesAMirrorThatIsAhead(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 1)
	m, err := w.new.Mirror(t.Context())
	must(t, err)
	must(t, w.new.RaiseMirror(t.Context(), store.Mirror{Migration: m.Migration, Epoch: m.Epoch + 1, Primary: store.PrimaryOld}))
	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	f, err := w.old.Fence(t.Context())
	must(t, err)
	m, err = w.new.Mirror(t.Context())
	must(t, err)
	if f.Epoch != 4 || m.Epoch != 4 || m.Primary != store.PrimaryNew || f.Primary != store.PrimaryNew {
		t.Errorf("fence %+v, mirror %+v; want both at epoch 4, new", f, m)
	}
}

// The switch asks for the flip at the moment at which the first write makes it.
func TestAdvanceThatComesSecondIsNoError(t *testing.T) {
	w := raisedTo(t, NewPrimary, 1)
	first := w.at(t, NewPrimary)
	n := &racingProbe{newStore: w.new}
	second, err := New(Config{Step: NewPrimary, Old: w.old, New: n})
	must(t, err)
	must(t, second.Start(t.Context()))
	n.before = func() { must(t, first.Advance(t.Context())) }
	must(t, second.Advance(t.Context()))
	if f, _ := w.old.Fence(t.Context()); f.Epoch != 2 || f.Primary != store.PrimaryNew {
		t.Errorf("the fence is %+v; want one flip", f)
	}
}

// racingProbe lets somebody else be faster between the probe and the flip.
type racingProbe struct {
	newStore
	before func()
}

func (n *racingProbe) Probe(ctx context.Context) error {
	if n.before != nil {
		n.before()
	}
	return n.newStore.Probe(ctx)
}
