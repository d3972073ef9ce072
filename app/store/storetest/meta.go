package storetest

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/task"
)

func metaCases() []Case[New] {
	return []Case[New]{
		{Name: "Prepare is repeatable and refuses a stranger", Run: prepare},
		{Name: "the mirror only rises", Run: mirrorRises},
		{Name: "of many who raise the mirror, the highest stays", Run: mirrorRace},
		{Name: "registrations come and go", Run: registrations},
		{Name: "progress is kept by epoch", Run: progressByEpoch},
		{Name: "what instances compared is replaced and summed", Run: comparedSums},
		{Name: "Probe is felt by no record", Run: probe},
		{Name: "ProbeRecord is never seen", Run: probeRecord},
	}
}

func prepared(t T, s New) {
	t.Helper()
	if err := s.Prepare(t.Context(), migrationID); err != nil {
		t.Fatalf("Prepare: %v", err)
	}
}

func prepare(t T, s New) {
	ctx := t.Context()
	id, err := s.Prepared(ctx)
	wantErr(t, "Prepared of an empty database, "+id, err, store.ErrStranger)
	wantErr(t, "RaiseMirror of an empty database", s.RaiseMirror(ctx, store.Mirror{Migration: migrationID, Epoch: 2, Primary: store.PrimaryNew}), store.ErrStranger)
	prepared(t, s)
	put(t, s, live("a", 1, 1))
	if err := s.RaiseMirror(ctx, store.Mirror{Migration: migrationID, Epoch: 2, Primary: store.PrimaryNew}); err != nil {
		t.Fatalf("RaiseMirror: %v", err)
	}
	prepared(t, s)
	wantErr(t, "Prepare by a stranger", s.Prepare(ctx, "another"), store.ErrStranger)
	if id, err := s.Prepared(ctx); id != migrationID || err != nil {
		t.Errorf("Prepared: %q, %v", id, err)
	}
	holds(t, s, live("a", 1, 1))
	wantMirror(t, s, store.Mirror{Migration: migrationID, Epoch: 2, Primary: store.PrimaryNew})
}

func wantMirror(t T, s New, want store.Mirror) {
	t.Helper()
	if got, err := s.Mirror(t.Context()); err != nil || got != want {
		t.Errorf("Mirror: %+v, %v; want %+v", got, err, want)
	}
}

func mirrorRises(t T, s New) {
	prepared(t, s)
	wantMirror(t, s, store.Mirror{})
	at := func(epoch int64, p store.Primary) store.Mirror {
		return store.Mirror{Migration: migrationID, Epoch: epoch, Primary: p}
	}
	for _, m := range []struct{ raise, want store.Mirror }{
		{at(2, store.PrimaryNew), at(2, store.PrimaryNew)},
		{at(2, store.PrimaryOld), at(2, store.PrimaryNew)},
		{at(1, store.PrimaryOld), at(2, store.PrimaryNew)},
		{at(3, store.PrimaryOld), at(3, store.PrimaryOld)},
		{at(1<<40, store.PrimaryNew), at(1<<40, store.PrimaryNew)},
		{at(4, store.PrimaryOld), at(1<<40, store.PrimaryNew)},
	} {
		if err := s.RaiseMirror(t.Context(), m.raise); err != nil {
			t.Fatalf("RaiseMirror to %+v: %v", m.raise, err)
		}
		wantMirror(t, s, m.want)
	}
	err := s.RaiseMirror(t.Context(), store.Mirror{Migration: "another", Epoch: 1 << 41, Primary: store.PrimaryNew})
	wantErr(t, "RaiseMirror by a stranger", err, store.ErrStranger)
	wantMirror(t, s, at(1<<40, store.PrimaryNew))
}

func mirrorRace(t T, s New) {
	prepared(t, s)
	var errs errorList
	race(rivals, func(i int) {
		for k := range 4 {
			epoch := int64((k*5+i*3)%32 + 1)
			if err := s.RaiseMirror(t.Context(), store.Mirror{Migration: migrationID, Epoch: epoch, Primary: store.PrimaryNew}); err != nil {
				errs.add(err)
			}
		}
	})
	errs.report(t)
	var most int64
	for i := range rivals {
		for k := range 4 {
			most = max(most, int64((k*5+i*3)%32+1))
		}
	}
	wantMirror(t, s, store.Mirror{Migration: migrationID, Epoch: most, Primary: store.PrimaryNew})
}

func registrations(t T, s New) {
	prepared(t, s)
	ctx := t.Context()
	check := func(want ...store.Registration) {
		t.Helper()
		got, err := s.Registrations(ctx)
		if err != nil {
			t.Fatalf("Registrations: %v", err)
		}
		slices.SortFunc(got, func(a, b store.Registration) int { return strings.Compare(a.Instance, b.Instance) })
		if len(got)+len(want) > 0 && !cmp.Equal(got, want) {
			t.Errorf("Registrations: %s", cmp.Diff(want, got))
		}
	}
	register := func(r store.Registration) {
		t.Helper()
		if err := s.Register(ctx, r); err != nil {
			t.Fatalf("Register: %v", err)
		}
	}
	deregister := func(instance string) {
		t.Helper()
		if err := s.Deregister(ctx, instance); err != nil {
			t.Fatalf("Deregister: %v", err)
		}
	}
	check()
	a := store.Registration{Instance: "a", Step: 6, Host: "näher", Boot: "b", PID: 1 << 30, Started: "12345 67"}
	b := store.Registration{Instance: "b", Step: 8}
	register(a)
	register(b)
	check(a, b)
	a.Step, a.PID = 7, 2
	register(a)
	register(a)
	check(a, b)
	deregister("nobody")
	deregister("a")
	check(b)
	register(a)
	deregister("b")
	check(a)
}

func progress(t T, s New, epoch int64) store.Progress {
	t.Helper()
	p, err := s.Progress(t.Context(), epoch)
	if err != nil {
		t.Fatalf("Progress(%d): %v", epoch, err)
	}
	return p
}

func wantProgress(t T, s New, want store.Progress) {
	t.Helper()
	if d := cmp.Diff(want, progress(t, s, want.Epoch)); d != "" {
		t.Errorf("Progress(%d): %s", want.Epoch, d)
	}
}

func progressByEpoch(t T, s New) {
	prepared(t, s)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v", err)
		}
	}
	wantProgress(t, s, store.Progress{Epoch: 2})
	must(s.SaveCheckpoint(ctx, 2, "é\x00 \U0001F389", 500))
	must(s.SaveCheckpoint(ctx, 12, "\xf8\x80 no UTF-8", 6)) // an id that only the old database can have
	wantProgress(t, s, store.Progress{Epoch: 12, After: "\xf8\x80 no UTF-8", Copied: 6})
	must(s.SaveCheckpoint(ctx, 12, "other", 7))
	two, twelve := store.Progress{Epoch: 2, After: "é\x00 \U0001F389", Copied: 500}, store.Progress{Epoch: 12, After: "other", Copied: 7}
	wantProgress(t, s, two)
	wantProgress(t, s, twelve)
	wantProgress(t, s, store.Progress{Epoch: 1})
	must(s.MarkComplete(ctx, 2))
	must(s.MarkComplete(ctx, 2))
	two.Complete = true
	wantProgress(t, s, two)
	wantProgress(t, s, twelve)
	must(s.SaveCheckpoint(ctx, 2, "z", 1<<40))
	two.After, two.Copied = "z", 1<<40
	for _, v := range []store.VerifyResult{
		{At: time.UnixMilli(1_900_000_000_123).UTC(), Primary: store.PrimaryNew, Equal: 1, Behind: 2, Missing: 3, Stale: 4, Late: 5, Different: 6, Quarantine: 7, Converted: 8},
		{At: time.UnixMilli(1_900_000_000_999).UTC(), Primary: store.PrimaryOld, Equal: 1 << 40, Clean: true},
	} {
		must(s.SaveVerify(ctx, 2, v))
		got := progress(t, s, 2)
		if got.Verify == nil || !got.Verify.At.Equal(v.At) {
			t.Fatalf("Verify: %+v, want %+v", got.Verify, v)
		}
		got.Verify.At = v.At // the same moment; a database keeps no time zone
		two.Verify = &v
		if d := cmp.Diff(two, got); d != "" {
			t.Errorf("Progress(2): %s", d)
		}
	}
	must(s.MarkComplete(ctx, 3))
	wantProgress(t, s, store.Progress{Epoch: 3, Complete: true})
	wantProgress(t, s, twelve)
}

func comparedSums(t T, s New) {
	prepared(t, s)
	type counts = map[string]store.Compared
	save := func(epoch int64, instance string, c counts) {
		t.Helper()
		if err := s.SaveCompared(t.Context(), epoch, instance, c); err != nil {
			t.Fatalf("SaveCompared: %v", err)
		}
	}
	other := store.Compared{Equal: 1, Different: 8}
	save(1, "a", counts{"tasks": {Equal: 10, Behind: 1, Late: 2, Different: 3, Errors: 4, OldP99: 100, NewP99: 900}, "o t/h.e$r": other})
	save(1, "b", counts{"tasks": {Equal: 5, NewP99: 10}})
	save(11, "a", counts{"tasks": {Equal: 7}})
	wantProgress(t, s, store.Progress{Epoch: 1, Compared: counts{
		"tasks": {Equal: 15, Behind: 1, Late: 2, Different: 3, Errors: 4, OldP99: 100, NewP99: 900}, "o t/h.e$r": other,
	}})
	save(1, "a", counts{"tasks": {Equal: 12, OldP99: 50, NewP99: 5}})
	wantProgress(t, s, store.Progress{Epoch: 1, Compared: counts{"tasks": {Equal: 17, OldP99: 50, NewP99: 10}}})
	wantProgress(t, s, store.Progress{Epoch: 11, Compared: counts{"tasks": {Equal: 7}}})
	wantProgress(t, s, store.Progress{Epoch: 2})
}

func probe(t T, s New) {
	prepared(t, s)
	put(t, s, live("a", 1, 1))
	var errs errorList
	race(rivals, func(int) {
		if err := s.Probe(t.Context()); err != nil {
			errs.add(err)
		}
	})
	errs.report(t)
	holds(t, s, live("a", 1, 1))
	wantPending(t, s)
	wantMirror(t, s, store.Mirror{})
}

// probeRecord looks at the records while others probe.
func probeRecord(t T, s New) {
	prepared(t, s)
	want := []Record{live("a", 1, 1), live("z", 1, 1)}
	put(t, s, want...)
	var (
		errs  errorList
		ended atomic.Bool
	)
	race(3, func(i int) {
		if i > 0 {
			for range 10 {
				if err := s.ProbeRecord(t.Context()); err != nil {
					errs.add(err)
				}
			}
			ended.Store(true)
			return
		}
		for !ended.Load() {
			scanned, err := scanAll(t.Context(), s)
			listed, err2 := listAll(t.Context(), s, task.Filter{})
			if !slices.Equal(scanned, want) || !slices.Equal(listed, want) {
				errs.add(fmt.Errorf("beside a probe: Scan %v, %w; List %v, %w", idsOf(scanned), err, idsOf(listed), err2))
				return
			}
		}
	})
	errs.report(t)
	holds(t, s, want...)
	wantPending(t, s)
	if n, err := s.Count(t.Context()); err != nil || n != 2 {
		t.Errorf("Count after probes: %d, %v", n, err)
	}
}
