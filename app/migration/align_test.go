package migration

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// writes are the calls that change something in a database.
func writes(calls []string) []string {
	var out []string
	for _, c := range calls {
		switch strings.TrimPrefix(strings.TrimPrefix(c, "old."), "new.") {
		case "Get", "List", "Pending", "CountPending", "Scan", "Count", "Fence", "Guarded", "Filled", "Quarantine", "Accepted", "Converted", "Prepared", "Mirror", "Registrations", "Progress":
		default:
			out = append(out, c)
		}
	}
	return out
}

// watched is an instance whose calls are noted from now on.
func (w *world) watched(t *testing.T, step Step) (*service, *failAt) {
	t.Helper()
	f := &failAt{}
	f.between(w)
	s := w.unstarted(t, step)
	must(t, s.Start(t.Context()))
	f.took()
	return s, f
}

// Only steps 5 to 7 advance the primary, and of these only 5 flips it.
func TestWhoMayAdvance(t *testing.T) {
	for step := DeployNew; step <= RemoveOld; step++ {
		w := raisedTo(t, step, 0)
		s, f := w.watched(t, step)
		before := fenceOf(t, w)
		f.took()
		err := s.Advance(t.Context())
		if may := step >= NewPrimary && step <= Backfill; (err == nil) != may || !may && !errors.Is(err, ErrRefused) {
			t.Errorf("step %d: %v", step, err)
		}
		if step != NewPrimary {
			if ws := writes(f.took()); len(ws) > 0 || fenceOf(t, w) != before {
				t.Errorf("step %d: it wrote %v, the fence is %+v", step, ws, fenceOf(t, w))
			}
		}
	}
	for _, step := range []Step{StopOldWrites, Backfill} { // which the primary has left
		w := raisedTo(t, NewPrimary, 0)
		s := w.unstarted(t, step)
		before := fenceOf(t, w)
		if err := s.Advance(t.Context()); !errors.Is(err, ErrRefused) {
			t.Errorf("step %d under old: %v", step, err)
		}
		if fenceOf(t, w) != before {
			t.Errorf("step %d under old: the fence is %+v", step, fenceOf(t, w))
		}
	}
}

// A repeated advance finishes what is half done, and does no more than that.
func TestAdvanceAlignsMirrorAndFence(t *testing.T) {
	const new, old = store.PrimaryNew, store.PrimaryOld
	for _, c := range []struct {
		name    string
		fence   store.Fence // Migration is filled in
		mirror  store.Mirror
		want    int64 // the epoch of both; 0: nothing moves
		err     error
		calling []string
	}{
		{"all is done", store.Fence{Epoch: 4, Primary: new}, store.Mirror{Epoch: 4, Primary: new}, 4, nil, nil},
		{"the mirror is behind", store.Fence{Epoch: 4, Primary: new}, store.Mirror{Epoch: 2, Primary: new}, 4, nil, []string{"new.RaiseMirror"}},
		{"the mirror is ahead", store.Fence{Epoch: 4, Primary: new}, store.Mirror{Epoch: 5, Primary: old}, 6, nil, []string{"old.MoveFence", "new.RaiseMirror"}},
		{"the mirror is ahead of a closing fence", store.Fence{Epoch: 4, Primary: new, Closing: true, Token: "t", Deadline: time.Now().Add(time.Hour)}, store.Mirror{Epoch: 5, Primary: old}, 0, ErrRefused, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, step := range []Step{NewPrimary, StopOldWrites} {
				w := raisedTo(t, NewPrimary, 0)
				from := fenceOf(t, w)
				c.fence.Migration, c.mirror.Migration = from.Migration, from.Migration
				must(t, w.old.MoveFence(t.Context(), from, c.fence))
				must(t, w.new.RaiseMirror(t.Context(), c.mirror))
				f := &failAt{}
				f.between(w)
				err := w.unstarted(t, step).Advance(t.Context())
				if !errors.Is(err, c.err) {
					t.Errorf("step %d: %v, want %v", step, err, c.err)
				}
				if ws := writes(f.took()); !slices.Equal(ws, c.calling) {
					t.Errorf("step %d: it calls %v, want %v", step, ws, c.calling)
				}
				m, err := w.new.Mirror(t.Context())
				must(t, err)
				now := fenceOf(t, w)
				switch {
				case c.want == 0 && (now != c.fence || m != c.mirror):
					t.Errorf("step %d: fence %+v, mirror %+v; want them as they were", step, now, m)
				case c.want > 0 && (now.Epoch != c.want || m.Epoch != c.want || m.Primary != new || now.Primary != new || now.Closing):
					t.Errorf("step %d: fence %+v, mirror %+v; want both at epoch %d", step, now, m, c.want)
				}
			}
		})
	}
}

// An old database of another migration is neither advanced nor prepared for,
// whoever is primary in it.
func TestStrangersAreNotAdvanced(t *testing.T) {
	for _, raised := range []Step{NewPrimary, StopOldWrites} {
		w := raisedTo(t, raised, 0)
		f := &failAt{}
		f.between(w)
		s, err := New(Config{Step: NewPrimary, Old: w.old, New: w.new, Migration: "remembered"})
		must(t, err)
		for what, do := range map[string]func() error{
			"advance": func() error { return s.Advance(t.Context()) },
			"prepare": func() error { return s.Prepare(t.Context()) },
			"list":    func() error { _, err := s.List(t.Context(), record.Filter{}, "", 1); return err },
			"relay":   func() error { return s.relayPass(t.Context()) },
		} {
			if err := do(); !errors.Is(err, store.ErrStranger) {
				t.Errorf("%s: %v, want ErrStranger", what, err)
			}
		}
		if ws := writes(f.took()); len(ws) > 0 {
			t.Errorf("it wrote %v", ws)
		}
	}
}

// To prepare is to put in place what steps 2 to 5 need while old is primary, and
// else only to look.
func TestWhatPrepareDoes(t *testing.T) {
	for _, c := range []struct {
		at     Step
		raised Step
		want   []string
	}{
		{DeployNew, DeployNew, nil},
		{AddDAO, DeployNew, []string{"new.Prepare", "new.RaiseMirror"}},
		{WriteBoth, WriteBoth, []string{"new.Prepare", "new.RaiseMirror"}},
		{ReadBoth, StopOldWrites, nil}, // what is primary was prepared, and the mirror is there
		{StopOldWrites, StopOldWrites, nil},
		{Backfill, Backfill, nil},
		{RemoveOld, RemoveOld, nil},
	} {
		w := raisedTo(t, c.raised, 0)
		f := &failAt{}
		f.between(w)
		must(t, w.unstarted(t, c.at).Prepare(t.Context()))
		if ws := writes(f.took()); !slices.Equal(ws, c.want) {
			t.Errorf("step %d: it calls %v, want %v", c.at, ws, c.want)
		}
	}
	// A mirror that fell behind is raised, too, where new is primary.
	w := raisedTo(t, NewPrimary, 0)
	from := fenceOf(t, w)
	must(t, w.old.MoveFence(t.Context(), from, store.Fence{Epoch: 7, Primary: store.PrimaryNew}))
	must(t, w.unstarted(t, ReadBoth).Prepare(t.Context()))
	if m, err := w.new.Mirror(t.Context()); err != nil || m.Epoch != 7 || m.Primary != store.PrimaryNew {
		t.Errorf("mirror %+v (%v), want epoch 7", m, err)
	}
}

// Whether new is of this migration is asked once, not for each request.
func TestNewIsKnownOnce(t *testing.T) {
	for _, step := range []Step{WriteBoth, ReadBoth, NewPrimary} {
		w := raisedTo(t, step, 1)
		f := &failAt{}
		f.between(w)
		s := w.unstarted(t, step)
		for range 3 {
			must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
			_, _, err := s.Get(t.Context(), w.ids[0])
			must(t, err)
			must(t, s.relayPass(t.Context()))
		}
		asked := 0
		for _, c := range f.took() {
			if c == "new.Prepared" {
				asked++
			}
		}
		// At 5 the probe before the flip asks once more.
		if want := 1; asked != want && !(step == NewPrimary && asked == 2) {
			t.Errorf("step %d: it asked %d times", step, asked)
		}
	}
}

// What was put in place once is not put there again each second, whichever database
// is primary.
func TestNewIsPreparedOnce(t *testing.T) {
	for _, raised := range []Step{ReadBoth, StopOldWrites} {
		w := raisedTo(t, raised, 0)
		f := &failAt{}
		f.between(w)
		s := w.unstarted(t, ReadBoth)
		must(t, s.settle(t.Context()))
		f.took()
		must(t, s.settle(t.Context()))
		if calls := f.took(); !slices.Equal(calls, []string{"new.Prepared"}) {
			t.Errorf("raised to %d: the second time it calls %v; want a look that it is still there", raised, calls)
		}
	}
}
