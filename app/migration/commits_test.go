package migration

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"migrate.invalid/migrate/app/store"
)

// stubbornNew commits a write only once it is let, whatever becomes of its caller.
type stubbornNew struct {
	newStore
	begun, let chan struct{}
}

func (n *stubbornNew) CompareAndSwap(ctx context.Context, rec store.Record, expect store.Pair) error {
	close(n.begun)
	<-n.let
	return n.newStore.CompareAndSwap(context.WithoutCancel(ctx), rec, expect)
}

// The registration of an instance that ends outlives each of its writes, also
// one whose request was cut after the grace: else the primary could return under
// it. One that does not end leaves the registration where it is.
func TestTheRegistrationOutlivesEveryWrite(t *testing.T) {
	for name, c := range map[string]struct {
		takes time.Duration
		stays bool
	}{
		"a write that ends soon": {endWait / 2, false},
		"one that does not end":  {2 * endWait, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := raisedTo(t, StopOldWrites, 1)
			synctest.Test(t, func(t *testing.T) {
				stubborn := &stubbornNew{newStore: w.new, begun: make(chan struct{}), let: make(chan struct{})}
				w.new = stubborn
				s := w.at(t, StopOldWrites)
				life, end := context.WithCancel(t.Context())
				ran, wrote := make(chan error, 1), make(chan error, 1)
				go func() { ran <- s.Run(life) }()
				request, cut := context.WithCancel(t.Context())
				go func() { wrote <- w.appendTo(request, s, w.ids[0], "x") }()
				<-stubborn.begun
				cut()
				end()
				go func() { time.Sleep(c.takes); close(stubborn.let) }()
				registered := func() int {
					all, err := stubborn.newStore.Registrations(t.Context())
					must(t, err)
					return len(all)
				}
				time.Sleep(c.takes - time.Millisecond)
				if registered() != 1 {
					t.Error("the registration is gone while a write is under way")
				}
				if err := w.appendTo(t.Context(), s, w.ids[0], "y"); !errors.Is(err, ErrRefused) {
					t.Errorf("a write began after the end: %v", err)
				}
				must(t, <-ran)
				must(t, <-wrote)
				if got := registered() == 1; got != c.stays {
					t.Errorf("afterwards the registration stays: %v, want %v", got, c.stays)
				}
			})
		})
	}
}

// How long a request waits for a fence that moves is counted in time: on a busy
// machine its tries, and what becomes of its pauses, take most of it.
func TestPatienceIsTime(t *testing.T) {
	w := raisedTo(t, StopOldWrites, 1)
	o, _ := w.faulty()
	s := w.at(t, ReadBoth)
	open := fenceOf(t, w)
	closed := open
	closed.Closing, closed.Token, closed.Deadline = true, "tool", time.Now().Add(24*time.Hour)
	must(t, w.old.MoveFence(t.Context(), open, closed))
	synctest.Test(t, func(t *testing.T) {
		s.old = tardyOld{o, 100 * time.Millisecond}
		s.cfg.Pause = func(ctx context.Context, d time.Duration) error { return pause(ctx, d+50*time.Millisecond) }
		began := time.Now()
		_, _, err := s.Get(t.Context(), w.ids[0])
		if took := time.Since(began); !errors.Is(err, store.ErrUnavailable) || took < s.cfg.Patience || took > s.cfg.Patience+time.Second {
			t.Errorf("gave up after %v: %v; patience is %v", took, err, s.cfg.Patience)
		}
	})
}

// tardyOld takes its time to say what the fence is.
type tardyOld struct {
	oldStore
	takes time.Duration
}

func (o tardyOld) Fence(ctx context.Context) (store.Fence, error) {
	time.Sleep(o.takes)
	return o.oldStore.Fence(ctx)
}
