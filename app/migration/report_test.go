package migration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"migrate.invalid/migrate/app/store"
)

// The gate to 5 says what was compared, and with a read that differed, what to
// look at.
func TestTheComparedGateSaysWhatItFound(t *testing.T) {
	for _, c := range []struct {
		name     string
		progress store.Progress
		err      error
		ok       bool
		detail   string
		remedy   string
	}{
		{"too few", store.Progress{Compared: map[string]store.Compared{"": store.Compared{Equal: 600, OldP99: 1500, NewP99: 2500, Errors: 3}}}, nil, false,
			"600 reads compared, 0 different; p99 old 1.5 ms, new 2.5 ms; 3 errors of new; 1000 wanted", "migrate backfill"},
		{"one short", store.Progress{Compared: map[string]store.Compared{"": store.Compared{Equal: 999}}}, nil, false, "999 reads compared", "migrate verify"},
		{"enough", store.Progress{Compared: map[string]store.Compared{"": store.Compared{Equal: 1000}}}, nil, true, "1000 reads compared", ""},
		{"verified", store.Progress{Verify: &store.VerifyResult{Clean: true, Equal: 7, Behind: 2}}, nil, true, "a clean verify found 7 equal", ""},
		{"one differs", store.Progress{Compared: map[string]store.Compared{"": store.Compared{Equal: 5000, Different: 1}}}, nil, false, "5001 reads compared, 1 different", "look at each"},
		{"out of reach", store.Progress{}, errDown, false, errDown.Error(), "bring the database back into reach"},
	} {
		w := raisedTo(t, NewPrimary, 0)
		s := w.at(t, NewPrimary)
		g := s.gateCompared(t.Context(), markedNew{newStore: s.new, progress: c.progress, err: c.err})
		if g.OK != c.ok || !strings.Contains(g.Detail, c.detail) || !strings.Contains(g.Remedy, c.remedy) || c.ok && g.Remedy != "" {
			t.Errorf("%s: %+v", c.name, g)
		}
	}
	w := raisedTo(t, StopOldWrites, 0)
	s := w.at(t, NewPrimary)
	if g := s.gateCompared(t.Context(), markedNew{newStore: s.new, err: errDown}); !g.OK || !strings.Contains(g.Detail, "primary already") {
		t.Errorf("under new: %+v", g)
	}
}

// reportedNew notes the reports that it is given.
type reportedNew struct {
	newStore
	reports *[]string
}

func (n reportedNew) SaveCompared(ctx context.Context, epoch int64, instance string, c map[string]store.Compared) error {
	*n.reports = append(*n.reports, fmt.Sprintf("epoch %d: %d equal, %d different", epoch, c[""].Equal, c[""].Different))
	if c[""].OldP99 == 0 || c[""].NewP99 == 0 {
		*n.reports = append(*n.reports, "without latencies")
	}
	return n.newStore.SaveCompared(ctx, epoch, instance, c)
}

// A report of compared reads is left once, and again only when there is more to
// report; with it goes how fast both databases answered.
func TestReportsAreLeftOnce(t *testing.T) {
	w := raisedTo(t, ReadBoth, 1)
	var reports []string
	w.new = reportedNew{w.new, &reports}
	s := w.at(t, ReadBoth)
	s.reportCompared(t.Context())
	if len(reports) > 0 {
		t.Errorf("nothing was compared, and %q was reported", reports)
	}
	must(t, w.appendTo(t.Context(), s, w.ids[0], "x"))
	for range 2 {
		recs, fence, err := w.old.Get(t.Context(), w.ids[0])
		must(t, err)
		s.compareNow(t.Context(), comparison{fence.Epoch, w.ids[0], recs[w.ids[0]], true})
		s.reportCompared(t.Context())
		s.reportCompared(t.Context())
	}
	if want := "epoch 1: 1 equal, 0 different|epoch 1: 2 equal, 0 different"; strings.Join(reports, "|") != want {
		t.Errorf("reported %q, want %q", strings.Join(reports, "|"), want)
	}
}

// A backfill that has nothing left to do reads no record.
func TestABackfillThatIsCompleteReadsNothing(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 3)
	_, err := CopyAll(t.Context(), w.old, w.new, BackfillOptions{})
	must(t, err)
	f := &failAt{}
	f.between(w)
	res, err := CopyAll(t.Context(), w.old, w.new, BackfillOptions{})
	must(t, err)
	calls := strings.Join(f.took(), " ")
	if !res.Already || res.Copied != 3 || strings.Contains(calls, "Scan") || strings.Contains(calls, "PutIfNewer") {
		t.Errorf("%+v after %s", res, calls)
	}
}

// movingOld shows what it is asked to mark, and answers as it is told.
type movingOld struct {
	oldStore
	marks  *[]store.Mark
	answer error
}

func (o movingOld) Isolate(ctx context.Context, epoch int64, mark store.Mark, reason string) error {
	*o.marks = append(*o.marks, mark)
	if o.answer != nil {
		return o.answer
	}
	return o.oldStore.Isolate(ctx, epoch, mark, reason)
}

// pickyAboutIDs is a new store that can't hold one id, not even its tombstone.
type pickyAboutIDs struct{ newStore }

func (n pickyAboutIDs) PutIfNewer(ctx context.Context, recs ...store.Record) error {
	for _, r := range recs {
		if r.ID == "bad" {
			return fmt.Errorf("%w: %s", store.ErrUnfit, r.ID)
		}
	}
	return n.newStore.PutIfNewer(ctx, recs...)
}

// A backfill marks a record that new can't hold by the pair that old knows it by,
// leaves one that changed meanwhile to the relay, and does not go on where it can't
// mark. It is not complete while a row is undecided.
func TestABackfillIsolates(t *testing.T) {
	for _, answer := range []error{nil, store.ErrConflict, errDown} {
		w := raisedTo(t, StopOldWrites, 0)
		w.put(t, store.PrimaryOld, copyOf("a", 1, 1, "x"))
		w.put(t, store.PrimaryOld, copyOf("bad", 1, 1, "x"))
		w.put(t, store.PrimaryOld, copyOf("c", 1, 1, "x"))
		w.put(t, store.PrimaryOld, copyOf("d", 1, 1, ""))
		var marks []store.Mark
		res, err := CopyAll(t.Context(), movingOld{w.old, &marks, answer}, pickyAboutIDs{w.new}, BackfillOptions{})
		if answer == errDown {
			if !errors.Is(err, errDown) || !strings.Contains(err.Error(), `mark "bad"`) {
				t.Errorf("got %v", err)
			}
			continue
		}
		must(t, err)
		if len(marks) != 1 || marks[0] != (store.Mark{ID: "bad", Pair: store.Pair{Rev: 1, Epoch: 1}}) {
			t.Errorf("marked %+v", marks)
		}
		if undecided := answer == nil; res.Complete == undecided || (res.Quarantine == 1) != undecided {
			t.Errorf("answer %v: %+v", answer, res)
		}
		recs, err := w.new.Get(t.Context(), "a", "bad", "c", "d")
		must(t, err)
		if _, there := recs["bad"]; there || recs["a"].Epoch != 2 || recs["c"].Epoch != 2 || recs["d"].Epoch != 2 {
			t.Errorf("answer %v: new holds %+v", answer, recs)
		}
	}
}

// A slow call keeps others away for as long as it is under way, whatever calls
// began at the same moment.
func TestTheBreakerKnowsEachCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker
		first, second, third := b.begin(), b.begin(), b.begin()
		want := func(well bool, when string) {
			t.Helper()
			if b.well() != well {
				t.Errorf("%s: well %v", when, !well)
			}
		}
		want(true, "three calls have just begun")
		time.Sleep(slowCall - time.Nanosecond)
		want(true, "just before they are slow")
		time.Sleep(time.Nanosecond)
		want(false, "they are slow")
		second(nil)
		want(false, "one has ended")
		first(nil)
		want(false, "two have ended")
		third(nil)
		want(true, "all have ended")
		note := b.begin()
		note(store.ErrUnavailable)
		want(false, "one has failed")
		b.note(nil)
		want(true, "one has succeeded since")
		if err := b.trouble(); err != nil {
			t.Errorf("trouble: %v", err)
		}
	})
}

// What is wrong with the other database is told with its cause and since when.
func TestTheBreakerTellsItsTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker
		b.note(store.ErrUnavailable)
		time.Sleep(7 * time.Second)
		b.note(fmt.Errorf("%w: refused", store.ErrUnavailable))
		if err := b.trouble(); err == nil || !strings.Contains(err.Error(), "last 7 s") || !strings.Contains(err.Error(), "refused") {
			t.Errorf("trouble: %v", err)
		}
		b.note(nil)
		b.note(store.ErrUnknown)
		if err := b.trouble(); err == nil || !strings.Contains(err.Error(), "last 1 s") {
			t.Errorf("after a success and a failure: %v", err)
		}
	})
}
