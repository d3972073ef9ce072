package migration

import (
	"context"
	"fmt"

	"migrate/app/store"
)

// Get returns the record that counts; a tombstone is found. Errors are those
// of [Service.Apply], ErrUnknown excepted.
func (s *Service[B, F]) Get(ctx context.Context, id string) (store.Record[B], bool, error) {
	var (
		rec   store.Record[B]
		found bool
	)
	err := s.persist(ctx, func(ctx context.Context) (err error) {
		switch {
		case !s.step.ReadsFence():
			rec, found, err = s.getRegistered(ctx, id)
		case s.step >= ReadBoth:
			rec, found, err = s.getBoth(ctx, id)
		default:
			rec, found, err = s.getOld(ctx, id)
		}
		return err
	})
	return rec, found, err
}

func (s *Service[B, F]) getOld(ctx context.Context, id string) (store.Record[B], bool, error) {
	rec, found, fence, err := s.lookOld(ctx, id, false)
	if err != nil {
		return rec, false, err
	}
	_, err = s.plan(fence)
	return rec, found, err
}

// getBoth reads new first, then old and the fence in one transaction: a copy
// that new lacked then was not committed there before the fence was seen.
func (s *Service[B, F]) getBoth(ctx context.Context, id string) (store.Record[B], bool, error) {
	n, inNew, nerr := s.lookNewWithin(ctx, id)
	o, inOld, fence, err := s.lookOld(ctx, id, false)
	if err != nil {
		return o, false, err
	}
	plan, err := s.plan(fence)
	switch {
	case err != nil:
		return o, false, err
	case plan.Primary == store.PrimaryOld:
		if plan.Compare {
			s.compare(fence.Epoch, o, inOld, n, inNew, nerr)
		}
		return o, inOld, nil
	case plan.Wait:
		return o, false, errClosing
	case nerr == errSkipped:
		return o, false, errAgain // the hint was wrong: read new in earnest
	case nerr != nil:
		return o, false, nerr
	}
	rec, found := choose(fence.Epoch, n, inNew, o, inOld)
	return rec, found, nil
}

// errSkipped: new was not read, or not waited for, since old seemed to be
// primary and would answer anyway.
var errSkipped = fmt.Errorf("%w: not waited for", store.ErrUnavailable)

// lookNewWithin reads new's copy. While old seems to be primary the copy only
// serves comparison, and an ailing new database must not slow the answer.
func (s *Service[B, F]) lookNewWithin(ctx context.Context, id string) (store.Record[B], bool, error) {
	if s.wasNew.Load() {
		return s.lookNew(ctx, id, false)
	}
	if !s.newBreaker.closed() {
		return store.Record[B]{}, false, errSkipped
	}
	bounded, cancel := context.WithTimeout(ctx, s.cfg.Budget)
	defer cancel()
	rec, found, err := s.lookNew(bounded, id, false)
	if ctx.Err() == nil { // a client that went away says nothing about the database
		s.newBreaker.note(err)
	}
	if err != nil {
		err = errSkipped
	}
	return rec, found, err
}

func (s *Service[B, F]) getRegistered(ctx context.Context, id string) (store.Record[B], bool, error) {
	fence, _, err := s.view()
	if err != nil {
		return store.Record[B]{}, false, err
	}
	rec, found, _, err := s.currentNew(ctx, fence, id, false)
	return rec, found, err
}
