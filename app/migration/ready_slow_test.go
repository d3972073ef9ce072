package migration

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A primary that takes seconds for an answer is slow, not gone: the way back to
// another instance must not be refused for it. One that answers no look is gone.
func TestSlowPrimaryIsNotGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		var takes time.Duration
		w := watch[int]{life: ctx, limit: lookLimit, ask: func(ctx context.Context) (int, error) {
			select {
			case <-time.After(takes):
				return 1, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}}
		defer w.end()
		takes = time.Minute
		if late, trouble := w.wait(ctx, primaryPatience).ofPrimary(); late != nil || trouble == nil {
			t.Errorf("never answered: late %v, trouble %v", late, trouble)
		}
		w.end()
		takes = 3 * time.Second
		w.wait(ctx, lookLimit)
		for range 10 {
			if late, trouble := w.wait(ctx, primaryPatience).ofPrimary(); late == nil || trouble != nil {
				t.Errorf("answers in 3 s: late %v, trouble %v", late, trouble)
			}
			time.Sleep(takes)
		}
		synctest.Wait()
		takes = time.Minute
		w.wait(ctx, lookLimit+time.Second)
		if late, trouble := w.wait(ctx, primaryPatience).ofPrimary(); late != nil || trouble == nil {
			t.Errorf("answers no more: late %v, trouble %v", late, trouble)
		}
	})
}
