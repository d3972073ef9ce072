package nginx

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A machine that stands still for the whole of the window: what let go
// meanwhile is not counted.
func TestDropLooksAfterTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle, gone = "idle", "gone"
		looks := 0
		left, err := drop(t.Context(), func() (map[string]bool, error) {
			looks++
			if looks == 1 {
				time.Sleep(2 * window)
				return map[string]bool{idle: true, gone: true}, nil
			}
			return map[string]bool{idle: true, "opened since": true}, nil
		})
		if left != 1 || err != nil {
			t.Errorf("%d left, %v; want the one that is still there", left, err)
		}
	})
}

// It ends with the last connection, at the window's end, or when it is told to.
func TestDropEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		open := func(d time.Duration) func() (map[string]bool, error) {
			return func() (map[string]bool, error) {
				return map[string]bool{"one": true, "two": time.Since(began) < d}, nil
			}
		}
		if left, err := drop(t.Context(), open(time.Hour)); left != 2 || err != nil || time.Since(began) < window || time.Since(began) > window+time.Second {
			t.Errorf("%d left after %v, %v", left, time.Since(began), err)
		}
		ends := began.Add(2 * window)
		left, err := drop(t.Context(), func() (map[string]bool, error) {
			if time.Now().Before(ends.Add(-window / 2)) {
				return map[string]bool{"one": true}, nil
			}
			return nil, nil
		})
		if left != 0 || err != nil || time.Now().After(ends) {
			t.Errorf("%d left, %v; at the end of the window: %v", left, err, time.Now().After(ends))
		}
		reason := errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(reason)
		if _, err := drop(ctx, open(time.Hour)); !errors.Is(err, reason) {
			t.Errorf("told to end: %v", err)
		}
	})
}
