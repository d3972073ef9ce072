package migration

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"migrate.invalid/migrate/app/store"
)

// The breaker opens after three failures in a row, lets one caller through at
// a time from then on, and closes with the first success.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker
		want := func(closed bool, when string) {
			t.Helper()
			if got := b.closed(); got != closed {
				t.Errorf("%s: closed %v", when, got)
			}
		}
		for range 2 {
			b.note(store.ErrUnavailable)
		}
		b.note(nil)
		b.note(store.ErrUnknown)
		b.note(store.ErrUnavailable)
		b.note(context.Canceled) // a client that went away
		b.note(store.ErrUnfit)
		b.note(store.ErrConflict)
		want(true, "two failures in a row, and answers that tell nothing of the database's health")
		b.note(context.DeadlineExceeded)
		want(false, "three in a row")
		time.Sleep(breakerPause - time.Nanosecond)
		want(false, "just before the pause is over")
		time.Sleep(time.Nanosecond)
		want(true, "after the pause, for one")
		want(false, "while that one tries")
		b.note(store.ErrUnavailable)
		time.Sleep(breakerPause / 2)
		b.note(store.ErrUnavailable) // one that had begun before
		time.Sleep(breakerPause / 2)
		want(false, "half a pause after the last failure")
		time.Sleep(breakerPause / 2)
		want(true, "a pause after the last failure")
		b.note(nil)
		want(true, "after a success")
		want(true, "after a success, for everybody")
	})
}
