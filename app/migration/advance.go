package migration

import (
	"context"
	"errors"
	"fmt"
	"time"

	"migrate/app/store"
)

// errProbe: new did not take the majority write that must precede the flip, so
// old stays primary and a step 5 goes on as a step 4.
var errProbe = errors.New("the new database did not take a probe write")

// Advance makes new the primary at step 5 and brings the mirror into line; at
// steps 6 and 7 only the latter. It is repeatable, and what a tool or an
// instance that died left half done it finishes.
func (s *Service[B, F]) Advance(ctx context.Context) error {
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

func (s *Service[B, F]) advance(ctx context.Context) error {
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
	if err := s.probe(ctx); err != nil {
		return fmt.Errorf("%w: %w", errProbe, err)
	}
	// What a foreign writer removed unseen would come back from new, which has
	// the same pair: it becomes a tombstone first.
	if _, err := s.old.Sweep(ctx); err != nil {
		return err
	}
	return s.flip(ctx, fence, fence.Epoch+1)
}

// probeBudget is how long a write that comes upon the flip may wait for new to
// show that it takes writes.
const probeBudget = time.Second

// probe makes sure, before every flip, that new is of this migration and takes
// a majority write.
func (s *Service[B, F]) probe(ctx context.Context) error {
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
func (s *Service[B, F]) notBehind(ctx context.Context) error {
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
func (s *Service[B, F]) flip(ctx context.Context, from store.Fence, epoch int64) error {
	to := store.Fence{Migration: from.Migration, Epoch: epoch, Primary: store.PrimaryNew}
	if err := s.old.MoveFence(ctx, from, to); err != nil {
		return err
	}
	s.log.Info("the new database is primary", "epoch", epoch)
	return s.raise(ctx, to)
}

func (s *Service[B, F]) raise(ctx context.Context, f store.Fence) error {
	return s.new.RaiseMirror(ctx, store.Mirror{Migration: f.Migration, Epoch: f.Epoch, Primary: f.Primary})
}

// align brings fence and mirror together while new is primary. A mirror behind
// moves up; one ahead is what a return that died between its last two moves
// left, and the fence goes beyond it, so that no epoch serves two primaries.
func (s *Service[B, F]) align(ctx context.Context, fence store.Fence) error {
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
func (s *Service[B, F]) Prepare(ctx context.Context) error {
	if !s.step.HasNew() {
		return nil
	}
	if !s.step.ReadsFence() {
		return s.checkPrepared(ctx)
	}
	return s.unlessAway(ctx, s.prepare)
}

func (s *Service[B, F]) prepare(ctx context.Context) error {
	fence, err := s.old.Fence(ctx)
	if err != nil {
		return err
	}
	if err := s.own(fence.Migration); err != nil {
		return err
	}
	if err := s.new.Prepare(ctx, fence.Migration); err != nil {
		return err
	}
	if fence.Primary == store.PrimaryNew {
		s.setPrepared()
		return s.align(ctx, fence)
	}
	if err := s.notBehind(ctx); err != nil {
		return err
	}
	s.setPrepared()
	return s.raise(ctx, fence)
}

func (s *Service[B, F]) checkPrepared(ctx context.Context) error {
	return s.checkWith(ctx, s.new)
}

// checkWith makes sure, by a look of one kind or the other, that new is of this
// migration and prepared.
func (s *Service[B, F]) checkWith(ctx context.Context, meta store.NewLook) error {
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
func (s *Service[B, F]) ours(ctx context.Context) error {
	if s.isPrepared() {
		return nil
	}
	return s.checkPrepared(ctx)
}

func (s *Service[B, F]) setPrepared() {
	s.mu.Lock()
	s.prepared = true
	s.mu.Unlock()
}

func (s *Service[B, F]) isPrepared() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.prepared
}

// Probe makes one acknowledged write to new, where there is one, and reads the
// fence of old, where there is one.
func (s *Service[B, F]) Probe(ctx context.Context) error {
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

// adopt registers this instance and then reads the mirror: whoever wants to
// return the primary sees the registration, or this instance sees the return.
func (s *Service[B, F]) adopt(ctx context.Context) error {
	if !s.isPrepared() {
		if err := s.checkPrepared(ctx); err != nil {
			return err
		}
	}
	// The first look comes causally after the registration. Later ones only find
	// what grows, a greater epoch or the completion mark, and write nothing.
	look := s.new.Look()
	if s.adopted.Load() == nil {
		if err := s.new.Register(ctx, s.cfg.Instance); err != nil {
			return fmt.Errorf("register this instance: %w", err)
		}
		look = s.new
	}
	m, err := look.Mirror(ctx)
	if err != nil {
		return err
	}
	if m.Epoch == 0 {
		return fmt.Errorf("%w: the mirror was never set: no instance at step 2 to 5 has been here", ErrRefused)
	}
	if err := s.own(m.Migration); err != nil {
		return err
	}
	if seen := s.adopted.Load(); seen == nil || m.Epoch > seen.Epoch {
		s.adopted.Store(&m)
	}
	progress, err := look.Progress(ctx, m.Epoch)
	if err == nil && progress.Complete {
		s.complete.Store(m.Epoch)
	}
	return err
}
