package migration

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"migrate/app/store"
)

// settlePoll is how often an instance tries to get into place, and, once it
// is, looks for a completion mark or a greater epoch.
const (
	settlePoll = 100 * time.Millisecond
	settled    = time.Second
)

// Run does what an instance does beside its requests until ctx ends: it gets
// into place (prepares new, or registers and adopts the mirror), relays, and
// reports its comparisons. At the end it takes back its registration.
func (s *Service[B, F]) Run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	if s.step.HasNew() {
		g.Go(func() error { return s.runSettle(gctx) })
	}
	if s.relays() {
		g.Go(func() error { return s.runRelay(gctx) })
	}
	err := g.Wait()
	if !s.step.ReadsFence() {
		s.deregister(ctx)
	}
	return err
}

// Start does once, before anything is served, what Run goes on trying: it
// returns nil when this instance is in place, else what is in the way.
func (s *Service[B, F]) Start(ctx context.Context) error {
	if s.step.ReadsFence() {
		fence, err := s.old.Fence(ctx)
		if err != nil {
			return err
		}
		if _, err := s.plan(fence); err != nil {
			return err
		}
	}
	return s.settle(ctx)
}

func (s *Service[B, F]) settle(ctx context.Context) error {
	err := s.place(ctx)
	if err == nil {
		s.inTheWay.Store(nil)
	} else {
		s.inTheWay.Store(&err)
	}
	return err
}

func (s *Service[B, F]) place(ctx context.Context) error {
	switch {
	case !s.step.HasNew():
		return nil
	case !s.step.ReadsFence():
		return s.adopt(ctx)
	case !s.isPrepared():
		return s.Prepare(ctx)
	}
	return nil
}

func (s *Service[B, F]) runSettle(ctx context.Context) error {
	for {
		wait := settled
		if err := s.settle(ctx); err != nil {
			if errors.Is(err, store.ErrStranger) {
				s.log.Error("this instance can't get into place", "error", err)
			} else {
				s.log.Warn("not in place yet", "error", err)
			}
			wait = 5 * settlePoll
		} else if s.step >= ReadBoth && s.step <= NewPrimary {
			s.reportCompared(ctx)
		}
		if err := pause(ctx, wait); err != nil {
			return nil
		}
	}
}

func (s *Service[B, F]) deregister(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := s.new.Deregister(ctx, s.cfg.Instance.Instance); err != nil {
		s.log.Warn("could not take back the registration; the next return of the primary will look for this process", "error", err)
	}
}

// readyPatience bounds how long readiness waits for the primary, so that who
// asks is told why before he gives up; the other database gets half of it.
const readyPatience = 2 * time.Second

// Ready reports whether this instance can serve: a legal step for the fence,
// and the primary in reach. degraded says what is wrong although it can.
func (s *Service[B, F]) Ready(ctx context.Context) (ready bool, reason, degraded string) {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	if !s.step.ReadsFence() {
		return s.readyRegistered(ctx)
	}
	fence, err := s.old.Fence(ctx)
	if err == nil {
		_, err = s.plan(fence)
	}
	if err == nil {
		err = s.old.Guarded(ctx)
	}
	if err != nil {
		return false, err.Error(), ""
	}
	if !s.step.HasNew() {
		return true, "", ""
	}
	if fence.Primary == store.PrimaryOld {
		// Readiness doesn't depend on new: who asks must not wait for it.
		ctx, cancel = context.WithTimeout(ctx, readyPatience/2)
		defer cancel()
	}
	err = s.checkPrepared(ctx)
	switch {
	case err == nil:
		return true, "", ""
	case errors.Is(err, store.ErrStranger), fence.Primary == store.PrimaryNew:
		return false, fmt.Sprintf("new database: %v", err), ""
	}
	return true, "", fmt.Sprintf("new database: %v", err)
}

func (s *Service[B, F]) readyRegistered(ctx context.Context) (ready bool, reason, degraded string) {
	if _, _, err := s.view(); err != nil {
		reason = err.Error()
		if why := s.inTheWay.Load(); why != nil {
			reason += ": " + (*why).Error()
		}
		return false, reason, ""
	}
	if err := s.checkPrepared(ctx); err != nil {
		return false, err.Error(), ""
	}
	if !s.step.HasOld() {
		return true, "", ""
	}
	if _, err := s.old.Fence(ctx); err != nil {
		return true, "", fmt.Sprintf("old database: %v", err)
	}
	return true, "", ""
}

// Status says what this instance knows. What can't be found out is left out;
// it is for people and metrics, never for a decision.
func (s *Service[B, F]) Status(ctx context.Context) Status {
	st := Status{Step: s.step, StepName: s.step.Name(), Pending: -1}
	var fence store.Fence
	if s.step.ReadsFence() {
		fence, _ = s.old.Fence(ctx)
	} else {
		fence, _, _ = s.view()
	}
	st.Primary, st.Epoch, st.Closing, st.Migration = fence.Primary, fence.Epoch, fence.Closing, fence.Migration
	ctx, cancel := context.WithTimeout(ctx, statusPatience)
	defer cancel()
	asking, done := context.WithTimeout(ctx, readyPatience/2)
	st.Ready, st.Reason, st.Degraded = s.Ready(asking)
	done()
	st.Relayed, st.RelayError = s.relay.status()
	s.compared.mu.Lock()
	st.Compared = s.compared.counts
	s.compared.mu.Unlock()
	if s.old != nil {
		st.Stores = append(st.Stores, s.meter.old.status(store.PrimaryOld))
	}
	if s.new != nil {
		st.Stores = append(st.Stores, s.meter.new.status(store.PrimaryNew))
		st.Progress = s.progress(ctx, fence.Epoch)
	}
	if n, err := s.countPending(ctx, fence); err == nil { // last: it can take long
		st.Pending, st.PendingAge = n, s.relay.age(n).Milliseconds()
	}
	return st
}

func (s *Service[B, F]) progress(ctx context.Context, epoch int64) *ProgressView {
	ctx, cancel := context.WithTimeout(ctx, readyPatience/2)
	defer cancel()
	p, err := s.new.Progress(ctx, epoch)
	if err != nil || epoch == 0 {
		return nil
	}
	return &ProgressView{Epoch: epoch, Copied: p.Copied, Complete: p.Complete, Verify: p.Verify}
}

// statusPatience bounds how long a status waits: it is asked for most urgently
// when a database does not answer.
const statusPatience = 2500 * time.Millisecond

// countAge is how old a count of the backlog may be: counting can cost a look
// at every record, and a status is asked for often while an instance drains.
const countAge = time.Second

// backlog is the last count of what is pending in the primary. Whoever counts
// holds the turn.
type backlog struct {
	turn  chan struct{}
	at    time.Time
	epoch int64
	n     int64
}

func (s *Service[B, F]) countPending(ctx context.Context, fence store.Fence) (int64, error) {
	b := &s.backlog
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return -1, ctx.Err()
	}
	if b.epoch == fence.Epoch && s.cfg.Now().Sub(b.at) < countAge {
		return b.n, nil
	}
	var err error
	switch {
	case fence.Primary == store.PrimaryOld && s.old != nil:
		b.n, err = s.old.CountPending(ctx)
	case fence.Primary == store.PrimaryNew && s.new != nil:
		b.n, err = s.new.CountPending(ctx)
	default:
		err = fmt.Errorf("%w: the primary is not known", store.ErrUnavailable)
	}
	if err != nil {
		return -1, err
	}
	b.at, b.epoch = s.cfg.Now(), fence.Epoch
	return b.n, nil
}
