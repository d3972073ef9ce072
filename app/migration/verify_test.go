package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// Verify counts every record once, wherever the pages of the two databases end.
func TestVerifyAcrossPages(t *testing.T) {
	for _, batch := range []int{1, 2, 7, 50, 200} {
		w := raisedTo(t, StopOldWrites, 0)
		var want store.VerifyResult
		for i := range 300 {
			id := fmt.Sprintf("r-%03d", i)
			if i < 60 || i%3 > 0 { // a page of new ends long before one of old
				w.put(t, store.PrimaryNew, copyOf(record.ID(id), 2, 2, "x"))
			}
			if i >= 60 && i%4 > 0 {
				w.put(t, store.PrimaryOld, copyOf(record.ID(id), 2, 1, "x"))
			}
			inNew, inOld := i < 60 || i%3 > 0, i >= 60 && i%4 > 0
			switch {
			case inNew && inOld:
				want.Equal++
			case inNew:
				want.Behind++
			case inOld:
				want.Missing++
			}
		}
		var done []int64
		pages := 0
		rep, err := Verify(t.Context(), w.old, w.new, VerifyOptions{
			Batch: batch, Samples: 3,
			Progress: func(p Pass) { done = append(done, p.Done) },
			Throttle: func(context.Context, int) error { pages++; return nil },
		})
		must(t, err)
		if rep.Equal != want.Equal || rep.Behind != want.Behind || rep.Missing != want.Missing || rep.Stale+rep.Late+rep.Different != 0 {
			t.Errorf("pages of %d: %+v; want %d equal, %d behind, %d missing", batch, rep.VerifyResult, want.Equal, want.Behind, want.Missing)
		}
		if len(rep.Samples) != 3 || rep.Samples[0].Finding != FoundMissing {
			t.Errorf("pages of %d: samples %+v; want three that are missing", batch, rep.Samples)
		}
		if all := want.Equal + want.Behind + want.Missing; done[len(done)-1] != all || !slices.IsSorted(done) || len(done) != pages+1 {
			t.Errorf("pages of %d: progress ended at %v of %d, after %d pages", batch, done[len(done)-1], all, pages)
		}
	}
}

// visited is a new database with documents whose ids no record can have.
type visited struct {
	newStore
	found []store.Stranger
}

func (v visited) Strangers(_ context.Context, limit int) ([]store.Stranger, int64, error) {
	return v.found[:min(limit, len(v.found))], int64(len(v.found)), nil
}

// What somebody put into new keeps a verify from being clean, also where no page
// shows it.
func TestVerifyCountsStrangers(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 0)
	rep, err := Verify(t.Context(), w.old, visited{w.new, nil}, VerifyOptions{})
	must(t, err)
	if !rep.Clean || rep.Strangers != 0 {
		t.Fatalf("%+v; want it clean", rep)
	}
	found := []store.Stranger{{Collection: "tasks", ID: "1.5"}, {Collection: "tasks", ID: "2"}, {Collection: "orders", ID: "3"}}
	for name, verify := range map[string]func(context.Context, store.Old, store.New, VerifyOptions) (VerifyReport, error){"Verify": Verify, "Compare": Compare} {
		rep, err := verify(t.Context(), w.old, visited{w.new, found}, VerifyOptions{Samples: 2})
		must(t, err)
		if rep.Clean || rep.Strangers != 3 || !slices.Equal(rep.Strange, found[:2]) {
			t.Errorf("%s: %+v; want three strangers, two of them named, and not clean", name, rep)
		}
	}
}

// scannedEarly shows the pages of a time at which a record had not arrived.
type scannedEarly struct {
	newStore
	lacks record.ID
}

func (n scannedEarly) Scan(ctx context.Context, after record.ID, limit int) (recordPage, error) {
	page, err := n.newStore.Scan(ctx, after, limit)
	page.Records = slices.DeleteFunc(page.Records, func(r store.Record) bool { return r.ID == n.lacks })
	return page, err
}

// scannedEarlyOld is the same of old.
type scannedEarlyOld struct {
	oldStore
	lacks record.ID
}

func (o scannedEarlyOld) Scan(ctx context.Context, after record.ID, limit int) (recordPage, store.Fence, error) {
	page, f, err := o.oldStore.Scan(ctx, after, limit)
	page.Records = slices.DeleteFunc(page.Records, func(r store.Record) bool { return r.ID == o.lacks })
	return page, f, err
}

// What seems to be missing is read again before it counts: it was on its way.
func TestVerifyLooksTwice(t *testing.T) {
	for _, primary := range []store.Primary{store.PrimaryOld, store.PrimaryNew} {
		for _, late := range []store.Primary{store.PrimaryOld, store.PrimaryNew} {
			step := NewPrimary
			if primary == store.PrimaryNew {
				step = StopOldWrites
			}
			w := raisedTo(t, step, 0)
			for _, id := range []record.ID{"a", "b"} {
				w.put(t, store.PrimaryOld, copyOf(id, 1, 1, "x"))
				w.put(t, store.PrimaryNew, copyOf(id, 1, 1, "x"))
			}
			w.put(t, store.PrimaryOld, copyOf("lost", 1, 1, "x")) // and stays so
			if late == store.PrimaryOld {
				w.old = scannedEarlyOld{w.old, "a"}
			} else {
				w.new = scannedEarly{w.new, "a"}
			}
			rep, err := Verify(t.Context(), w.old, w.new, VerifyOptions{})
			must(t, err)
			if rep.Equal != 2 || rep.Behind+rep.Missing != 1 || rep.Stale+rep.Late+rep.Different != 0 {
				t.Errorf("%s is primary, a page of %s was early: %+v; want two equal and one that new lacks", primary, late, rep.VerifyResult)
			}
		}
	}
}

// A repair sends the newer copy and is what it says: a record counts as
// repaired only if both databases agree on it then.
func TestRepairSends(t *testing.T) {
	for _, c := range []struct {
		name     string
		primary  store.Primary
		old, new *store.Record
		finding  Finding
		repaired bool
	}{
		{"new lacks it, under old", store.PrimaryOld, ptr(copyOf("a", 1, 1, "x")), nil, FoundBehind, true},
		{"new is older, under old", store.PrimaryOld, ptr(copyOf("a", 2, 1, "x")), ptr(copyOf("a", 1, 1, "y")), FoundBehind, true},
		{"old lacks it, under old", store.PrimaryOld, nil, ptr(copyOf("a", 1, 1, "x")), FoundMissing, true},
		{"old is older, under old", store.PrimaryOld, ptr(copyOf("a", 1, 1, "x")), ptr(copyOf("a", 2, 1, "y")), FoundStale, true},
		{"a late command, under old", store.PrimaryOld, ptr(copyOf("a", 1, 0, "x")), ptr(copyOf("a", 2, 0, "y")), FoundLate, false},
		{"new lacks it, under new", store.PrimaryNew, ptr(copyOf("a", 1, 1, "x")), nil, FoundMissing, true},
		{"new is older, under new", store.PrimaryNew, ptr(copyOf("a", 2, 1, "x")), ptr(copyOf("a", 1, 1, "y")), FoundStale, true},
		{"old lacks it, under new", store.PrimaryNew, nil, ptr(copyOf("a", 1, 2, "x")), FoundBehind, false},
		{"other content, under new", store.PrimaryNew, ptr(copyOf("a", 1, 1, "x")), ptr(copyOf("a", 1, 1, "y")), FoundDifferent, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			step := NewPrimary
			if c.primary == store.PrimaryNew {
				step = StopOldWrites
			}
			w := raisedTo(t, step, 0)
			if c.old != nil {
				w.put(t, store.PrimaryOld, *c.old)
			}
			if c.new != nil {
				w.put(t, store.PrimaryNew, *c.new)
			}
			for _, repair := range []bool{false, true} {
				rep, err := Verify(t.Context(), w.old, w.new, VerifyOptions{Repair: repair})
				must(t, err)
				if c.finding != FoundBehind && (len(rep.Samples) != 1 || rep.Samples[0].Finding != c.finding || rep.Samples[0].Repaired != (repair && c.repaired)) {
					t.Errorf("repair %v: samples %+v, want %s", repair, rep.Samples, c.finding)
				}
				if want := repair && c.repaired; (rep.Repaired == 1) != want || (rep.Equal == 1) != want {
					t.Errorf("repair %v: %d repaired, %d equal", repair, rep.Repaired, rep.Equal)
				}
			}
			olds, _, err := w.old.Get(t.Context(), "a")
			must(t, err)
			news, err := w.new.Get(t.Context(), "a")
			must(t, err)
			if same := olds["a"].Body == news["a"].Body; same != c.repaired {
				t.Errorf("old holds %+v, new %+v", olds["a"], news["a"])
			}
		})
	}
}

// convertedOld has stored some texts in another form.
type convertedOld struct {
	oldStore
	n int64
}

func (o convertedOld) Converted(context.Context, int) ([]store.Quarantined, int64, error) {
	return nil, o.n, nil
}

// A verify first makes tombstones of what was removed unseen, and a comparison does
// not. Both read the database that is not the primary first, page by page and again
// for what does not agree; a copy that arrives in between is no fault then. What
// agrees is read once.
func TestTheOrderInWhichVerifyReads(t *testing.T) {
	for _, c := range []struct {
		raised Step
		want   string // the reads, in order
	}{
		{ReadBoth, "new.Scan old.Scan new.Get old.Get"},
		{StopOldWrites, "old.Scan new.Scan old.Get new.Get"},
	} {
		for _, agree := range []bool{true, false} {
			w := raisedTo(t, c.raised, 0)
			w.put(t, store.PrimaryOld, copyOf("a", 1, 1, "x"))
			if agree {
				w.put(t, store.PrimaryNew, copyOf("a", 1, 1, "x"))
			}
			w.old = convertedOld{w.old, 7}
			f := &failAt{}
			f.between(w)
			for _, verify := range []bool{true, false} {
				run := Compare
				if verify {
					run = Verify
				}
				f.took()
				rep, err := run(t.Context(), w.old, w.new, VerifyOptions{})
				must(t, err)
				var reads []string
				swept := false
				for _, call := range f.took() {
					swept = swept || call == "old.Sweep"
					if strings.HasSuffix(call, ".Scan") || strings.HasSuffix(call, ".Get") {
						reads = append(reads, call)
					}
				}
				want := c.want
				if agree {
					want, _, _ = strings.Cut(want, " "+strings.Fields(want)[2])
				}
				if got := strings.Join(reads, " "); got != want || swept != verify {
					t.Errorf("raised to %d, agree %v, verify %v: it reads %s, want %s; swept %v", c.raised, agree, verify, got, want, swept)
				}
				if rep.Converted != 7 || (rep.Equal == 1) != agree {
					t.Errorf("raised to %d, agree %v: %+v", c.raised, agree, rep)
				}
			}
		}
	}
	w := raisedTo(t, ReadBoth, 0)
	o, _ := w.faulty()
	o.fence = errDown
	if rep, err := Compare(t.Context(), w.old, w.new, VerifyOptions{}); !errors.Is(err, errDown) {
		t.Errorf("without a fence: %+v, %v", rep, err)
	}
}

// movedOld has the primary move when something is asked of it first.
type movedOld struct {
	oldStore
	scan, quarantine func()
}

func (o *movedOld) Scan(ctx context.Context, after record.ID, limit int) (recordPage, store.Fence, error) {
	if o.scan != nil {
		o.scan()
	}
	return o.oldStore.Scan(ctx, after, limit)
}

func (o *movedOld) Quarantine(ctx context.Context, limit int) ([]store.Quarantined, int64, error) {
	if o.quarantine != nil {
		o.quarantine()
	}
	return o.oldStore.Quarantine(ctx, limit)
}

// A verify during which the primary moves says so and records nothing: what it read
// belongs to two epochs.
func TestVerifyNoticesThatThePrimaryMoves(t *testing.T) {
	for _, last := range []bool{false, true} {
		w := raisedTo(t, NewPrimary, 1)
		move := func() { must(t, w.at(t, NewPrimary).Advance(t.Context())) }
		o := &movedOld{oldStore: w.old, scan: move}
		if last {
			o.scan, o.quarantine = nil, move
		}
		rep, err := Verify(t.Context(), o, w.new, VerifyOptions{})
		if !errors.Is(err, store.ErrFenceMoved) {
			t.Errorf("at the end %v: %+v, %v", last, rep, err)
		}
		for epoch := range int64(3) {
			if p, err := w.new.Progress(t.Context(), epoch); err != nil || p.Verify != nil {
				t.Errorf("at the end %v: epoch %d has %+v (%v)", last, epoch, p.Verify, err)
			}
		}
	}
}

// A verify that is given no more allowance ends there, and records nothing.
func TestAVerifyThatIsCutOff(t *testing.T) {
	w := raisedTo(t, ReadBoth, 2)
	_, err := Verify(t.Context(), w.old, w.new, VerifyOptions{Batch: 1, Throttle: func(context.Context, int) error { return context.Canceled }})
	p, perr := w.new.Progress(t.Context(), 1)
	must(t, perr)
	if !errors.Is(err, context.Canceled) || p.Verify != nil {
		t.Errorf("%v; recorded %+v", err, p.Verify)
	}
}
