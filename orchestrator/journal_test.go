package orchestrator

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestJournalTornLine(t *testing.T) {
	r := newRig(t)
	o := r.open()
	work := func(context.Context) error { return nil }
	if err := o.Exclusive(t.Context(), "first", work); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(o.journal.path)
	if err != nil {
		t.Fatal(err)
	}
	// Torn in the middle of its last line, which was the end of "first".
	if err := os.WriteFile(o.journal.path, b[:len(b)-20], 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := o.Status(t.Context()); err != nil || s.Unfinished == nil {
		t.Errorf("a torn end is no end: %+v, %v", s.Unfinished, err)
	}
	if err := o.Exclusive(t.Context(), "second", work); err != nil {
		t.Fatal(err)
	}
	ops, torn, err := o.History(0)
	if err != nil || torn != 1 || len(ops) != 2 || ops[0].Outcome != phaseUndone || ops[1].Outcome != phaseDone {
		t.Errorf("%d torn, %v, %+v", torn, err, ops)
	}
}

func TestJournalRotates(t *testing.T) {
	r := newRig(t)
	o := r.open()
	o.journal.most = 2000
	const n = 30
	for range n {
		if err := o.Exclusive(t.Context(), "work", func(context.Context) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(o.journal.path); err != nil || info.Size() > 2*o.journal.most {
		t.Errorf("%v bytes, %v", info.Size(), err)
	}
	ops, torn, err := o.History(0)
	if err != nil || torn != 0 || len(ops) < 10 || len(ops) >= n {
		t.Errorf("%d operations are kept of %d, %d torn, %v", len(ops), n, torn, err)
	}
	for _, op := range ops {
		if op.Outcome != phaseDone || len(op.Phases) != 2 {
			t.Errorf("an operation was cut in two: %+v", op)
		}
	}
	if some, _, _ := o.History(3); len(some) != 3 || some[2].ID != ops[len(ops)-1].ID {
		t.Errorf("the latest three: %+v", some)
	}
}

func FuzzReadEntries(f *testing.F) {
	f.Add([]byte(`{"op":"1","phase":"intent"}` + "\n" + `{"op":"1","pha`))
	f.Add([]byte("\n\n\x00null\n[]\n{}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := t.TempDir() + "/journal.jsonl"
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		j := &journal{path: path, most: journalSize}
		before, _, err := j.read()
		if err != nil {
			t.Fatal(err)
		}
		if err := j.append(Entry{Op: "new", Phase: phaseDone}); err != nil {
			t.Fatal(err)
		}
		after, _, err := j.read()
		if err != nil || len(after) != len(before)+1 || after[len(after)-1].Op != "new" {
			t.Fatalf("%d entries, then %d, %v", len(before), len(after), err)
		}
	})
}

func TestLock(t *testing.T) {
	r := newRig(t)
	held, release, done := make(chan bool), make(chan bool), make(chan error, 1)
	go func() {
		done <- r.open().Exclusive(context.Background(), "backfill --rate 10", func(context.Context) error {
			close(held)
			<-release
			return nil
		})
	}()
	<-held
	o := r.open()
	idle := func(context.Context) error { return nil }
	err := o.Exclusive(t.Context(), "nginx start", idle)
	refused(t, err, ErrLocked, o.who, "backfill --rate 10", "since 20")
	if s, err := o.Status(t.Context()); err != nil || s.Holder == nil || s.Holder.Command != "backfill --rate 10" {
		t.Errorf("status does not say who is at work: %+v, %v", s.Holder, err)
	}
	short := r.open(func(c *Config) { c.LockWait = 100 * time.Millisecond })
	refused(t, short.Exclusive(t.Context(), "nginx start", idle), ErrLocked)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	long := r.open(func(c *Config) { c.LockWait = time.Minute })
	if err := long.Exclusive(ctx, "nginx start", idle); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while waiting: %v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- long.Exclusive(context.Background(), "nginx start", idle) }()
	close(release)
	if err := errors.Join(<-done, <-waited); err != nil {
		t.Error(err)
	}
	if ops, _, _ := o.History(0); len(ops) != 2 {
		t.Errorf("%d operations, want the two that had the lock", len(ops))
	}
}

func TestFailureIsJournalled(t *testing.T) {
	r := newRig(t)
	o := r.open()
	broken := errors.New("no such thing at mongodb://bill:hunter2@db/")
	if err := o.Exclusive(t.Context(), "mongo start", func(context.Context) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	ops, _, _ := o.History(0)
	if len(ops) != 1 || ops[0].Outcome != phaseFailed || !strings.Contains(ops[0].Last.Error, "no such thing at mongodb://bill:xxxxx@db/") {
		t.Errorf("%+v", ops)
	}
	idle := func(context.Context) error { t.Error("it was done all the same"); return nil }
	if err := o.Exclusive(t.Context(), "nginx stop", idle, func(context.Context) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	ops, _, _ = o.History(0)
	if len(ops) != 2 || !slices.ContainsFunc(ops, func(op Operation) bool { return op.Outcome == phaseRefused }) {
		t.Errorf("%+v", ops)
	}
}

// A pass notes its end while another command is at work, and even when that
// one is then killed: it must not be taken for what there is to settle.
func TestNoteBesideACommand(t *testing.T) {
	r := newRig(t)
	o := r.open()
	began := time.Now().Add(-time.Minute)
	err := o.Exclusive(t.Context(), "return the primary", func(context.Context) error {
		if err := o.Note("backfill --rate 10", began, "7 records", nil); err != nil {
			return err
		}
		if open, err := o.unfinished(); err != nil || open == nil || open.Command != "return the primary" {
			t.Errorf("what is not finished: %+v, %v", open, err)
		}
		return o.Note("verify", began, "", errors.New("no answer of mongodb://bill:hunter2@db/"))
	})
	if err != nil {
		t.Fatal(err)
	}
	ops, _, err := o.History(0)
	if err != nil || len(ops) != 3 {
		t.Fatalf("%d operations, %v", len(ops), err)
	}
	if p := ops[1]; p.Outcome != phaseDone || p.Took < 60_000 || p.Who != o.who || p.Last.Detail != "7 records" {
		t.Errorf("%+v", p)
	}
	if p := ops[2]; p.Outcome != phaseFailed || p.Last.Error != "no answer of mongodb://bill:xxxxx@db/" {
		t.Errorf("%+v", p)
	}
	if open, err := o.unfinished(); err != nil || open != nil {
		t.Errorf("what is not finished: %+v, %v", open, err)
	}
}
