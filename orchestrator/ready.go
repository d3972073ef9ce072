package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	readyPoll = 25 * time.Millisecond
	// socketWait is how long a ready instance may take to offer its admin
	// socket before it counts as having none.
	socketWait  = 500 * time.Millisecond
	prepareWait = 10 * time.Second
	// outlookWait bounds gates that are asked for information only.
	outlookWait = 5 * time.Second
	logLines    = 12
)

// await waits until the instance is ready, has prepared the databases, and is
// proven to be what it should be.
func (op *operation) await(ctx context.Context, i Instance) (Instance, error) {
	limit := i.ReadyTimeout.or(op.o.cfg.Timeouts.Ready)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not ready after %v (--ready-timeout)", limit))
	defer cancel()
	waiting := op.waiting(i.Port, limit)
	prepared := i.Step < 2 // step 1 does not hold the new database
	var reason string
	for {
		if err := op.over(ctx, i); err != nil {
			return i, err
		}
		ok, why := ready(ctx, i.Port, i.readyPath())
		if ok {
			break
		}
		if ctx.Err() == nil {
			reason = why
			waiting(why)
		}
		if !prepared { // some only become ready once the new database is
			prepared = op.prepare(ctx, i) == nil
		}
		if !sleep(ctx, readyPoll) {
			return i, fmt.Errorf("%w: port %d: %w: %s", ErrNotReady, i.Port, context.Cause(ctx), reason)
		}
	}
	op.awaitSocket(ctx, i)
	if !prepared {
		if err := op.prepare(ctx, i); err != nil && !errors.Is(err, errNoAdmin) {
			op.warn("the new database could not be prepared yet: %v", err)
		}
	}
	i, doubts, err := op.o.prove(ctx, i)
	for _, d := range doubts {
		op.warn("%s", d)
	}
	if err == nil {
		err = op.over(ctx, i)
	}
	return i, err
}

// prepare asks the instance to make the new database fit for use. One that
// can't be reached now must not hold up a spawn: the gates ask again.
func (op *operation) prepare(ctx context.Context, i Instance) error {
	ctx, cancel := context.WithTimeout(ctx, prepareWait)
	defer cancel()
	return op.o.admin(i).post(ctx, "/prepare")
}

// awaitSocket gives a ready instance a moment to offer its admin socket.
func (op *operation) awaitSocket(ctx context.Context, i Instance) {
	ctx, cancel := context.WithTimeout(ctx, socketWait)
	defer cancel()
	for {
		if _, err := op.o.admin(i).status(ctx); !errors.Is(err, errNoAdmin) || !sleep(ctx, readyPoll) {
			return
		}
	}
}

// firstContact tells what the instance did to the old database, if it was the
// first to open it.
func (op *operation) firstContact(ctx context.Context, i Instance) *FirstContact {
	if !i.Admin {
		return nil
	}
	s, err := op.o.admin(i).status(ctx)
	if err != nil || s.FirstContact == nil {
		return nil
	}
	op.report("first contact: %d rows taken over, %d in quarantine; as it was before, the old database is kept in %s",
		s.FirstContact.Rows, s.FirstContact.Quarantined, s.FirstContact.Copy)
	return s.FirstContact
}

// outlook asks what the switch to the instance would be refused for.
func (op *operation) outlook(ctx context.Context, v view, i Instance) []Gate {
	if !i.Admin || i.Step <= op.step(v) || i.Step < 2 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, outlookWait)
	defer cancel()
	gates, err := op.o.admin(i).gates(ctx, i.Step)
	if err != nil {
		op.warn("the gates to step %d can't be told yet: %v", i.Step, err)
	}
	return gates
}

// sleep reports whether the time passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// When a command that waits says for what: almost at once, when it changes,
// and from time to time.
const (
	firstWord = 500 * time.Millisecond
	nextWord  = time.Second
	sameWord  = 15 * time.Second
)

// waiting returns a function that is told again and again what an instance is
// waited for, and reports it when a person wants to know.
func (op *operation) waiting(port int, limit time.Duration) func(reason string) {
	began, said := time.Now(), ""
	due := began.Add(firstWord)
	return func(reason string) {
		now := time.Now()
		if now.Before(due) || reason == said && now.Before(due.Add(sameWord-nextWord)) {
			return
		}
		op.report("waiting for port %d to be ready, at most %v: %s", port, limit, reason)
		said, due = reason, now.Add(nextWord)
	}
}
