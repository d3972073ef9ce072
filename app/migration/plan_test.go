package migration

import (
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// The table of the protocol, a row a step: what holds while the fence names
// old, and what while it names new.
func TestDecideIsTheTable(t *testing.T) {
	var (
		refuse   = Plan{Refuse: true}
		old      = Plan{Primary: store.PrimaryOld}
		both     = Plan{Primary: store.PrimaryOld, Outbox: true, Replicate: true}
		compared = Plan{Primary: store.PrimaryOld, Outbox: true, Replicate: true, Compare: true}
		flips    = Plan{Primary: store.PrimaryOld, Outbox: true, Replicate: true, Compare: true, Advance: true}
		newBoth  = Plan{Primary: store.PrimaryNew, Outbox: true, Replicate: true, ElseOld: true, FenceLast: true}
		newElse  = Plan{Primary: store.PrimaryNew, Outbox: true, ElseOld: true}
		newOnly  = Plan{Primary: store.PrimaryNew, Outbox: true}
	)
	table := map[Step][2]Plan{
		1: {old, refuse},
		2: {old, refuse},
		3: {both, refuse},
		4: {compared, newBoth},
		5: {flips, newBoth},
		6: {refuse, newElse},
		7: {refuse, newElse},
		8: {refuse, newOnly},
	}
	for step, want := range table {
		if got := Decide(step, store.Fence{Epoch: 3, Primary: store.PrimaryOld}, 3); got != want[0] {
			t.Errorf("step %d, fence old: %+v, want %+v", step, got, want[0])
		}
		if got := Decide(step, store.Fence{Epoch: 4, Primary: store.PrimaryNew}, 3); got != want[1] {
			t.Errorf("step %d, fence new: %+v, want %+v", step, got, want[1])
		}
	}
	for step := Step(1); step < 8; step++ {
		a, b := table[step], table[step+1]
		if !(!a[0].Refuse && !b[0].Refuse || !a[1].Refuse && !b[1].Refuse) {
			t.Errorf("steps %d and %d share no column in which both work", step, step+1)
		}
	}
}

func TestStepFiveRefusesALaterOld(t *testing.T) {
	if got := Decide(NewPrimary, store.Fence{Epoch: 5, Primary: store.PrimaryOld}, 3); !got.Refuse {
		t.Errorf("step 5 started under epoch 3 works under old at epoch 5: %+v", got)
	}
}

func TestAClosingFenceIsWaitedForAtFourAndFiveOnly(t *testing.T) {
	closing := store.Fence{Epoch: 4, Primary: store.PrimaryNew, Closing: true}
	for step := Step(1); step <= 8; step++ {
		want := step == ReadBoth || step == NewPrimary
		if got := Decide(step, closing, 4); got.Wait != want {
			t.Errorf("step %d: wait %v, want %v", step, got.Wait, want)
		}
	}
}

func TestDecideRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, p := range []store.Primary{"", "both"} {
		if got := Decide(ReadBoth, store.Fence{Epoch: 1, Primary: p}, 1); !got.Refuse {
			t.Errorf("primary %q: %+v, want a refusal", p, got)
		}
	}
}

func TestChooseGoesByThePair(t *testing.T) {
	type rec = store.Record
	at := func(rev, epoch int64, body string) rec {
		return rec{ID: "a", Pair: store.Pair{Rev: rev, Epoch: epoch}, Body: record.Body(body)}
	}
	cases := []struct {
		name         string
		n            rec
		inNew        bool
		o            rec
		inOld, found bool
		want         string
	}{
		{name: "nowhere"},
		{name: "only old", o: at(1, 0, "o"), inOld: true, found: true, want: "o"},
		{name: "only new", n: at(1, 1, "n"), inNew: true, found: true, want: "n"},
		{name: "old is newer", n: at(2, 1, "n"), inNew: true, o: at(3, 1, "o"), inOld: true, found: true, want: "o"},
		{name: "new is newer", n: at(3, 1, "n"), inNew: true, o: at(2, 1, "o"), inOld: true, found: true, want: "n"},
		{name: "the same rev, old of a later epoch", n: at(3, 1, "n"), inNew: true, o: at(3, 3, "o"), inOld: true, found: true, want: "o"},
		{name: "final in new", n: at(2, 4, "n"), inNew: true, o: at(2, 1, "o"), inOld: true, found: true, want: "n"},
	}
	for _, c := range cases {
		got, found := choose(4, c.n, c.inNew, c.o, c.inOld)
		if found != c.found || string(got.Body) != c.want {
			t.Errorf("%s: %q, %v; want %q, %v", c.name, got.Body, found, c.want, c.found)
		}
	}
}

// A copy in new of the present epoch is final: old's can't surpass it.
func TestChooseTrustsAFinalCopy(t *testing.T) {
	n, o := copyOf("a", 1, 2, "final"), copyOf("a", 5, 1, "left behind")
	if got, found := choose(2, n, true, o, true); !found || got != n {
		t.Errorf("chosen: %+v, %v", got, found)
	}
	if got, found := choose(3, n, true, o, true); !found || got != o {
		t.Errorf("under the next epoch, chosen: %+v, %v", got, found)
	}
}

// An instance at step 5 that was not told its epoch makes nothing new primary, and
// serves once new is.
func TestAStep5ThatWasToldNoEpochRefusesUnderOld(t *testing.T) {
	for epoch := range int64(4) {
		if p := Decide(NewPrimary, store.Fence{Epoch: epoch, Primary: store.PrimaryOld}, NoEpoch); !p.Refuse {
			t.Errorf("epoch %d: %+v", epoch, p)
		}
		if p := Decide(NewPrimary, store.Fence{Epoch: epoch, Primary: store.PrimaryNew}, NoEpoch); p.Refuse {
			t.Errorf("epoch %d under new: it refuses", epoch)
		}
	}
}
