package migration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"migrate.invalid/migrate/app/store"
)

// breaker spares requests the wait for a database that is not the primary and
// does not answer. It decides about effort, never about data.
type breaker struct {
	mu       sync.Mutex
	failures int
	last     error     // of the last call that failed
	since    time.Time // when the first of the failures was
	retryAt  time.Time
	waiting  []time.Time // when each call that is under way began
}

const (
	breakerThreshold = 3
	breakerPause     = 500 * time.Millisecond

	// slowCall is how long one call may take before others no longer join it.
	slowCall = 100 * time.Millisecond
)

// closed reports whether a call may be tried now: it opens after a few failures
// in a row, and lets one call through now and then.
func (b *breaker) closed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < breakerThreshold {
		return true
	}
	now := time.Now()
	if now.Before(b.retryAt) {
		return false
	}
	b.retryAt = now.Add(breakerPause) // this caller tries; the others wait for what it finds
	return true
}

// well is stricter than closed: the last call did not fail, and none that is
// under way is slow. It lets no request find out whether the database is back:
// the relay does that.
func (b *breaker) well() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures == 0 && (len(b.waiting) == 0 || time.Since(b.waiting[0]) < slowCall)
}

// begin notes that a call begins, and returns what notes its result.
func (b *breaker) begin() (note func(error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	began := time.Now()
	b.waiting = append(b.waiting, began)
	return func(err error) {
		b.mu.Lock()
		for n, t := range b.waiting {
			if t.Equal(began) {
				b.waiting = append(b.waiting[:n], b.waiting[n+1:]...)
				break
			}
		}
		b.mu.Unlock()
		b.note(err)
	}
}

// note records the result of a call. A conflict or an unfit record says nothing
// about the database's health; a time limit does, since it is ours.
func (b *breaker) note(err error) {
	switch {
	case err == nil:
		b.mu.Lock()
		b.failures = 0
		b.mu.Unlock()
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrUnknown), errors.Is(err, context.DeadlineExceeded):
		b.failed(err)
	}
}

// trouble says that the last calls have failed, since when and why; nil if they
// haven't.
func (b *breaker) trouble() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures == 0 {
		return nil
	}
	return fmt.Errorf("nothing that was sent to it in the last %.0f s was taken: %w", max(1, time.Since(b.since).Seconds()), b.last)
}

func (b *breaker) failed(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures == 0 {
		b.since = time.Now()
	}
	b.failures++
	b.last = err
	b.retryAt = time.Now().Add(breakerPause)
}
