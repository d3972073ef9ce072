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
	const enough = lookEvery * maxLooks
	for name, c := range map[string]struct {
		stall time.Duration // of the second look
		gone  int           // look that doesn't show the busy one any more
		idle  bool
		left  int
		took  time.Duration
	}{
		"let go":         {gone: 3, took: 3 * lookEvery},
		"idle":           {gone: 3, idle: true, left: 1, took: enough},
		"late":           {gone: maxLooks, took: enough},
		"too late":       {gone: maxLooks + 1, left: 1, took: enough},
		"standing still": {gone: 3, stall: 2 * enough, took: 3*lookEvery + 2*enough},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, looks := time.Now(), -1
				left, err := drop(t.Context(), func() (map[string]bool, error) {
					looks++
					if looks == 1 {
						time.Sleep(c.stall)
					}
					open := map[string]bool{}
					if looks > 0 {
						open["opened since"] = true
					}
					if looks < c.gone {
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
