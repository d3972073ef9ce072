package migration

import (
	"context"
	"errors"
	"sync"
	"time"

	"migrate/app/store"
)

// breaker spares requests the wait for a database that is not the primary and
// does not answer. It opens after a few failures in a row and lets one call
// through now and then; it decides about effort, never about data.
type breaker struct {
	mu       sync.Mutex
	failures int
	retryAt  time.Time
}

const (
	breakerThreshold = 3
	breakerPause     = 500 * time.Millisecond
)

// closed reports whether a call may be tried now.
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

// note takes in how a call went. A conflict or an unfit record says nothing
// about the database's health; a time limit does, since it is ours.
func (b *breaker) note(err error) {
	switch {
	case err == nil:
		b.mu.Lock()
		b.failures = 0
		b.mu.Unlock()
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrUnknown), errors.Is(err, context.DeadlineExceeded):
		b.failed()
	}
}

func (b *breaker) failed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures++
	b.retryAt = time.Now().Add(breakerPause)
}
