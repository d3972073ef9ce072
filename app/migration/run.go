package migration

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"migrate.invalid/migrate/app/store"
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
func (s *Service) Run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	if s.step.HasNew() {
		g.Go(func() error { return s.runSettle(gctx) })
	}
	if s.relays() {
		g.Go(func() error { return s.runRelay(gctx) })
	}
	if s.step == ReadBoth || s.step == NewPrimary {
		for range compareWorkers {
			g.Go(func() error { return s.runCompare(gctx) })
		}
		g.Go(func() error { return s.runCompareLists(gctx) })
	}
	err := g.Wait()
	<-ctx.Done() // step 1 has nothing else to do
	s.endWatches()
	if !s.step.ReadsFence() {
		s.deregister(ctx)
	}
	return err
}

// startWait bounds how long an instance waits, at its start, for a new database
// that it can serve without.
const startWait = time.Second

// Start does once, before anything is served, what Run goes on trying: it
// returns nil when this instance is in place, else what is in the way.
func (s *Service) Start(ctx context.Context) error {
	if s.step.ReadsFence() {
		fence, err := s.old.Fence(ctx)
		if err != nil {
			return err
		}
		if _, err := s.plan(fence); err != nil {
			return err
		}
		if fence.Primary == store.PrimaryOld {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, startWait)
			defer cancel()
		}
	}
	return s.settle(ctx)
}

func (s *Service) settle(ctx context.Context) error {
	err := s.place(ctx)
	if err == nil {
		s.inTheWay.Store(nil)
	} else {
		s.inTheWay.Store(&err)
	}
	return err
}

func (s *Service) place(ctx context.Context) error {
	switch {
	case !s.step.HasNew():
		return nil
	case !s.step.ReadsFence():
		return s.adopt(ctx)
	case !s.isPrepared():
		if err := s.prepare(ctx); err != nil || !s.relays() {
			return err
		}
		// What is not known yet is in nobody's way: the relay says how far it is.
		if err := s.seeFilled(ctx); !errors.Is(err, ErrNotFilled) {
			return err
		}
		return nil
	}
	return s.stillThere(ctx)
}

// stillThere makes sure that new is still what it was when it was prepared. One that
// was emptied has lost no more than copies while old is primary, and is prepared
// anew then.
func (s *Service) stillThere(ctx context.Context) error {
	_, err := s.new.Look().Prepared(ctx)
	if errors.Is(err, store.ErrStranger) {
		s.forgetPrepared()
		if s.wasNew.Load() {
			return err
		}
		s.log.Warn("the new database is not prepared any more: preparing it anew", "error", err)
		return s.prepare(ctx)
	}
	if err != nil || !s.wasNew.Load() {
		return err
	}
	_, err = s.new.Mirror(ctx)
	if errors.Is(err, store.ErrStranger) {
		s.newWentBack.Store(&err)
	} else if err == nil {
		s.newWentBack.Store(nil)
	}
	return err
}

func (s *Service) runSettle(ctx context.Context) error {
	for {
		wait := settled
		if !s.step.ReadsFence() && s.answering() {
			wait = lookEvery
		}
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

// endWait bounds how long an instance that ends waits for its last writes, and
// for its registration to be taken back.
const endWait = 2 * time.Second

// deregister takes back the registration once no write is under way and none can
// begin: it vouches for each of them. Where one does not end, the registration
// stays, and the next return of the primary looks for this process.
func (s *Service) deregister(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWait)
	defer cancel()
	select {
	case <-s.commits.close():
	case <-ctx.Done():
		s.log.Warn("a write is still under way: the registration stays; the next return of the primary will look for this process")
		return
	}
	if err := s.new.Deregister(ctx, s.cfg.Instance.Instance); err != nil {
		s.log.Warn("could not take back the registration; the next return of the primary will look for this process", "error", err)
	}
}
