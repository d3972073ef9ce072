package migration

import (
	"context"
	"errors"
	"fmt"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// Change decides what becomes of a record: found is false if there is none; a
// tombstone is found. Where cur.Unfit says why new can't hold the record, its Body
// may be missing; only a deletion or a whole replacement may be committed then. Of next only Body, Deleted and Request matter. With
// commit false nothing is written and err is the answer (nil: cur as it is).
// It may be called several times and must not have effects of its own.
type Change func(cur store.Record, found bool) (next store.Record, commit bool, err error)

// Apply commits a change of one record and returns what is stored then. fresh
// says that the id was made just now, so that no database can hold it.
//
// Errors: whatever change answered; [store.ErrQuarantined] where it leaves a
// record as it is that new can't hold; [ErrRefused] and [store.ErrUnavailable]
// when nothing was written; [store.ErrUnknown] when the write may or may not
// have taken effect, which must not be repeated unless it is idempotent.
func (s *Service) Apply(ctx context.Context, id record.ID, fresh bool, change Change) (store.Record, error) {
	var rec store.Record
	err := s.persist(ctx, func(ctx context.Context) (err error) {
		if s.step.ReadsFence() {
			rec, err = s.applyFenced(ctx, id, fresh, change)
		} else {
			rec, err = s.applyRegistered(ctx, id, fresh, change)
		}
		return err
	})
	return rec, err
}

func (s *Service) applyFenced(ctx context.Context, id record.ID, fresh bool, change Change) (store.Record, error) {
	// New comes before the fence: what is built on was there while the fence was
	// open, so a return drains it, and at most one rev of a late write is ahead
	// of what old goes on from.
	var n store.Record
	inNew, nerr := false, errSkipped
	if s.step >= ReadBoth && (fresh || s.wasNew.Load()) {
		n, inNew, nerr = s.lookNew(ctx, id, fresh)
	}
	o, inOld, fence, err := s.lookOld(ctx, id, fresh)
	if err != nil {
		return o, err
	}
	plan, err := s.plan(fence)
	switch {
	case err != nil:
		return o, err
	case plan.Wait:
		return o, errClosing
	case plan.Primary == store.PrimaryNew && nerr == errSkipped:
		return o, errAgain // the hint was wrong: read new first
	case plan.Primary == store.PrimaryNew && nerr != nil:
		return o, nerr
	case plan.Primary == store.PrimaryNew:
		return s.applyNew(ctx, fence, plan, id, n, inNew, o, inOld, change)
	case plan.Advance && s.newBreaker.well():
		err := s.Advance(ctx)
		switch {
		case !errors.Is(err, errHeld):
			return o, errAgain // whatever became of the fence, the next look tells
		case errors.Is(err, errProbe):
			s.newBreaker.failed(err)
		}
	}
	return s.applyOld(ctx, fence, plan, id, o, inOld, change)
}

// lookOld reads old's copy and the fence in one transaction; for an id made
// just now the fence alone.
func (s *Service) lookOld(ctx context.Context, id record.ID, fresh bool) (store.Record, bool, store.Fence, error) {
	if fresh {
		fence, err := s.old.Fence(ctx)
		return store.Record{}, false, fence, err
	}
	recs, fence, err := s.old.Get(ctx, id)
	rec, found := recs[id]
	return rec, found, fence, err
}

// applyOld commits on old and then, best effort, replicates to new: what old
// has committed is acknowledged whatever follows.
func (s *Service) applyOld(ctx context.Context, fence store.Fence, plan Plan, id record.ID, cur store.Record, found bool, change Change) (store.Record, error) {
	next, commit, err := decide(change, cur, found)
	if !commit {
		return cur, err // record and fence were read in one transaction: the answer stands
	}
	next = stamp(next, id, cur.Rev+1, fence.Epoch, plan.Outbox || cur.Pending)
	if err := s.old.CompareAndSwap(ctx, fence.Epoch, next, cur.Pair); err != nil {
		return cur, again(err)
	}
	if plan.Replicate {
		s.replicate(ctx, next)
	}
	return next, nil
}

// replicate sends a commit of old to new. What fails here the relay does later.
func (s *Service) replicate(ctx context.Context, rec store.Record) {
	if !s.isPrepared() || !s.filled.Load() || !s.newBreaker.well() {
		s.relay.nudge()
		return
	}
	ctx, cancel := s.background(ctx)
	defer cancel()
	note := s.newBreaker.begin()
	err := s.new.PutIfNewer(ctx, rec)
	note(err)
	if err == nil {
		err = s.old.ClearPending(ctx, rec.Mark())
	}
	if err != nil {
		s.relay.nudge()
	}
}

// applyNew commits on new at steps 4 and 5, and answers only once some look at
// the fence, later than the commit, shows the same epoch.
func (s *Service) applyNew(ctx context.Context, fence store.Fence, plan Plan, id record.ID, n store.Record, inNew bool, o store.Record, inOld bool, change Change) (store.Record, error) {
	if err := s.ours(ctx); err != nil {
		return o, err
	}
	cur, found := choose(fence.Epoch, n, inNew, o, inOld)
	next, commit, cerr := decide(change, cur, found)
	if !commit {
		if err := s.stillOpen(ctx, fence); err != nil {
			return cur, err
		}
		return cur, cerr
	}
	next = stamp(next, id, cur.Rev+1, fence.Epoch, plan.Outbox)
	if err := s.new.CompareAndSwap(ctx, next, n.Pair); err != nil {
		return cur, again(err)
	}
	return next, s.confirm(ctx, fence, next)
}

// confirm replicates a commit of new to old, which proves that the fence has
// not moved; where that fails for another reason, or old is known to ail, the
// fence itself is asked. Else the commit may be left behind by a return of the
// primary: unknown.
func (s *Service) confirm(ctx context.Context, fence store.Fence, rec store.Record) error {
	bounded, cancel := s.background(ctx)
	defer cancel()
	err := errSkipped
	if s.oldBreaker.closed() {
		err = s.copyToOld(bounded, fence, rec)
	}
	if err == nil {
		return nil
	}
	s.relay.nudge()
	if errors.Is(err, store.ErrFenceMoved) {
		return fmt.Errorf("%w: the primary moved while the write was under way", store.ErrUnknown)
	}
	// The budget may be what failed; the fence gets one of its own.
	bounded, cancel = s.background(ctx)
	defer cancel()
	ferr := s.stillOpen(bounded, fence)
	if errors.Is(ferr, errClosing) && err == errSkipped {
		ferr = s.copyToOld(bounded, fence, rec) // counts while the fence is closing, too
	}
	if ferr != nil {
		return fmt.Errorf("%w: written to the new database, but the fence can't be confirmed: %v", store.ErrUnknown, ferr)
	}
	return nil
}

func (s *Service) copyToOld(ctx context.Context, fence store.Fence, rec store.Record) error {
	err := s.old.PutIfNewer(ctx, fence.Epoch, rec)
	s.oldBreaker.note(err)
	if err == nil && s.new.ClearPending(ctx, rec.Mark()) != nil {
		s.relay.nudge()
	}
	return err
}

// applyRegistered commits on new at steps 6 to 8, where the registration keeps
// the primary from returning and no fence needs to be looked at.
func (s *Service) applyRegistered(ctx context.Context, id record.ID, fresh bool, change Change) (store.Record, error) {
	if !s.commits.begin() {
		return store.Record{}, fmt.Errorf("%w: this instance has ended, and takes back its registration", ErrRefused)
	}
	defer s.commits.end()
	fence, plan, err := s.view()
	if err != nil {
		return store.Record{}, err
	}
	cur, found, expect, err := s.currentNew(ctx, fence, id, fresh)
	if err != nil {
		return cur, err
	}
	next, commit, err := decide(change, cur, found)
	if !commit {
		if verr := s.vouch(ctx, fence.Epoch); verr != nil {
			return cur, verr
		}
		return cur, err
	}
	next = stamp(next, id, cur.Rev+1, fence.Epoch, plan.Outbox)
	if err := s.new.CompareAndSwap(ctx, next, expect); err != nil {
		return cur, again(err)
	}
	return next, s.vouchCommit(ctx, fence.Epoch)
}

// currentNew returns the copy that counts at steps 6 to 8 and the pair that
// new itself holds.
func (s *Service) currentNew(ctx context.Context, fence store.Fence, id record.ID, fresh bool) (store.Record, bool, store.Pair, error) {
	allFinal := s.final(fence.Epoch) // before new is read
	n, inNew, err := s.lookNew(ctx, id, fresh)
	if err != nil || fresh || allFinal || inNew && n.Epoch == fence.Epoch {
		return n, inNew, n.Pair, err
	}
	olds, f, err := s.old.Get(ctx, id)
	if err == nil {
		err = s.own(f.Migration)
	}
	if err != nil {
		return n, inNew, n.Pair, fmt.Errorf("record %q is not final in the new database and the old one can't be asked: %w", id, err)
	}
	o, inOld := olds[id]
	cur, found := choose(fence.Epoch, n, inNew, o, inOld)
	return cur, found, n.Pair, nil
}

func (s *Service) lookNew(ctx context.Context, id record.ID, fresh bool) (store.Record, bool, error) {
	if fresh {
		return store.Record{}, false, nil
	}
	if err := s.ours(ctx); err != nil {
		return store.Record{}, false, err
	}
	recs, err := s.new.Get(ctx, id)
	rec, found := recs[id]
	return rec, found, err
}

// stillOpen is the look at the fence that comes last: nil if it still shows
// this epoch and is open, errAgain if it has moved.
func (s *Service) stillOpen(ctx context.Context, fence store.Fence) error {
	now, err := s.old.Fence(ctx)
	switch {
	case err != nil:
		return err
	case now.Closing:
		return errClosing
	case now.Epoch != fence.Epoch:
		return errAgain
	}
	return nil
}

// awaitOpen lets a moving primary move: it looks at nothing but the fence, since
// the mover needs the new database for itself. A tool that died while it moved
// the primary has left a deadline, past which any instance reopens the fence.
func (s *Service) awaitOpen(ctx context.Context) error {
	fence, err := s.old.Fence(ctx)
	if err != nil || !fence.Closing {
		return err
	}
	if s.cfg.Now().After(fence.Deadline) {
		err := s.old.MoveFence(ctx, fence, reopened(fence))
		s.log.Warn("reopening a fence whose closer has gone", "epoch", fence.Epoch, "token", fence.Token, "error", err)
	}
	return errClosing
}

// decide asks what becomes of a record. One that is in quarantine is either
// decided on by a write, or not answered.
func decide(change Change, cur store.Record, found bool) (next store.Record, commit bool, err error) {
	next, commit, err = change(cur, found)
	if !commit && err == nil && cur.Unfit != "" {
		err = quarantined(cur)
	}
	return next, commit, err
}

func stamp(rec store.Record, id record.ID, rev, epoch int64, pending bool) store.Record {
	rec.ID, rec.Rev, rec.Epoch, rec.Pending, rec.Unfit = id, rev, epoch, pending, ""
	if rec.Deleted {
		var none record.Body
		rec.Body = none
	}
	return rec
}
