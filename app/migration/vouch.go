package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"migrate.invalid/migrate/app/store"
)

// Steps 6 to 8 look at no fence: the registration of each keeps the primary from
// returning. An operator can say that an instance is no more, and be wrong: it was
// only stopped, or cut off, and goes on. So no answer of these steps stands on a
// look at mirror and registration that is older than lookAge; the tool that takes a
// registration away on somebody's word waits for longer than that before it lets
// the primary move. It is the only place where time plays a part.
const (
	lookAge = time.Second
	// lookEvery is how often an instance that answers looks unasked, so that no
	// request has to wait for a look.
	lookEvery = 400 * time.Millisecond
	// wordWait is how long a return waits after it has taken a registration away
	// on the operator's word.
	wordWait = 3 * time.Second
	// commitPatience is how long a commit waits for the look that vouches for it.
	commitPatience = 5 * time.Second
	// idleLook is how often an instance looks that answers nothing.
	idleLook = 10 * time.Second
)

// adoption is the mirror as it was when this instance was last seen registered.
type adoption struct {
	store.Mirror
	at time.Time // when the look began
}

// vouch comes last before an answer at steps 6 to 8, after the read or the commit
// that it is about: nil if a look that is not too old has shown this instance
// registered and the mirror at the epoch that was acted on.
func (s *Service) vouch(ctx context.Context, epoch int64) error {
	now := s.cfg.Now()
	s.answeredAt.Store(&now)
	seen := s.adopted.Load()
	if seen == nil || now.Sub(seen.at) > lookAge {
		if err := s.lookOnce(ctx); err != nil {
			return err
		}
		seen = s.adopted.Load()
	}
	if seen == nil || seen.Epoch != epoch {
		return fmt.Errorf("%w: the primary has moved", errAgain)
	}
	return nil
}

// lookOnce looks around, one request at a time: the others find what it has seen.
func (s *Service) lookOnce(ctx context.Context) error {
	select {
	case s.looking <- struct{}{}:
		defer func() { <-s.looking }()
	case <-ctx.Done():
		return fmt.Errorf("%w: gave up waiting for a look at the mirror", ctx.Err())
	}
	if seen := s.adopted.Load(); seen != nil && s.cfg.Now().Sub(seen.at) <= lookAge {
		return nil
	}
	return s.lookAround(ctx)
}

// vouchCommit is vouch for what was committed: nobody may say that it was not. To
// wait for a slow database is better than not to know.
func (s *Service) vouchCommit(ctx context.Context, epoch int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(commitPatience, s.cfg.Budget))
	defer cancel()
	if err := s.vouch(ctx, epoch); err != nil {
		return fmt.Errorf("%w: written to the new database, but this instance can't be sure that its place is still its own: %v", store.ErrUnknown, err)
	}
	return nil
}

// answering reports whether this instance has answered anything lately.
func (s *Service) answering() bool {
	at := s.answeredAt.Load()
	return at != nil && s.cfg.Now().Sub(*at) < 2*lookAge
}

// lookAround reads this instance's registration and then the mirror, causally. One
// whose registration is gone was declared to be no more: it has no place until it
// has registered anew.
func (s *Service) lookAround(ctx context.Context) error {
	began := s.cfg.Now()
	registered, err := s.new.Registrations(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(registered, s.cfg.Instance) {
		s.adopted.Store(nil)
		return fmt.Errorf("%w: the registration of this instance was taken away: somebody has said that it is no more", ErrRefused)
	}
	m, err := s.new.Mirror(ctx)
	if err != nil {
		if errors.Is(err, store.ErrStranger) {
			s.adopted.Store(nil)
		}
		return err
	}
	return s.adoptMirror(m, began)
}

// adoptMirror takes the mirror that a look has found for the one to act on.
func (s *Service) adoptMirror(m store.Mirror, began time.Time) error {
	if m.Epoch == 0 {
		return fmt.Errorf("%w: the mirror was never set: no instance at step 2 to 5 has been here", ErrRefused)
	}
	if err := s.own(m.Migration); err != nil {
		return err
	}
	for {
		seen := s.adopted.Load()
		if seen != nil && (seen.Epoch > m.Epoch || seen.Epoch == m.Epoch && seen.at.After(began)) {
			return nil // a later look was faster
		}
		if s.adopted.CompareAndSwap(seen, &adoption{m, began}) {
			return nil
		}
	}
}

// adopt registers this instance and then reads the mirror: whoever wants to
// return the primary sees the registration, or this instance sees the return.
func (s *Service) adopt(ctx context.Context) error {
	if !s.isPrepared() {
		if err := s.checkPrepared(ctx); err != nil {
			return err
		}
	}
	seen, look := s.adopted.Load(), s.new.Look()
	switch {
	case seen == nil:
		look = s.new // causally after the registration
		began := s.cfg.Now()
		if err := s.new.Register(ctx, s.cfg.Instance); err != nil {
			return fmt.Errorf("register this instance: %w", err)
		}
		m, err := s.new.Mirror(ctx)
		if err == nil {
			err = s.adoptMirror(m, began)
		}
		if err != nil {
			return err
		}
	case s.answering() || s.cfg.Now().Sub(seen.at) > idleLook:
		if err := s.lookAround(ctx); err != nil {
			return err
		}
	default:
		// Only a greater epoch is of interest, and the mark: what writes nothing
		// finds both.
		m, err := look.Mirror(ctx)
		if err == nil && m.Epoch > seen.Epoch {
			err = s.lookAround(ctx)
		}
		if err != nil {
			return err
		}
	}
	place := s.adopted.Load()
	if place == nil {
		return fmt.Errorf("%w: the registration of this instance was taken away", ErrRefused)
	}
	epoch := place.Epoch
	progress, err := look.Progress(ctx, epoch)
	if err == nil && progress.Complete {
		s.complete.Store(epoch)
	}
	return err
}
