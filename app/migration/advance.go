package migration

import (
	"context"
	"errors"
	"fmt"
	"time"

	"migrate.invalid/migrate/app/store"
)

// errHeld: what must precede the flip does not hold, so old stays primary and a
// step 5 goes on as a step 4.
var errHeld = errors.New("the new database can't become primary")

// Advance makes new the primary at step 5 and brings the mirror into line; at
// steps 6 and 7 only the latter. It is repeatable, and what a tool or an
// instance that died left half done it finishes.
func (s *Service) Advance(ctx context.Context) error {
	switch s.step {
	case NewPrimary, StopOldWrites, Backfill:
	default:
		return fmt.Errorf("%w: only steps 5 to 7 advance the primary, this is step %d", ErrRefused, int(s.step))
	}
	err := s.advance(ctx)
	if errors.Is(err, store.ErrFenceMoved) {
		err = s.advance(ctx) // somebody else was faster: see what they have left to do
	}
	return err
}

func (s *Service) advance(ctx context.Context) error {
	fence, err := s.old.Fence(ctx)
	if err != nil {
		return err
	}
	if err := s.own(fence.Migration); err != nil {
		return err
	}
	if fence.Primary == store.PrimaryNew {
		return s.align(ctx, fence)
	}
	plan, err := s.plan(fence)
	if err != nil {
		return err
	}
	if !plan.Advance {
		return fmt.Errorf("%w: step %d does not flip the primary", ErrRefused, int(s.step))
	}
	if err := s.unheld(ctx); err != nil {
		return fmt.Errorf("%w: %w", errHeld, err)
	}
	if err := s.probe(ctx); err != nil {
		return fmt.Errorf("%w: %w: %w", errHeld, errProbe, err)
	}
	return s.flip(ctx, fence, fence.Epoch+1)
}

// errProbe: new did not take the majority write that must precede the flip.
var errProbe = errors.New("it did not take a probe write")

// unheld makes sure, before every flip, that old is as the gates want it: programs
// that know nothing of us are held inside the protocol, the protocol knows every
// record, and the rows on which nobody has decided are no more than were accepted.
func (s *Service) unheld(ctx context.Context) error {
	if err := foreignTo(s.old).Guarded(ctx); err != nil {
		return err
	}
	if err := filled(ctx, s.old); err != nil {
		return err
	}
	rows, accepted, err := undecided(ctx, s.old)
	if err == nil && rows > accepted {
		err = fmt.Errorf("%w: %d rows of the old database are undecided, %d are accepted", store.ErrQuarantined, rows, accepted)
	}
	return err
}

// probeBudget is how long a write that comes upon the flip may wait for new to
// show that it takes writes.
const probeBudget = time.Second

// probe makes sure, before every flip, that new is of this migration and takes
// a majority write.
func (s *Service) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeBudget)
	defer cancel()
	if err := s.checkPrepared(ctx); err != nil {
		return err
	}
	if err := s.notBehind(ctx); err != nil {
		return err
	}
	return s.new.Probe(ctx)
}

// notBehind refuses an old database that was put back from a time before the
// primary moved: its fence names old under an epoch that the mirror has passed,
// which no order of moves leads to.
func (s *Service) notBehind(ctx context.Context) error {
	mirror, err := s.new.Mirror(ctx)
	if err != nil {
		return err
	}
	fence, err := s.old.Fence(ctx) // after the mirror: a fence moves before it
	if err == nil && fence.Primary == store.PrimaryOld && mirror.Epoch > fence.Epoch {
		err = fmt.Errorf("%w: the old database says epoch %d, the mirror in the new one %d: is it an old copy?", store.ErrStranger, fence.Epoch, mirror.Epoch)
	}
	return err
}

// flip moves the fence to (epoch, new, open), then the mirror.
func (s *Service) flip(ctx context.Context, from store.Fence, epoch int64) error {
	to := store.Fence{Migration: from.Migration, Epoch: epoch, Primary: store.PrimaryNew}
	if err := s.old.MoveFence(ctx, from, to); err != nil {
		return err
	}
	s.log.Info("the new database is primary", "epoch", epoch)
	return s.raise(ctx, to)
}

func (s *Service) raise(ctx context.Context, f store.Fence) error {
	return s.new.RaiseMirror(ctx, store.Mirror{Migration: f.Migration, Epoch: f.Epoch, Primary: f.Primary})
}

// align brings fence and mirror together while new is primary. A mirror behind
// moves up; one ahead is what a return that died between its last two moves
// left, and the fence goes beyond it, so that no epoch serves two primaries.
func (s *Service) align(ctx context.Context, fence store.Fence) error {
	mirror, err := s.new.Mirror(ctx)
	if err != nil {
		return err
	}
	switch {
	case mirror.Migration != "" && mirror.Migration != fence.Migration:
		return fmt.Errorf("%w: the mirror belongs to %q", store.ErrStranger, mirror.Migration)
	case mirror.Epoch < fence.Epoch:
		return s.raise(ctx, fence)
	case mirror.Epoch == fence.Epoch:
		return nil
	case fence.Closing:
		return fmt.Errorf("%w: the primary is about to return to the old database", ErrRefused)
	}
	return s.flip(ctx, fence, mirror.Epoch+1)
}

// Prepare puts collection, indexes, migration id and mirror in place. At steps
// 6 to 8 it only checks that they are.
func (s *Service) Prepare(ctx context.Context) error {
	if !s.step.HasNew() {
		return nil
	}
	if !s.step.ReadsFence() {
		return s.checkPrepared(ctx)
	}
	return s.unlessAway(ctx, s.prepare)
}

func (s *Service) prepare(ctx context.Context) error {
	fence, err := s.old.Fence(ctx)
	if err != nil {
		return err
	}
	if err := s.own(fence.Migration); err != nil {
		return err
	}
	if fence.Primary == store.PrimaryNew {
		// One that is primary was prepared before: if it isn't, it is another one,
		// or was emptied, and what it had acknowledged is not in old alone.
		if err := s.checkPrepared(ctx); err != nil {
			return err
		}
		return s.align(ctx, fence)
	}
	if err := s.new.Prepare(ctx, fence.Migration); err != nil {
		return err
	}
	err = s.notBehind(ctx)
	if errors.Is(err, store.ErrStranger) {
		s.oldWentBack.Store(&err)
	}
	if err != nil {
		return err
	}
	s.oldWentBack.Store(nil)
	s.setPrepared()
	return s.raise(ctx, fence)
}

func (s *Service) checkPrepared(ctx context.Context) error {
	return s.checkWith(ctx, s.new)
}

// checkWith makes sure, by a look of one kind or the other, that new is of this
// migration and prepared.
func (s *Service) checkWith(ctx context.Context, meta store.NewLook) error {
	id, err := meta.Prepared(ctx)
	if err != nil {
		return err
	}
	if err := s.own(id); err != nil {
		return err
	}
	s.setPrepared()
	return nil
}

// ours makes sure, once, that new is of this migration before a request or the
// relay touches it: it may have been out of reach when this instance started.
func (s *Service) ours(ctx context.Context) error {
	if s.isPrepared() {
		return nil
	}
	return s.checkPrepared(ctx)
}

func (s *Service) setPrepared() {
	s.mu.Lock()
	s.prepared = true
	s.mu.Unlock()
}

// forgetPrepared keeps requests and the relay from a new database that is no longer
// prepared. What was compared with it says nothing any more.
func (s *Service) forgetPrepared() {
	s.mu.Lock()
	s.prepared = false
	s.mu.Unlock()
	s.compared.mu.Lock()
	s.compared.counts, s.compared.dirty = map[string]store.Compared{}, false
	s.compared.mu.Unlock()
	if !s.wasNew.Load() {
		s.epochs.mirror.epoch.Store(0) // while old is primary it is prepared anew, and its mirror begins anew
	}
}

func (s *Service) isPrepared() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.prepared
}

// Probe makes one acknowledged write to new, where there is one, and reads the
// fence of old, where there is one.
func (s *Service) Probe(ctx context.Context) error {
	var errs []error
	if s.old != nil {
		_, err := s.old.Fence(ctx)
		errs = append(errs, err)
	}
	if s.new != nil {
		errs = append(errs, s.new.Probe(ctx))
	}
	return errors.Join(errs...)
}
