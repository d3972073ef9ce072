package migration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"migrate.invalid/migrate/app/store"
)

// How long the answer to a question about this instance waits for a database.
const (
	// primaryPatience is for the primary, and for old while its fence decides.
	primaryPatience = 1500 * time.Millisecond
	// otherPatience is for the other database, on which no answer depends: what
	// was found out last is as good.
	otherPatience = 100 * time.Millisecond
	// ailingPatience is for the other database once it is known not to answer.
	ailingPatience = 10 * time.Millisecond
	// firstPatience is for the other database before it has ever answered.
	firstPatience = time.Second
	// away is how long a look may take before the database counts as one that
	// does not answer; awayAtMost, where looks have been slow before.
	away       = 500 * time.Millisecond
	awayAtMost = 5 * time.Second
	// lookLimit ends a look.
	lookLimit = 5 * time.Second
	// lately is how old an answer of the primary may be while the next one is
	// awaited: a primary under load is slow for every instance alike, and no
	// reason to refuse the way back to another one.
	lately = 10 * time.Second
)

// oldView is what a look at old has found.
type oldView struct {
	fence   store.Fence
	guarded error
	filled  error // at the steps that send to new: why nothing may be sent yet
}

// newView is what a look at new has found.
type newView struct {
	migration string
	epoch     int64 // that progress is of
	progress  store.Progress
}

// backlogView is how many records were pending in the primary of an epoch.
type backlogView struct {
	epoch int64
	n     int64
	at    time.Time
}

// watches sets up the questions. Each goes to one database, and each database is
// asked each of them once at a time.
func (s *Service) watches() {
	life, end := context.WithCancel(context.Background())
	s.watchOld = watch[oldView]{life: life, limit: lookLimit, ask: s.lookAtOld}
	s.watchLock = watch[struct{}]{life: life, limit: lookLimit, ask: s.lookAtLock}
	s.watchNew = watch[newView]{life: life, limit: lookLimit, ask: s.lookAtNew}
	s.watchBacklog = watch[backlogView]{life: life, limit: countLimit, ask: s.lookAtBacklog}
	s.endWatches = func() {
		end()
		s.watchOld.end()
		s.watchLock.end()
		s.watchNew.end()
		s.watchBacklog.end()
	}
}

func (s *Service) lookAtLock(ctx context.Context) (struct{}, error) {
	return struct{}{}, s.old.Writable(ctx)
}

func (s *Service) lookAtOld(ctx context.Context) (v oldView, err error) {
	if v.fence, err = s.old.Fence(ctx); err != nil {
		return v, err
	}
	if s.step.ReadsFence() {
		v.guarded = foreignTo(s.old).Guarded(ctx)
	}
	if s.relays() {
		v.filled = s.seeFilled(ctx)
	}
	return v, nil
}

// lookAtNew reads whose database it is and what was found out under the present
// epoch, at the same time. It writes nothing.
func (s *Service) lookAtNew(ctx context.Context) (v newView, err error) {
	look := s.new.Look()
	v.epoch = s.epoch()
	var perr error
	var asked sync.WaitGroup
	if v.epoch != 0 {
		asked.Go(func() { v.progress, perr = look.Progress(ctx, v.epoch) })
	}
	v.migration, err = look.Prepared(ctx)
	if errors.Is(err, store.ErrStranger) {
		s.forgetPrepared()
	}
	asked.Wait()
	if err == nil && perr != nil {
		err = perr
	}
	return v, err
}

// epoch is the one that was seen last; 0 before any.
func (s *Service) epoch() int64 {
	if m := s.adopted.Load(); m != nil {
		return m.Epoch
	}
	if f := s.seen.Load(); f != nil {
		return f.Epoch
	}
	return 0
}

// trouble says what is wrong with a database by what a look has found: its
// error, or that the look has been waiting for longer than limit; nil if nothing
// is known to be wrong.
func (f sight[T]) trouble(limit time.Duration) error {
	switch {
	case f.overdue > limit && !f.at.IsZero():
		return fmt.Errorf("%w: no answer for %.1f s", store.ErrUnavailable, f.overdue.Seconds())
	case f.err != nil:
		return f.err
	case f.at.IsZero():
		return fmt.Errorf("%w: it has not answered yet", store.ErrUnavailable)
	}
	return nil
}

// ofPrimary returns the trouble with a primary, or, if it has answered well
// lately and is only late with its next answer, says so in late.
func (f sight[T]) ofPrimary() (late, trouble error) {
	err := f.trouble(away)
	if err != nil && f.err == nil && !f.at.IsZero() && time.Since(f.at) < lately {
		return err, nil
	}
	return nil, err
}

// limit is how long a look at the database that is not the primary may take. One
// that is only slow has been slow before.
func (f sight[T]) limit() time.Duration { return min(max(away, 5*f.slow), awayAtMost) }

// absent says why the database that is not the primary counts as one that does
// not answer; nil if it doesn't.
func (f sight[T]) absent(g *gauge) error {
	if g.silence() <= f.limit() {
		return nil
	}
	err := f.trouble(f.limit())
	if f.at.IsZero() && f.overdue <= f.limit() {
		err = nil // it is being asked for the first time
	}
	if errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// Ready reports whether this instance can serve: a legal step for the fence,
// and the primary in reach. degraded says what is wrong although it can. It
// waits for the primary, within bounds, and not for the other database.
func (s *Service) Ready(ctx context.Context) (ready bool, reason, degraded string) {
	ready, reason, degraded, _ = s.ready(ctx)
	return ready, reason, degraded
}

// ready is Ready, and the fence that it goes by. Both databases are asked at the
// same time.
func (s *Service) ready(ctx context.Context) (ready bool, reason, degraded string, fence store.Fence) {
	patience := s.watchNew.patience()
	if s.new != nil {
		s.watchNew.look()
	}
	if !s.step.ReadsFence() {
		return s.readyRegistered(ctx)
	}
	old := s.watchOld.wait(ctx, primaryPatience)
	fence = old.v.fence
	late, err := old.ofPrimary()
	if late != nil {
		degraded = fmt.Sprintf("old database: %v", late)
	}
	if err == nil {
		_, err = s.plan(fence)
	}
	if err == nil {
		err = old.v.guarded
	}
	switch {
	case err != nil:
		return false, fmt.Sprintf("old database: %v", err), "", fence
	case !s.step.HasNew():
		return true, "", degraded, fence
	case old.v.filled != nil:
		degraded = joined(degraded, fmt.Sprintf("old database: %v", old.v.filled))
	}
	if fence.Primary == store.PrimaryNew {
		if late, err = s.judgePrimaryNew(ctx); err != nil {
			return false, fmt.Sprintf("new database: %v", err), "", fence
		}
	} else if late = s.judgeNew(s.watchNew.rest(ctx, patience)); late == nil {
		late = s.newBreaker.trouble()
	}
	switch {
	case errors.Is(late, store.ErrStranger):
		return false, fmt.Sprintf("new database: %v", late), "", fence
	case late != nil:
		degraded = joined(degraded, fmt.Sprintf("new database: %v", late))
	}
	return true, "", degraded, fence
}

// judgeNew returns what is wrong with new while it is not the primary, that it
// is a stranger's included.
func (s *Service) judgeNew(f sight[newView]) error {
	if err := f.trouble(f.limit()); err != nil {
		return err
	}
	return s.judgeMigration(f)
}

// judgePrimaryNew waits for new, which is the primary, and returns what is wrong
// with it, or in late that it is slow to answer.
func (s *Service) judgePrimaryNew(ctx context.Context) (late, trouble error) {
	f := s.watchNew.rest(ctx, primaryPatience)
	late, err := f.ofPrimary()
	if err == nil {
		err = s.judgeMigration(f)
	}
	return late, err
}

func (s *Service) judgeMigration(f sight[newView]) error {
	if err := s.own(f.v.migration); err != nil {
		return err
	}
	s.setPrepared()
	return nil
}

func (s *Service) readyRegistered(ctx context.Context) (ready bool, reason, degraded string, fence store.Fence) {
	fence, _, err := s.view()
	if err != nil {
		reason = err.Error()
		if why := s.inTheWay.Load(); why != nil {
			reason += ": " + (*why).Error()
		}
		return false, reason, "", fence
	}
	patience := s.watchOld.patience()
	if s.old != nil {
		s.watchOld.look()
	}
	late, err := s.judgePrimaryNew(ctx)
	if err != nil {
		return false, fmt.Sprintf("new database: %v", err), "", fence
	}
	if late != nil {
		degraded = fmt.Sprintf("new database: %v", late)
	}
	if s.old == nil {
		return true, "", degraded, fence
	}
	if err := s.watchOld.rest(ctx, patience).trouble(awayAtMost); err != nil {
		degraded = joined(fmt.Sprintf("old database: %v", err), degraded)
	}
	return true, "", degraded, fence
}
