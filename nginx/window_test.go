package nginx

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The window ends with the last connection from before; what idles is left
// when it is over. While the machine stands still it does not run out.
func TestDrop(t *testing.T) {
	const looks = int(window / lookEvery)
	for name, c := range map[string]struct {
		stall time.Duration // of the second look
		slow  time.Duration // every other one
		gone  int           // look that doesn't show the busy one any more
		idle  bool
		left  int
		took  time.Duration
	}{
		"let go":               {gone: 3, took: 3 * lookEvery},
		"idle":                 {gone: 3, idle: true, left: 1, took: window},
		"late":                 {gone: looks, took: window},
		"too late":             {gone: looks + 1, left: 1, took: window},
		"standing still":       {gone: looks / 2, stall: 2 * window, took: window/2 + 2*window},
		"many to look through": {slow: longLook, idle: true, left: 1, took: (longLook + lookEvery) * (window / longLook)},
		"far too many":         {slow: time.Second - lookEvery, idle: true, left: 1, took: longest},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, look := time.Now(), -1
				left, err := drop(t.Context(), func() (map[string]bool, error) {
					look++
					switch {
					case look == 1:
						time.Sleep(c.stall + c.slow)
					case look > 1:
						time.Sleep(c.slow)
					}
					open := make(map[string]bool)
					if look > 0 {
						open["opened since"] = true
					}
					if look < c.gone {
						open["busy"] = true
					}
					if c.idle {
						open["idle"] = true
					}
					return open, nil
				})
				if left != c.left || err != nil || time.Since(began) != c.took {
					t.Errorf("%d left after %v, %v; want %d after %v", left, time.Since(began), err, c.left, c.took)
				}
			})
		})
	}
}

func TestDropStops(t *testing.T) {
	reason := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	idle := func() (map[string]bool, error) { return map[string]bool{"idle": true}, nil }
	if _, err := drop(ctx, idle); !errors.Is(err, reason) {
		t.Errorf("told to end: %v", err)
	}
	if _, err := drop(t.Context(), func() (map[string]bool, error) { return nil, reason }); !errors.Is(err, reason) {
		t.Errorf("nothing to see: %v", err)
	}
}
