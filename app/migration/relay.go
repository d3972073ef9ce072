package migration

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// relayBatch bounds what one round of the relay reads and sends.
const relayBatch = 200

// relayPoll is how often the relay looks unasked: for what foreign writers and
// instances that died have left. Our own leftovers wake it.
const relayPoll = 2 * time.Second

// relay carries pending commits of the primary to the other database.
type relay struct {
	wake    chan struct{}
	refused refusals // of old, while new is primary

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

// carried counts what was sent on.
func (r *relay) carried(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.moved += int64(n)
}

// note records how a pass ended. The error of one stays until another succeeds.
func (r *relay) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
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
func (s *Service) relays() bool { return s.step >= WriteBoth && s.step <= NewPrimary }

// runRelay passes over the outbox when woken and now and then, backing off
// with jitter while the other database does not answer.
func (s *Service) runRelay(ctx context.Context) error {
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
// in the primary when it began is replicated when it returns nil, or is what old
// can't hold, unless the fence moved meanwhile ([Service.cleared] sees to that),
// since each id is met once, and is then either no longer pending or sent on as it
// is. Where a collection can't be sent, the pass goes on with the next one.
func (s *Service) relayPass(ctx context.Context) error {
	err := s.relayOnce(ctx)
	// A pass that its caller gave up, as a drain does, has not failed.
	if err == nil || ctx.Err() == nil {
		s.relay.note(err)
	}
	return err
}

func (s *Service) relayOnce(ctx context.Context) error {
	if err := s.ours(ctx); err != nil {
		return err
	}
	if err := s.seeFilled(ctx); err != nil {
		return err
	}
	p := relayed{s: s, out: &outflow{old: s.old, new: s.new, refused: &s.relay.refused, now: s.cfg.Now(), note: s.oldBreaker.note}}
	after := record.ID("")
	for {
		page, err := p.round(ctx, after)
		if err != nil {
			return errors.Join(append(p.failed, err)...)
		}
		if page.End {
			break
		}
		after = page.Next
	}
	if len(p.failed) > 0 {
		return errors.Join(p.failed...)
	}
	if p.fence.Primary == store.PrimaryNew {
		sent := p.out.sent
		err := p.out.end(ctx, p.fence.Epoch)
		s.relay.carried(p.out.sent - sent)
		return err
	}
	s.relay.refused.keep(nil)
	if p.sent == 0 {
		return s.tryNew(ctx)
	}
	return nil
}

// relayed is one pass of the relay.
type relayed struct {
	s      *Service
	fence  store.Fence // as the last round found it
	out    *outflow
	sent   int
	failed []error // of collections that could not be sent
	broken string  // the last of them
}

// tryNew finds out whether new takes writes again, when nothing is pending that
// would show it.
func (s *Service) tryNew(ctx context.Context) error {
	if s.newBreaker.well() {
		return nil
	}
	err := s.new.Probe(ctx)
	s.newBreaker.note(err)
	return err
}

// round sends one page of what is pending, and returns that page.
func (p *relayed) round(ctx context.Context, after record.ID) (page store.Page, err error) {
	s := p.s
	if p.fence, err = s.old.Fence(ctx); err != nil {
		return page, err
	}
	if err := s.own(p.fence.Migration); err != nil {
		return page, err
	}
	if p.fence.Primary == store.PrimaryOld {
		page, _, err = s.old.Pending(ctx, after, relayBatch)
	} else {
		page, err = s.new.Pending(ctx, after, relayBatch)
	}
	if err != nil {
		return page, err
	}
	for run := range byCollection(page.Records) {
		collection := run[0].ID.Collection()
		if len(p.failed) > 0 && collection == p.broken {
			continue
		}
		err := p.send(ctx, run)
		switch {
		case err == nil:
		case ctx.Err() != nil, errors.Is(err, store.ErrFenceMoved):
			return page, err
		default:
			if collection != "" {
				err = fmt.Errorf("collection %s: %w", collection, err)
			}
			p.failed, p.broken = append(p.failed, err), collection
		}
	}
	// What is left of a collection that fails is not asked for.
	if n := len(page.Records); len(p.failed) > 0 && n > 0 && page.Records[n-1].ID.Collection() == p.broken {
		if next := record.End(p.broken); next > page.Next {
			page.Next = next
		} else {
			page.End = true
		}
	}
	return page, nil
}

// byCollection yields the runs of records of one collection.
func byCollection(recs []store.Record) iter.Seq[[]store.Record] {
	return func(yield func([]store.Record) bool) {
		for len(recs) > 0 {
			collection, n := recs[0].ID.Collection(), 1
			for n < len(recs) && recs[n].ID.Collection() == collection {
				n++
			}
			if !yield(recs[:n]) {
				return
			}
			recs = recs[n:]
		}
	}
}

// send sends records of one collection to the other database.
func (p *relayed) send(ctx context.Context, recs []store.Record) error {
	s, before := p.s, p.out.sent
	if p.fence.Primary == store.PrimaryNew {
		err := p.out.send(ctx, p.fence.Epoch, recs)
		p.sent += p.out.sent - before
		s.relay.carried(p.out.sent - before)
		return err
	}
	sent, err := sendToNew(ctx, s.old, s.new, p.fence.Epoch, recs, marks(recs))
	s.newBreaker.note(err)
	if err != nil {
		return err
	}
	p.sent += len(recs)
	s.relay.carried(len(sent))
	return s.old.ClearPending(ctx, sent...)
}

func marks(recs []store.Record) []store.Mark {
	out := make([]store.Mark, len(recs))
	for i, r := range recs {
		out[i] = r.Mark()
	}
	return out
}

// ErrAway: the database that is not the primary does not answer. What it lacks is
// kept in the primary, marked as pending; an instance at step 3, 4 or 5 sends it
// once that database answers.
var ErrAway = errors.New("the other database does not answer")

// Flush sends on what is pending in the primary and returns nil once all that
// was pending when it began has been replicated ("cleared"). At steps that
// don't replicate there is nothing to flush. It returns ErrAway as soon as the
// other database is known not to answer.
func (s *Service) Flush(ctx context.Context) error {
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
func (s *Service) unlessAway(ctx context.Context, do func(context.Context) error) error {
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
func (s *Service) otherAway(ctx context.Context) error {
	if s.wasNew.Load() {
		s.watchLock.look()
		return s.watchLock.known().absent(&s.meter.old)
	}
	s.watchNew.look()
	return s.watchNew.known().absent(&s.meter.new)
}

// cleared is relayPass for gates and drains: it starts again when the fence
// moves under it, since what was pending is then another database's matter.
func (s *Service) cleared(ctx context.Context) error {
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
