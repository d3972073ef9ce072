package migration

import (
	"context"
	"fmt"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// Get returns the record that counts; a tombstone is found. Errors are those
// of [Service.Apply], ErrUnknown excepted.
func (s *Service) Get(ctx context.Context, id record.ID) (store.Record, bool, error) {
	var (
		rec   store.Record
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
	if err == nil && found && rec.Unfit != "" {
		err = quarantined(rec)
	}
	return rec, found, err
}

func (s *Service) getOld(ctx context.Context, id record.ID) (store.Record, bool, error) {
	rec, found, fence, err := s.lookOld(ctx, id, false)
	if err != nil {
		return rec, false, err
	}
	_, err = s.plan(fence)
	return rec, found, err
}

// getBoth reads new first, then old and the fence in one transaction: a copy
// that new lacked then was not committed there before the fence was seen. While
// old seems to be primary it reads old alone: new's copy only serves comparison,
// which the answer doesn't wait for.
func (s *Service) getBoth(ctx context.Context, id record.ID) (store.Record, bool, error) {
	var n store.Record
	inNew, nerr := false, errSkipped
	if s.wasNew.Load() {
		n, inNew, nerr = s.lookNew(ctx, id, false)
	}
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
			s.compareLater(fence.Epoch, id, o, inOld)
		}
		return o, inOld, nil
	case plan.Wait:
		return o, false, errClosing
	case nerr == errSkipped:
		return o, false, errAgain // the hint was wrong: read new first
	case nerr != nil:
		return o, false, nerr
	}
	rec, found := choose(fence.Epoch, n, inNew, o, inOld)
	return rec, found, nil
}

// errSkipped: new was not read, since old seemed to be primary and would answer
// anyway.
var errSkipped = fmt.Errorf("%w: not waited for", store.ErrUnavailable)

func (s *Service) getRegistered(ctx context.Context, id record.ID) (store.Record, bool, error) {
	fence, _, err := s.view()
	if err != nil {
		return store.Record{}, false, err
	}
	rec, found, _, err := s.currentNew(ctx, fence, id, false)
	if err == nil {
		err = s.vouch(ctx, fence.Epoch)
	}
	return rec, found, err
}
