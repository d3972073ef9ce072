package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

const drainPoll = 20 * time.Millisecond

// standBy drains the previous instance and makes it the fallback; one that
// is not drained in time is not: it warns.
func (s *switching) standBy(ctx context.Context) error {
	prev := s.view.active
	if prev == nil || !prev.Process.Runs() {
		// A fallback that is left from before may name the next one itself.
		return s.setFallback(ctx, 0)
	}
	if err := s.phase(phaseDrain, fmt.Sprintf("wait for the requests and pending writes of step %d on port %d", prev.Step, prev.Port)); err != nil {
		return err
	}
	began := time.Now()
	err := s.drain(ctx, *prev)
	s.result.Drain = millis(time.Since(began))
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	keep := prev.Port
	switch {
	case errors.As(err, new(awayError)):
		s.warn("port %d has no requests any more and stands by, but %s: %v. %s", prev.Port, pendingText(s.result.Pending), err, awayMeans)
	case err != nil && !errors.Is(err, errUnseen):
		s.warn("the instance on port %d did not drain, so it is not the fallback: %v", prev.Port, err)
		keep = 0
	}
	s.result.Drained, s.result.Fallback = err == nil, keep
	what := "none"
	if keep != 0 {
		what = fmt.Sprintf("port %d stands by", keep)
	}
	if err := s.phase(phaseFallback, what); err != nil {
		return err
	}
	return s.setFallback(ctx, keep)
}

var (
	errDrain = errors.New("time is over")
	// errUnseen: the instance can't say whether it has drained. It may stand by
	// all the same, since it is alive and a neighbour.
	errUnseen = errors.New("it has no admin socket")
)

// awayError: it has no requests any more; what it still has to replicate is safe
// in the primary, and the other database does not answer, as the text says. It
// may stand by.
type awayError string

func (e awayError) Error() string { return string(e) }

// awayMeans says what becomes of writes that could not be replicated.
const awayMeans = "They are safe in the primary; instances at steps 3 to 5 send them on once that database answers"

func pendingText(n int64) string {
	if n < 0 {
		return "it can't be told how many of its writes are still to be replicated"
	}
	if n == 1 {
		return "1 write is still to be replicated"
	}
	return fmt.Sprintf("%d writes are still to be replicated", n)
}

// drain waits until the instance has had no request in flight for a quiet
// time, and everything that was pending then has been replicated.
func (s *switching) drain(ctx context.Context, prev Instance) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.limits.Over(s.next.Settings).Over(prev.Settings).DrainTimeout.or(s.o.cfg.Timeouts.Drain), errDrain)
	defer cancel()
	quiet := s.o.cfg.Timeouts.Quiet
	if !prev.Admin {
		if s.next.Admin { // else the probe has told that drains can't be seen
			s.warn("the instance on port %d has no admin socket: whether it has drained can't be seen", prev.Port)
		}
		sleep(ctx, quiet)
		return cmp.Or(s.awaitOutgoing(ctx), errUnseen)
	}
	a := s.o.admin(prev)
	if st, err := a.status(ctx); err == nil {
		s.result.PendingBefore = st.Pending
	}
	var requests int64 = -1
	var since time.Time // it has been quiet
	var last error      // why not, before the time was over
	for {
		// First: what the proxy sends in spite of the move, this flush must cover.
		old, err := s.outgoing()
		var left drained
		if err == nil {
			left, err = a.drain(ctx)
		}
		var st AdminStatus
		if err == nil {
			st, err = a.status(ctx)
		}
		now := time.Now()
		if err != nil || st.InFlight > 0 || st.Requests != requests {
			since, requests = now, st.Requests
		}
		if err == nil {
			s.result.Pending = left.Pending
			// This flush began after the last request had ended.
			if now.Sub(since) >= quiet && left.InFlight == 0 && old == 0 {
				switch {
				case left.Away != "":
					return awayError(left.Away)
				case left.Pending == 0:
					return nil
				}
			}
			err = fmt.Errorf("%d requests in flight, %d writes not replicated, %d of the proxy's processes still send to it", st.InFlight, left.Pending, old)
		}
		if !prev.Process.Runs() {
			return errors.New("it has ended")
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if !sleep(ctx, drainPoll) {
			return fmt.Errorf("%w: %w", context.Cause(ctx), last)
		}
	}
}
