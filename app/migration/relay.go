package migration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"migrate/app/store"
)

// relayBatch bounds what one round of the relay reads and sends.
const relayBatch = 200

// relayPoll is how often the relay looks unasked: for what foreign writers and
// instances that died have left. Our own leftovers wake it.
const relayPoll = 2 * time.Second

// relay carries pending commits of the primary to the other database.
type relay struct {
	wake chan struct{}

	mu     sync.Mutex
	moved  int64
	since  time.Time // when the backlog was last seen to become non-empty
	failed string
}

func (r *relay) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *relay) note(moved int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moved += int64(moved)
	r.failed = ""
	if err != nil {
		r.failed = err.Error()
	}
}

// age notes the size of the backlog and returns how long there has been one.
func (r *relay) age(pending int64) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case pending == 0:
		r.since = time.Time{}
		return 0
	case r.since.IsZero():
		r.since = time.Now()
	}
	return time.Since(r.since)
}

func (r *relay) status() (moved int64, failed string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moved, r.failed
}

// relays reports whether this step sends the primary's commits on.
func (s *Service[B, F]) relays() bool { return s.step >= WriteBoth && s.step <= NewPrimary }

// runRelay passes over the outbox when woken and now and then, backing off
// with jitter while the other database does not answer.
func (s *Service[B, F]) runRelay(ctx context.Context) error {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = 50*time.Millisecond, 5*time.Second
	for {
		wait := relayPoll
		err := s.relayPass(ctx)
		if err != nil && ctx.Err() == nil {
			wait = retry.NextBackOff()
			s.log.Warn("the relay could not send on what is pending", "error", err, "retry_in", wait)
		} else {
			retry.Reset()
		}
		wake := s.relay.wake
		if err != nil {
			wake = nil // the database is ailing: the back-off decides, not the next write
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// relayPass goes once through the outbox in order of ids: whatever was pending
// in the primary when it began is replicated when it returns nil, unless the
// fence moved meanwhile ([Service.cleared] sees to that), since each id is met
// once, and is then either no longer pending or sent on as it is.
func (s *Service[B, F]) relayPass(ctx context.Context) error {
	if err := s.ours(ctx); err != nil {
		return err
	}
	after, sent := "", 0
	for {
		page, err := s.relayRound(ctx, after)
		n := len(page.Records)
		if err != nil {
			n = 0
		}
		// A pass that its caller gave up, as a drain does, has not failed.
		if err == nil || ctx.Err() == nil {
			s.relay.note(n, err)
		}
		if sent += n; err == nil && page.End && sent == 0 {
			err = s.tryNew(ctx)
		}
		if err != nil || page.End {
			return err
		}
		after = page.Next
	}
}

// tryNew finds out whether new takes writes again, when nothing is pending that
// would show it.
func (s *Service[B, F]) tryNew(ctx context.Context) error {
	if s.newBreaker.well() {
		return nil
	}
	err := s.new.Probe(ctx)
	s.newBreaker.note(err)
	return err
}

// relayRound sends one page of what is pending, and returns that page.
func (s *Service[B, F]) relayRound(ctx context.Context, after string) (page store.Page[B], err error) {
	fence, err := s.old.Fence(ctx)
	if err != nil {
		return page, err
	}
	if err := s.own(fence.Migration); err != nil {
		return page, err
	}
	if fence.Primary == store.PrimaryOld {
		page, _, err = s.old.Pending(ctx, after, relayBatch)
	} else {
		page, err = s.new.Pending(ctx, after, relayBatch)
	}
	if err != nil || len(page.Records) == 0 {
		return page, err
	}
	if fence.Primary == store.PrimaryOld {
		return page, s.relayToNew(ctx, fence, page.Records)
	}
	return page, s.relayToOld(ctx, fence, page.Records)
}

func (s *Service[B, F]) relayToNew(ctx context.Context, fence store.Fence, recs []store.Record[B]) error {
	sent, err := putOrIsolate(ctx, s.old, s.new, fence.Epoch, recs)
	s.newBreaker.note(err)
	if err != nil {
		return err
	}
	return s.old.ClearPending(ctx, marks(sent)...)
}

func (s *Service[B, F]) relayToOld(ctx context.Context, fence store.Fence, recs []store.Record[B]) error {
	err := s.old.PutIfNewer(ctx, fence.Epoch, recs...)
	s.oldBreaker.note(err)
	if err != nil {
		return err
	}
	return s.new.ClearPending(ctx, marks(recs)...)
}

func marks[B any](recs []store.Record[B]) []store.Mark {
	out := make([]store.Mark, len(recs))
	for i, r := range recs {
		out[i] = r.Mark()
	}
	return out
}

// putOrIsolate replicates records of old to new. One that new can't ever hold
// (a foreign writer's invalid text, say) goes to quarantine, or it would stop
// the others for good. It returns the records that new now has.
func putOrIsolate[B, F any](ctx context.Context, old store.Old[B, F], to store.New[B, F], epoch int64, recs []store.Record[B]) ([]store.Record[B], error) {
	err := to.PutIfNewer(ctx, recs...)
	if err == nil || !errors.Is(err, store.ErrUnfit) {
		return recs, err
	}
	var sent []store.Record[B]
	for _, rec := range recs {
		err := to.PutIfNewer(ctx, rec)
		switch {
		case err == nil:
			sent = append(sent, rec)
			continue
		case !errors.Is(err, store.ErrUnfit):
			return nil, err
		}
		if err := old.Isolate(ctx, epoch, rec.Mark(), err.Error()); err != nil && !errors.Is(err, store.ErrConflict) {
			return nil, fmt.Errorf("quarantine %q, which the new database can't hold: %w", rec.ID, err)
		}
	}
	return sent, nil
}

// ErrAway: the database that is not the primary does not answer. What it lacks is
// kept in the primary, marked as pending; an instance at step 3, 4 or 5 sends it
// once that database answers.
var ErrAway = errors.New("the other database does not answer")

// Flush sends on what is pending in the primary and returns nil once all that
// was pending when it began has been replicated ("cleared"). At steps that
// don't replicate there is nothing to flush. It returns ErrAway as soon as the
// other database is known not to answer.
func (s *Service[B, F]) Flush(ctx context.Context) error {
	if !s.relays() {
		return nil
	}
	if err := s.unlessAway(ctx, s.cleared); err != nil {
		return err
	}
	return s.unlessAway(ctx, func(ctx context.Context) error { s.reportCompared(ctx); return nil })
}

// unlessAway does what needs the other database, and gives up with ErrAway once
// that one has not answered for a while.
func (s *Service[B, F]) unlessAway(ctx context.Context, do func(context.Context) error) error {
	doing, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- do(doing) }()
	look := time.NewTicker(away / 10)
	defer look.Stop()
	for {
		select {
		case err := <-done:
			if gone := context.Cause(doing); err != nil && errors.Is(gone, ErrAway) {
				return gone
			}
			return err
		case <-look.C:
			if err := s.otherAway(ctx); err != nil {
				cancel(fmt.Errorf("%w: %w", ErrAway, err))
			}
		}
	}
}

// otherAway returns why the database that is not the primary counts as one that
// does not answer; nil if it doesn't.
func (s *Service[B, F]) otherAway(ctx context.Context) error {
	if s.wasNew.Load() {
		s.watchLock.look()
		return s.watchLock.known().absent(&s.meter.old)
	}
	s.watchNew.look()
	return s.watchNew.known().absent(&s.meter.new)
}

// cleared is relayPass for gates and drains: it starts again when the fence
// moves under it, since what was pending is then another database's matter.
func (s *Service[B, F]) cleared(ctx context.Context) error {
	for {
		before, err := s.old.Fence(ctx)
		if err != nil {
			return err
		}
		err = s.relayPass(ctx)
		if err != nil && !errors.Is(err, store.ErrFenceMoved) {
			return err
		}
		after, ferr := s.old.Fence(ctx)
		if ferr != nil {
			return ferr
		}
		if err == nil && after.Epoch == before.Epoch {
			return nil
		}
	}
}
