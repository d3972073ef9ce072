package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// attempt is a return of the primary on a clock that stands still but for its pauses.
type attempt struct {
	opt    ReturnOptions
	now    time.Time
	pauses []time.Duration
	said   []string
	meet   func() // what happens during the first pause
	err    error  // of the first pause
}

func newAttempt() *attempt {
	a := &attempt{now: time.Unix(1_000_000, 0)}
	a.opt = ReturnOptions{
		Token: "tool", Gone: func(store.Registration) error { return nil },
		Now:      func() time.Time { return a.now },
		Progress: func(s string) { a.said = append(a.said, s) },
		Pause: func(_ context.Context, d time.Duration) error {
			a.pauses = append(a.pauses, d)
			a.now = a.now.Add(d)
			if len(a.pauses) > 1 {
				return nil
			}
			if a.meet != nil {
				a.meet()
			}
			return a.err
		},
	}
	return a
}

func (a *attempt) told(text string) bool {
	return slices.ContainsFunc(a.said, func(s string) bool { return strings.Contains(s, text) })
}

// watchedOld notes the fence that closes, and may lose the answer to that.
type watchedOld struct {
	oldStore
	closed store.Fence
	after  func(store.Fence) error // what is answered once the fence has closed
}

func (o *watchedOld) MoveFence(ctx context.Context, from, to store.Fence) error {
	err := o.oldStore.MoveFence(ctx, from, to)
	if to.Closing {
		o.closed = to
		if o.after != nil {
			return o.after(to)
		}
	}
	return err
}

// Without options a return leaves instances five seconds until they reopen the fence,
// and writes in flight 20 ms.
func TestReturnByDefault(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 0)
	a, o := newAttempt(), &watchedOld{oldStore: w.old}
	began := a.now
	res, err := ReturnPrimary(t.Context(), o, w.new, a.opt)
	if err != nil || res.Epoch != 3 || res.Already || res.Before != 0 || res.Closed != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	if d := o.closed.Deadline.Sub(began); d != 5*time.Second || o.closed.Token != "tool" {
		t.Errorf("it closes the fence as %+v, with %v to its deadline", o.closed, d)
	}
	if !slices.Equal(a.pauses, []time.Duration{20 * time.Millisecond}) || res.Pause != 20*time.Millisecond || !a.told("writes wait") {
		t.Errorf("it pauses %v, writes waited %v, and it says %q", a.pauses, res.Pause, a.said)
	}
}

// Where old is primary already, nothing is done, but for the registrations of ended
// processes.
func TestReturnWhenThereIsNothingToDo(t *testing.T) {
	w := raisedTo(t, ReadBoth, 0)
	must(t, w.new.Register(t.Context(), store.Registration{Instance: "six", Step: 6}))
	before := fenceOf(t, w)
	res, err := ReturnPrimary(t.Context(), w.old, w.new, newAttempt().opt)
	if err != nil || !res.Already || res.Epoch != before.Epoch || !slices.Equal(res.Gone, []string{"six"}) || fenceOf(t, w) != before {
		t.Errorf("%+v, %v; the fence is %+v, was %+v", res, err, fenceOf(t, w), before)
	}
	if rs, err := w.new.Registrations(t.Context()); err != nil || len(rs) != 0 {
		t.Errorf("registrations %+v (%v)", rs, err)
	}
}

// An earlier return has left the fence closing. The next one waits for the deadline
// that instances go by, and then goes on, unless another one is at work.
func TestReturnAfterOneThatLeftTheFenceClosing(t *testing.T) {
	const left = 3 * time.Second
	for _, c := range []struct {
		name  string
		left  time.Duration // to the deadline of the earlier one
		meet  func(t *testing.T, w *world, closing store.Fence)
		err   error // of the pause
		want  error
		waits bool
		said  string
	}{
		{"it is still closing", left, nil, nil, nil, true, "reopening the fence"},
		{"its deadline is now", 0, nil, nil, nil, false, "reopening the fence"},
		{"its deadline has passed", -left, nil, nil, nil, false, "reopening the fence"},
		{"an instance reopens it", left, func(t *testing.T, w *world, f store.Fence) {
			must(t, w.old.MoveFence(t.Context(), f, reopened(f)))
		}, nil, nil, true, "waiting 3s for its deadline"},
		{"another one closes it anew", left, func(t *testing.T, w *world, f store.Fence) {
			other := f
			other.Token = "other"
			must(t, w.old.MoveFence(t.Context(), f, other))
		}, nil, ErrGaveUp, true, "waiting 3s for its deadline"},
		{"the earlier one ends well", left, func(t *testing.T, w *world, f store.Fence) {
			back := reopened(f)
			back.Epoch, back.Primary = f.Epoch+1, store.PrimaryOld
			must(t, w.old.MoveFence(t.Context(), f, back))
		}, nil, ErrGaveUp, true, "waiting 3s for its deadline"},
		{"it is cut off while it waits", left, nil, context.Canceled, context.Canceled, true, "waiting 3s for its deadline"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := raisedTo(t, StopOldWrites, 0)
			a := newAttempt()
			f := fenceOf(t, w)
			closing := f
			closing.Closing, closing.Token, closing.Deadline = true, "earlier", a.now.Add(c.left)
			must(t, w.old.MoveFence(t.Context(), f, closing))
			if a.err = c.err; c.meet != nil {
				a.meet = func() { c.meet(t, w, closing) }
			}
			n := &drainedNew{newStore: w.new, first: func() {
				if f := fenceOf(t, w); f.Closing {
					t.Errorf("writes wait while the backlog shrinks: %+v", f)
				}
			}}
			_, err := ReturnPrimary(t.Context(), w.old, n, a.opt)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if waited := len(a.pauses) > 0 && a.pauses[0] == left; waited != c.waits || !c.waits && len(a.pauses) != 1 || !a.told(c.said) {
				t.Errorf("it pauses %v and says %q", a.pauses, a.said)
			}
			if f := fenceOf(t, w); c.want == nil && f.Primary != store.PrimaryOld || f.Token == "tool" {
				t.Errorf("the fence is %+v", f)
			}
		})
	}
}

// drainedNew runs something before the outbox is read first.
type drainedNew struct {
	newStore
	first func()
}

func (n *drainedNew) Pending(ctx context.Context, after record.ID, limit int) (recordPage, error) {
	if n.first != nil {
		n.first()
		n.first = nil
	}
	return n.newStore.Pending(ctx, after, limit)
}

// A mirror that an earlier return left ahead is passed, so that no epoch serves twice.
func TestReturnPassesAMirrorThatIsAhead(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 0)
	must(t, w.new.RaiseMirror(t.Context(), store.Mirror{Migration: "m", Epoch: 3, Primary: store.PrimaryOld}))
	a := newAttempt()
	res, err := ReturnPrimary(t.Context(), w.old, w.new, a.opt)
	m, merr := w.new.Mirror(t.Context())
	must(t, merr)
	if err != nil || res.Epoch != 5 || m.Epoch != 5 || m.Primary != store.PrimaryOld || !a.told("passing the mirror") {
		t.Errorf("%+v, %v; the mirror is %+v; it says %q", res, err, m, a.said)
	}
}

// The answer to the closing is lost. The fence says whether it was closed, and by whom.
func TestReturnWhoseClosingHasNoAnswer(t *testing.T) {
	lost := fmt.Errorf("%w: the answer was lost", store.ErrUnknown)
	w := raisedTo(t, StopOldWrites, 0)
	o := &watchedOld{oldStore: w.old, after: func(store.Fence) error { return lost }}
	if res, err := ReturnPrimary(t.Context(), o, w.new, newAttempt().opt); err != nil || res.Epoch != 3 {
		t.Errorf("it was closed: %+v, %v", res, err)
	}
	for name, now := range map[string]func(f store.Fence) store.Fence{
		"by another one": func(f store.Fence) store.Fence { f.Token = "other"; return f },
		"not any more":   func(f store.Fence) store.Fence { f.Closing = false; return f },
		"in another epoch": func(f store.Fence) store.Fence {
			f.Epoch += 2
			return f
		},
	} {
		w := raisedTo(t, StopOldWrites, 0)
		o := &watchedOld{oldStore: w.old}
		o.after = func(f store.Fence) error { return errors.Join(lost, w.old.MoveFence(t.Context(), f, now(f))) }
		_, err := ReturnPrimary(t.Context(), o, w.new, newAttempt().opt)
		if f := fenceOf(t, w); !errors.Is(err, store.ErrUnknown) || f.Primary != store.PrimaryNew {
			t.Errorf("closed, %s: %v, and the fence is %+v", name, err, f)
		}
	}
}

// changingNew has a record change whenever it was sent: its mark is not taken back.
type changingNew struct{ newStore }

func (changingNew) ClearPending(context.Context, ...store.Mark) error { return nil }

// A return that gives up says so, and under which epoch new goes on.
func TestReturnThatGivesUp(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 0)
	for i := range relayBatch + 5 {
		rec := copyOf(record.ID(fmt.Sprintf("p-%03d", i)), 1, 2, "x")
		rec.Pending = true
		must(t, w.new.CompareAndSwap(t.Context(), rec, store.Pair{}))
	}
	a := newAttempt()
	if _, err := ReturnPrimary(t.Context(), w.old, changingNew{w.new}, a.opt); !errors.Is(err, ErrGaveUp) || !a.told("205 records still to be sent back") || len(a.said) != 20 {
		t.Errorf("records change as fast as they are sent: %v after %d rounds, %q", err, len(a.said), a.said[0])
	}

	w = raisedTo(t, StopOldWrites, 0)
	a = newAttempt()
	a.err = context.Canceled // of the pause for the writes in flight
	res, err := ReturnPrimary(t.Context(), w.old, w.new, a.opt)
	if f := fenceOf(t, w); !errors.Is(err, ErrGaveUp) || res.Epoch != 2 || f.Epoch != 2 || f.Closing || f.Primary != store.PrimaryNew {
		t.Errorf("cut off: %+v, %v; the fence is %+v", res, err, f)
	}

	w = raisedTo(t, StopOldWrites, 0)
	a = newAttempt()
	a.err = context.Canceled
	a.meet = func() { // an instance reopens the fence
		f := fenceOf(t, w)
		must(t, w.old.MoveFence(t.Context(), f, reopened(f)))
	}
	if res, err := ReturnPrimary(t.Context(), w.old, w.new, a.opt); !errors.Is(err, ErrGaveUp) || res.Epoch != 2 {
		t.Errorf("cut off after the deadline: %+v, %v", res, err)
	}

	w = raisedTo(t, StopOldWrites, 0)
	n := &beforeMirror{newStore: w.new, before: func() { w.at(t, StopOldWrites) }}
	a = newAttempt()
	a.opt.Gone = func(store.Registration) error { return errors.New("it lives") }
	res, err = ReturnPrimary(t.Context(), w.old, n, a.opt)
	if f := fenceOf(t, w); !errors.Is(err, ErrLiving) || res.Epoch != 4 || f.Epoch != 4 {
		t.Errorf("an instance came: %+v, %v; the fence is %+v", res, err, f)
	}
}

// pendingNew leaves more records in the outbox while it is drained.
type pendingNew struct {
	newStore
	leave []string // one after each page that is sent
	left  int64    // what the first count says
}

func (n *pendingNew) ClearPending(ctx context.Context, marks ...store.Mark) error {
	if len(n.leave) > 0 {
		rec := copyOf(record.ID(n.leave[0]), 1, 2, "x")
		rec.Pending = true
		n.leave = n.leave[1:]
		if err := n.CompareAndSwap(ctx, rec, store.Pair{}); err != nil {
			return err
		}
	}
	return n.newStore.ClearPending(ctx, marks...)
}

func (n *pendingNew) CountPending(ctx context.Context) (int64, error) {
	if left := n.left; left > 0 {
		n.left = 0
		return left, nil
	}
	return n.newStore.CountPending(ctx)
}

// What comes to the outbox while it is drained is sent back too, before the primary
// moves, and counted.
func TestReturnSendsBackWhatComesMeanwhile(t *testing.T) {
	leave := func(t *testing.T, n newStore, id record.ID) {
		t.Helper()
		rec := copyOf(id, 1, 2, "x")
		rec.Pending = true
		must(t, n.CompareAndSwap(t.Context(), rec, store.Pair{}))
	}
	for _, closed := range []bool{false, true} {
		w := raisedTo(t, StopOldWrites, 0)
		n := &pendingNew{newStore: w.new, left: 1000}
		a, o := newAttempt(), &watchedOld{oldStore: w.old}
		if closed {
			o.after = func(store.Fence) error {
				leave(t, w.new, "a")
				n.leave = []string{"b", "c"}
				return nil
			}
		} else {
			leave(t, w.new, "a")
			n.leave = []string{"b"}
			a.opt.Backlog = 1
		}
		res, err := ReturnPrimary(t.Context(), o, n, a.opt)
		must(t, err)
		olds, _, err := w.old.Get(t.Context(), "a", "b", "c")
		must(t, err)
		if closed && (res.Closed != 3 || res.Before != 0 || len(olds) != 3) || !closed && (res.Closed != 0 || res.Before != 2 || len(olds) != 2) {
			t.Errorf("closed %v: %+v; old has %d", closed, res, len(olds))
		}
	}
}

// A return with nothing to send back writes no record.
func TestReturnOfAnEmptyOutbox(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 0)
	f := &failAt{}
	f.between(w)
	_, err := ReturnPrimary(t.Context(), w.old, w.new, newAttempt().opt)
	must(t, err)
	if calls := f.took(); slices.Contains(calls, "old.PutIfNewer") || slices.Contains(calls, "new.ClearPending") {
		t.Errorf("it calls %v", calls)
	}
}
