package migration

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"migrate.invalid/migrate/app/store"
)

// slowAnswers is a question whose answers take time: each answer is the number of the
// question.
type slowAnswers struct {
	asked atomic.Int64
	takes time.Duration
	err   error
}

func (a *slowAnswers) ask(ctx context.Context) (int64, error) {
	n := a.asked.Add(1)
	return n, errors.Join(pause(ctx, a.takes), a.err)
}

func (a *slowAnswers) watch(life context.Context) *watch[int64] {
	return &watch[int64]{life: life, limit: lookLimit, ask: a.ask}
}

// Two callers share one look. A caller that is not patient gets the answer that was
// known before, and is told for how long the next one has been awaited.
func TestLooksAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &slowAnswers{takes: time.Second}
		w := a.watch(t.Context())
		w.look()
		time.Sleep(400 * time.Millisecond)
		if f := w.wait(t.Context(), 300*time.Millisecond); !f.at.IsZero() || f.overdue != 700*time.Millisecond {
			t.Errorf("before the first answer: %+v", f)
		}
		began := time.Now()
		if f := w.wait(t.Context(), time.Minute); f.v != 1 || f.at.IsZero() || f.overdue != 0 || f.slow != time.Second {
			t.Errorf("the first answer: %+v", f)
		}
		if took := time.Since(began); took != 300*time.Millisecond {
			t.Errorf("it came after %v, want 300ms", took)
		}
		if f := w.wait(t.Context(), 300*time.Millisecond); f.v != 1 || f.overdue != 300*time.Millisecond {
			t.Errorf("while the second answer is awaited: %+v", f)
		}
		if f := w.rest(t.Context(), time.Minute); f.v != 2 || a.asked.Load() != 2 {
			t.Errorf("the second answer: %+v of %d questions", f, a.asked.Load())
		}
		began = time.Now()
		if f := w.rest(t.Context(), time.Minute); f.v != 2 || time.Since(began) != 0 || a.asked.Load() != 2 {
			t.Errorf("rest asked anew: %+v of %d questions", f, a.asked.Load())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if w.wait(ctx, time.Minute); time.Since(began) != 50*time.Millisecond {
			t.Errorf("a caller that left was kept for %v", time.Since(began))
		}
		w.end()
	})
}

// A look that fails leaves the value that is known, and how slow looks are: a
// quick refusal is no quick answer. What was slow once is forgotten by and by.
func TestFailedLooksLeaveTheValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &slowAnswers{takes: 800 * time.Millisecond}
		w := a.watch(t.Context())
		w.wait(t.Context(), time.Minute)
		a.err = errDown
		if f := w.wait(t.Context(), time.Minute); f.v != 1 || !errors.Is(f.err, errDown) || f.slow != 700*time.Millisecond {
			t.Errorf("after a failure: %+v", f)
		}
		a.err, a.takes = nil, time.Millisecond
		if f := w.wait(t.Context(), time.Minute); f.v != 3 || f.err != nil || f.slow != 700*time.Millisecond*7/8 {
			t.Errorf("after a quick answer: %+v", f)
		}
		a.takes = time.Hour
		began := time.Now()
		if f := w.wait(t.Context(), time.Minute); f.v != 3 || !errors.Is(f.err, context.DeadlineExceeded) || time.Since(began) != lookLimit {
			t.Errorf("a look without an answer ended after %v: %+v", time.Since(began), f)
		}
	})
}

// The end of an instance cuts the looks under way short, and waits for them.
func TestTheEndOfLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life, end := context.WithCancel(t.Context())
		left := false
		w := watch[int64]{life: life, limit: lookLimit, ask: func(ctx context.Context) (int64, error) {
			<-ctx.Done()
			time.Sleep(time.Second) // a driver that lets go late
			left = true
			return 0, ctx.Err()
		}}
		w.look()
		end()
		if w.end(); !left {
			t.Error("the end did not wait for the look")
		}
		w.end() // nothing is under way
	})
}

// How long a caller waits for a database on which no answer depends: for the very
// first answer long, then shortly, and hardly at all while it ails.
func TestPatienceForTheOtherDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &slowAnswers{takes: 2 * time.Second}
		w := a.watch(t.Context())
		want := func(want time.Duration, when string) {
			t.Helper()
			if got := w.patience(); got != want {
				t.Errorf("%s: %v, want %v", when, got, want)
			}
		}
		want(firstPatience, "before any look")
		w.look()
		want(firstPatience, "at the first look")
		time.Sleep(away - 1)
		want(firstPatience, "at the first look, a little later")
		time.Sleep(time.Nanosecond)
		want(ailingPatience, "at a first look that takes long")
		w.rest(t.Context(), time.Minute)
		want(otherPatience, "once it has answered")
		w.look()
		time.Sleep(otherPatience)
		want(otherPatience, "while an answer is late by a little")
		time.Sleep(time.Nanosecond)
		want(ailingPatience, "while an answer is late")
		w.rest(t.Context(), time.Minute)
		a.err = errDown
		w.wait(t.Context(), time.Minute)
		want(ailingPatience, "after a failure")
		began := time.Now()
		if f := w.glance(t.Context()); time.Since(began) != ailingPatience || f.v != 2 || a.asked.Load() != 4 {
			t.Errorf("a glance took %v and found %+v after %d questions", time.Since(began), f, a.asked.Load())
		}
		w.end()
	})
}

// A database is in trouble when its last look failed, or when the one under way
// has been waiting for longer than it may.
func TestTroubleOfADatabase(t *testing.T) {
	then := time.Now()
	const limit = time.Second
	for _, c := range []struct {
		name string
		seen sight[int]
		want string
	}{
		{"it has answered", sight[int]{at: then}, ""},
		{"and is asked again", sight[int]{at: then, overdue: limit}, ""},
		{"and does not answer", sight[int]{at: then, overdue: limit + 1}, "no answer for 1.0 s"},
		{"it has failed, and does not answer", sight[int]{at: then, overdue: limit + 1, err: errDown}, "no answer for 1.0 s"},
		{"it has failed", sight[int]{at: then, err: errDown}, errDown.Error()},
		{"it was never asked", sight[int]{}, "it has not answered yet"},
		{"it has never answered", sight[int]{overdue: 3 * limit}, "it has not answered yet"},
	} {
		err := c.seen.trouble(limit)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v is not ErrUnavailable", c.name, err)
		}
	}
}

// A database that is only slow has been slow before: it gets five times as long,
// within bounds.
func TestHowLongALookMayTake(t *testing.T) {
	for slow, want := range map[time.Duration]time.Duration{
		0: away, away / 5: away, 200 * time.Millisecond: time.Second, 2 * time.Second: awayAtMost,
	} {
		if got := (sight[int]{slow: slow}).limit(); got != want {
			t.Errorf("looks took %v: the next one may take %v, want %v", slow, got, want)
		}
	}
}

// The database that is not the primary is absent only if no call at all has
// succeeded for a while, and a look has found it out of reach.
func TestAbsentDatabases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		then := time.Now()
		for _, c := range []struct {
			name   string
			silent time.Duration
			seen   sight[int]
			absent bool
		}{
			{"another call has just succeeded", away, sight[int]{at: then, err: errDown}, false},
			{"no call succeeds", away + 1, sight[int]{at: then, err: errDown}, true},
			{"a look without an answer", away + 1, sight[int]{at: then, overdue: away + 1}, true},
			{"a look that is cut off", away + 1, sight[int]{at: then, err: context.DeadlineExceeded}, true},
			{"nobody has called it", time.Hour, sight[int]{at: then}, false},
			{"the first look has just begun", time.Hour, sight[int]{overdue: away}, false},
			{"the first look takes long", time.Hour, sight[int]{overdue: away + 1}, true},
			{"it is there, but another one's", time.Hour, sight[int]{at: then, err: store.ErrStranger}, false},
			{"it has always been slow", 2 * time.Second, sight[int]{at: then, overdue: 2 * time.Second, slow: time.Second}, false},
		} {
			g := &gauge{answered: time.Now().Add(-c.silent)}
			if err := c.seen.absent(g); (err != nil) != c.absent {
				t.Errorf("%s: absent says %v", c.name, err)
			}
		}
	})
}
