package migration

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
)

func TestGates(t *testing.T) {
	ok := func(t *testing.T, w *world, step Step, want map[string]bool) {
		t.Helper()
		gates, err := w.at(t, step).Gates(t.Context(), step)
		must(t, err)
		got := map[string]bool{}
		for _, g := range gates {
			got[g.Name] = g.OK
			if !g.OK && g.Remedy == "" {
				t.Errorf("gate %s names no remedy", g.Name)
			}
			if g.Detail == "" {
				t.Errorf("gate %s says nothing", g.Name)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("step %d: %v, want %v", step, got, want)
		}
	}
	w := newWorld(t, 3)
	ok(t, w, AddDAO, map[string]bool{GateNewReady: true})
	ok(t, w, WriteBoth, map[string]bool{GateFilled: true, GateNewWrites: true})
	ok(t, w, ReadBoth, map[string]bool{GateCleared: true})
	ok(t, w, NewPrimary, map[string]bool{GateCleared: true, GateTriggers: true, GateFilled: true, GateQuarantine: true, GateCompared: false})
	_, err := Verify(t.Context(), w.old, w.new, VerifyOptions{})
	must(t, err)
	ok(t, w, NewPrimary, map[string]bool{GateCleared: true, GateTriggers: true, GateFilled: true, GateQuarantine: true, GateCompared: false}) // a verify that compared nothing
	_, err = CopyAll(t.Context(), w.old, w.new, BackfillOptions{})
	must(t, err)
	_, err = Verify(t.Context(), w.old, w.new, VerifyOptions{})
	must(t, err)
	ok(t, w, NewPrimary, map[string]bool{GateCleared: true, GateTriggers: true, GateFilled: true, GateQuarantine: true, GateCompared: true})
	must(t, w.at(t, NewPrimary).Advance(t.Context()))
	ok(t, w, StopOldWrites, map[string]bool{GateFence: true, GateCleared: true})
	ok(t, w, Backfill, map[string]bool{GateMirror: true})
	ok(t, w, RemoveOld, map[string]bool{GateComplete: false, GateVerified: false, GateQuarantine: false})
	_, err = CopyAll(t.Context(), w.old, w.new, BackfillOptions{})
	must(t, err)
	ok(t, w, RemoveOld, map[string]bool{GateComplete: true, GateVerified: false, GateQuarantine: false})
	_, err = Verify(t.Context(), w.old, w.new, VerifyOptions{})
	must(t, err)
	ok(t, w, RemoveOld, map[string]bool{GateComplete: true, GateVerified: true, GateQuarantine: true})
}

// A thousand reads that agree open the gate to 5 without a verify; one that
// differs shuts it.
func TestComparedReadsOpenTheGate(t *testing.T) {
	w := raisedTo(t, NewPrimary, 1)
	s := w.at(t, ReadBoth)
	must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
	for range 1000 {
		_, _, err := s.Get(t.Context(), w.ids[0])
		must(t, err)
		s.compareQueued(t.Context())
	}
	s.reportCompared(t.Context())
	next := w.at(t, NewPrimary)
	if g := next.gateCompared(t.Context(), w.new); !g.OK {
		t.Errorf("after 1000 equal reads: %s", g.Detail)
	}
	w.put(t, store.PrimaryOld, copyOf("odd", 1, 1, "x"))
	w.put(t, store.PrimaryNew, copyOf("odd", 1, 1, "y"))
	_, _, err := s.Get(t.Context(), "odd")
	must(t, err)
	s.compareQueued(t.Context())
	s.reportCompared(t.Context())
	if g := next.gateCompared(t.Context(), w.new); g.OK {
		t.Error("the gate holds although a read differed")
	}
}

func TestGatesToSixNeedTheFenceMoved(t *testing.T) {
	w := newWorld(t, 0)
	must(t, w.at(t, AddDAO).Prepare(t.Context()))
	s, err := New(Config{Step: StopOldWrites, Old: w.old, New: w.new})
	must(t, err)
	if g := s.gateFence(t.Context(), gatekeeper{meta: w.new, level: s.align}); g.OK {
		t.Errorf("the gate holds under old: %s", g.Detail)
	}
}

// markedNew shows another progress or mirror than it has.
type markedNew struct {
	newStore
	progress store.Progress
	mirror   store.Mirror
	err      error
}

func (n markedNew) Progress(context.Context, int64) (store.Progress, error) { return n.progress, n.err }
func (n markedNew) Mirror(context.Context) (store.Mirror, error)            { return n.mirror, n.err }

// The gates to step 8 tell what is missing from one another.
func TestGatesToTheEnd(t *testing.T) {
	clean := store.VerifyResult{Clean: true, Equal: 5}
	undecided := store.VerifyResult{Clean: true, Quarantine: 2}
	dirty := store.VerifyResult{Stale: 1}
	isNew := store.Mirror{Migration: "m", Epoch: 2, Primary: store.PrimaryNew}
	isOld := store.Mirror{Migration: "m", Epoch: 3, Primary: store.PrimaryOld}
	for _, c := range []struct {
		name     string
		progress store.Progress
		mirror   store.Mirror
		err      error
		refused  []string
	}{
		{"all is done", store.Progress{Complete: true, Verify: &clean}, isNew, nil, nil},
		{"not copied", store.Progress{Verify: &clean}, isNew, nil, []string{GateComplete}},
		{"not verified", store.Progress{Complete: true}, isNew, nil, []string{GateVerified, GateQuarantine}},
		{"not clean", store.Progress{Complete: true, Verify: &dirty}, isNew, nil, []string{GateVerified}},
		{"not decided", store.Progress{Complete: true, Verify: &undecided}, isNew, nil, []string{GateQuarantine}},
		{"old is primary", store.Progress{Complete: true, Verify: &clean}, isOld, nil, []string{GateComplete, GateVerified, GateQuarantine}},
		{"out of reach", store.Progress{Complete: true, Verify: &clean}, isNew, errDown, []string{GateComplete, GateVerified, GateQuarantine}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := raisedTo(t, RemoveOld, 0)
			s := w.at(t, RemoveOld)
			s.new = markedNew{w.new, c.progress, c.mirror, c.err}
			if got := refused(t, s, RemoveOld); !slices.Equal(got, c.refused) {
				t.Errorf("refused by %v, want %v", got, c.refused)
			}
			gates, err := s.Gates(t.Context(), RemoveOld)
			must(t, err)
			for _, g := range gates {
				if c.err != nil && g.Detail != c.err.Error() {
					t.Errorf("gate %s says %s", g.Name, g.Detail)
				}
			}
		})
	}
}

func refused(t *testing.T, s *service, to Step) []string {
	t.Helper()
	gates, err := s.Gates(t.Context(), to)
	must(t, err)
	var names []string
	for _, g := range gates {
		if !g.OK {
			names = append(names, g.Name)
		}
	}
	return names
}

// unguardedOld has lost its triggers.
type unguardedOld struct{ oldStore }

func (unguardedOld) Guarded(context.Context) error {
	return fmt.Errorf("%w: the triggers are gone", store.ErrStranger)
}

// halfFilledOld has records that the protocol does not know yet.
type halfFilledOld struct{ oldStore }

func (halfFilledOld) Filled(context.Context) error { return errors.New("7 of 9 records are known") }

// undecidedOld has rows in quarantine, some of which were accepted.
type undecidedOld struct {
	oldStore
	rows, accepted int64
}

func (o undecidedOld) Quarantine(context.Context, int) ([]store.Quarantined, int64, error) {
	return nil, o.rows, nil
}
func (o undecidedOld) Accepted(context.Context) (int64, error) { return o.accepted, nil }

// brokenNew takes no reserved record.
type brokenNew struct{ newStore }

func (brokenNew) ProbeRecord(context.Context) error { return errDown }

// fullNew takes no copy.
type fullNew struct{ newStore }

func (fullNew) PutIfNewer(context.Context, ...store.Record) error { return errDown }

// Each gate refuses for what it is there for, and for no more.
func TestGatesRefuse(t *testing.T) {
	verified := func(v store.VerifyResult) func(*service) {
		return func(s *service) { s.new = markedNew{newStore: s.new, progress: store.Progress{Verify: &v}} }
	}
	compared := func(c store.Compared) func(*service) {
		return func(s *service) {
			s.new = markedNew{newStore: s.new, progress: store.Progress{Compared: map[string]store.Compared{"": c}, Verify: &store.VerifyResult{Clean: true, Equal: 1}}}
		}
	}
	for _, c := range []struct {
		name    string
		at      Step
		spoil   func(s *service)
		refused []string
	}{
		{"new has no collection", AddDAO, func(s *service) { s.new = memory.NewNew() }, []string{GateNewReady}},
		{"new takes no write", WriteBoth, func(s *service) { s.new = brokenNew{s.new} }, []string{GateNewWrites}},
		{"a record waits that new does not take", ReadBoth, func(s *service) {
			rec := copyOf("waits", 1, 1, "x")
			rec.Pending = true
			must(t, s.old.CompareAndSwap(t.Context(), 1, rec, store.Pair{}))
			s.new = fullNew{s.new}
		}, []string{GateCleared}},
		{"the triggers are gone", NewPrimary, func(s *service) { s.old = unguardedOld{offering(s.old)} }, []string{GateTriggers, GateCompared}},
		{"not all is taken over", WriteBoth, func(s *service) { s.old = halfFilledOld{offering(s.old)} }, []string{GateFilled}},
		{"not all is taken over, before the flip", NewPrimary, func(s *service) { s.old = halfFilledOld{offering(s.old)} }, []string{GateCleared, GateFilled, GateCompared}},
		{"a row is undecided", NewPrimary, func(s *service) { s.old = undecidedOld{offering(s.old), 3, 2} }, []string{GateQuarantine, GateCompared}},
		{"an unclean verify", NewPrimary, verified(store.VerifyResult{Equal: 5, Different: 1}), []string{GateCompared}},
		{"a clean verify", NewPrimary, verified(store.VerifyResult{Clean: true, Equal: 5}), nil},
		{"a clean verify of nothing", NewPrimary, verified(store.VerifyResult{Clean: true}), nil},
		{"a clean verify, but nothing has arrived", NewPrimary, verified(store.VerifyResult{Clean: true, Behind: 1}), []string{GateCompared}},
		{"a clean verify of late copies alone", NewPrimary, verified(store.VerifyResult{Clean: true, Late: 1}), []string{GateCompared}},
		{"a read differed", NewPrimary, compared(store.Compared{Equal: 5000, Different: 1}), []string{GateCompared}},
		{"the fence shows old", StopOldWrites, func(s *service) { s.old = memory.NewOld("m") }, []string{GateFence}},
		{"the mirror shows old", Backfill, func(s *service) {
			s.new = markedNew{newStore: s.new, mirror: store.Mirror{Migration: "m", Epoch: 3, Primary: store.PrimaryOld}}
		}, []string{GateMirror}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := raisedTo(t, c.at, 0)
			s := w.at(t, c.at)
			c.spoil(s)
			if got := refused(t, s, c.at); !slices.Equal(got, c.refused) {
				t.Errorf("refused by %v, want %v", got, c.refused)
			}
		})
	}
}

// A gate that no row above sees refusing might as well not be there.
func TestEveryGateRefuses(t *testing.T) {
	parse := func(name string) *ast.File {
		t.Helper()
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		must(t, err)
		return f
	}
	var gates []string
	ast.Inspect(parse("gates.go"), func(n ast.Node) bool {
		if c, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(c.Names[0].Name, "Gate") {
			gates = append(gates, c.Names[0].Name)
		}
		return true
	})
	if len(gates) < 10 {
		t.Fatalf("only %q were found: look at how they are declared", gates)
	}
	refused := refusedIn(parse("gates_test.go"))
	for _, name := range gates {
		if !refused[name] {
			t.Errorf("no row of a table has %s refuse", name)
		}
	}
}

// refusedIn are the names in the last column of the tables: a list of strings.
func refusedIn(f *ast.File) map[string]bool {
	names := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		row, ok := n.(*ast.CompositeLit)
		if !ok || row.Type != nil || len(row.Elts) == 0 { // rows leave their type out
			return true
		}
		if last, ok := row.Elts[len(row.Elts)-1].(*ast.CompositeLit); ok {
			for _, e := range last.Elts {
				if id, ok := e.(*ast.Ident); ok {
					names[id.Name] = true
				}
			}
		}
		return true
	})
	return names
}

// An instance answers for its own step and for the next one.
func TestGatesThatMakeNoSense(t *testing.T) {
	for step := DeployNew; step <= RemoveOld; step++ {
		s := raisedTo(t, step, 0).at(t, step)
		for to := DeployNew; to <= RemoveOld; to++ {
			_, err := s.Gates(t.Context(), to)
			sensible := to == step || to == step+1 && step.HasNew()
			if (err == nil) != sensible {
				t.Errorf("step %d asked for the gates to %d: %v", step, to, err)
			}
		}
	}
}

// A look at the gates only reads: it moves no fence and no mirror, not even where
// a return that died has left them apart, sends nothing and tries nothing.
func TestLooksAtGatesOnlyRead(t *testing.T) {
	for to := AddDAO; to <= RemoveOld; to++ {
		w := raisedTo(t, to, 1)
		waiting(t, w)
		s := w.at(t, to)
		if f := fenceOf(t, w); f.Primary == store.PrimaryNew {
			must(t, w.new.RaiseMirror(t.Context(), store.Mirror{Migration: f.Migration, Epoch: f.Epoch + 2, Primary: f.Primary}))
		}
		w.old, w.new = readOnlyOld{w.old}, readOnlyNew{w.new}
		s.old, s.new = w.old, w.new
		gates, err := s.LookAtGates(t.Context(), to)
		must(t, err)
		untried := 0
		for _, g := range gates {
			if strings.Contains(g.Detail, errReadOnly.Error()) {
				t.Errorf("to %d, gate %s writes: %s", to, g.Name, g.Detail)
			}
			if g.Untried {
				untried++
			}
			if g.Untried && (!g.OK || !strings.Contains(g.Detail, "not tried: the switch tries it")) {
				t.Errorf("to %d, gate %s: %+v", to, g.Name, g)
			}
		}
		if want := map[Step]int{WriteBoth: 1, ReadBoth: 1, NewPrimary: 1, StopOldWrites: 2}[to]; untried != want {
			t.Errorf("to %d, %d gates were not tried, want %d: %+v", to, untried, want, gates)
		}
	}
}

// A look at what is pending says whether anything is, and whether the relay can
// send it.
func TestALookAtWhatIsPending(t *testing.T) {
	for _, c := range []struct {
		name             string
		waits, failed    bool
		ok, untried      bool
		detail, andPlace string
	}{
		{"nothing", false, false, true, false, "nothing is pending", ""},
		{"nothing any more", false, true, true, false, "nothing is pending", ""},
		{"one record", true, false, true, true, "1 records are pending", "not tried"},
		{"one record that can't be sent", true, true, false, false, "1 records are pending", "can't send them: " + errDown.Error()},
	} {
		w := raisedTo(t, ReadBoth, 0)
		if c.waits {
			w.leave(t, 1)
		}
		s := w.at(t, ReadBoth)
		if c.failed {
			s.relay.note(errDown)
		}
		gates, err := s.LookAtGates(t.Context(), ReadBoth)
		must(t, err)
		if g := gates[0]; len(gates) != 1 || g.OK != c.ok || g.Untried != c.untried || !strings.Contains(g.Detail, c.detail) || !strings.Contains(g.Detail, c.andPlace) {
			t.Errorf("%s: %+v", c.name, gates)
		}
	}
}

// A mirror of another migration is left alone, and a gate says so; one that was never
// set is to be set.
func TestAnothersMirror(t *testing.T) {
	for _, c := range []struct {
		mirror store.Mirror
		level  error // of the move
		look   error // of the look
	}{
		{store.Mirror{Migration: "another", Epoch: 2, Primary: store.PrimaryNew}, store.ErrStranger, store.ErrStranger},
		{store.Mirror{}, nil, errUntried},
	} {
		w := raisedTo(t, StopOldWrites, 0)
		s := w.at(t, NewPrimary)
		s.new = lookingNew{markedNew{newStore: w.new, mirror: c.mirror}}
		if err := s.align(t.Context(), fenceOf(t, w)); !errors.Is(err, c.level) {
			t.Errorf("mirror %+v: align says %v", c.mirror, err)
		}
		out := &service{new: lookingNew{markedNew{newStore: w.new, err: errDown}}}
		if err := out.lookLevel(t.Context(), fenceOf(t, w)); !errors.Is(err, errDown) {
			t.Errorf("out of reach: a look says %v", err)
		}
		if err := s.lookLevel(t.Context(), fenceOf(t, w)); !errors.Is(err, c.look) {
			t.Errorf("mirror %+v: a look says %v", c.mirror, err)
		}
	}
}
