package migration

import (
	"context"
	"errors"
	"fmt"

	"migrate/app/store"
)

// The gates' names, which --force takes.
const (
	GateNewReady   = "new-ready"
	GateNewWrites  = "new-writes"
	GateCleared    = "cleared"
	GateTriggers   = "triggers"
	GateCompared   = "compared"
	GateFence      = "fence"
	GateMirror     = "mirror"
	GateComplete   = "complete"
	GateVerified   = "verified"
	GateQuarantine = "quarantine"
)

// Gates answers whether the move to a step may be made: asked of an instance at
// that step, or at the one before it for a look ahead. Every gate is answered,
// also past one that does not hold. An error means that the question makes no
// sense here.
func (s *Service[B, F]) Gates(ctx context.Context, to Step) ([]Gate, error) {
	if to != s.step && to != s.step+1 || !s.step.HasNew() && to > DeployNew {
		return nil, fmt.Errorf("an instance at step %d can't answer for the gates to step %d", int(s.step), int(to))
	}
	switch to {
	case AddDAO:
		return []Gate{s.gateNewReady(ctx)}, nil
	case WriteBoth:
		return []Gate{s.gateNewWrites(ctx)}, nil
	case ReadBoth:
		return []Gate{s.gateCleared(ctx)}, nil
	case NewPrimary:
		return []Gate{s.gateCleared(ctx), s.gateTriggers(ctx), s.gateCompared(ctx)}, nil
	case StopOldWrites:
		return []Gate{s.gateFence(ctx), s.gateCleared(ctx)}, nil
	case Backfill:
		return []Gate{s.gateMirror(ctx, GateMirror)}, nil
	case RemoveOld:
		return s.gatesToTheEnd(ctx), nil
	}
	return []Gate{}, nil
}

// gate turns what was found into an answer. A database that could not be asked
// calls for another remedy than what it might have answered.
func gate(name, held string, err error, remedy string) Gate {
	if errors.Is(err, store.ErrUnavailable) {
		remedy = "bring the database back into reach (migrate doctor says which), then ask again"
	}
	if err != nil {
		return Gate{Name: name, Detail: err.Error(), Remedy: remedy}
	}
	return Gate{Name: name, OK: true, Detail: held}
}

func (s *Service[B, F]) gateNewReady(ctx context.Context) Gate {
	err := s.checkPrepared(ctx)
	return gate(GateNewReady, "the new database answers; collection, indexes and migration id are in place", err,
		"correct --mongo-uri; a database of another migration must not be used")
}

func (s *Service[B, F]) gateNewWrites(ctx context.Context) Gate {
	return gate(GateNewWrites, "the new database took a write, a read and a delete", s.new.ProbeRecord(ctx),
		"check the new database's state and the rights of the user in --mongo-uri")
}

func (s *Service[B, F]) gateCleared(ctx context.Context) Gate {
	return gate(GateCleared, "all that was pending has been replicated", s.cleared(ctx),
		"ask again: the relay catches up by itself")
}

func (s *Service[B, F]) gateTriggers(ctx context.Context) Gate {
	return gate(GateTriggers, "the triggers that hold foreign writers inside the protocol are in place", s.old.Guarded(ctx),
		"a program has rebuilt the table; restore the triggers before new becomes primary")
}

// gateCompared wants to know that new answers as old does, before it decides.
func (s *Service[B, F]) gateCompared(ctx context.Context) Gate {
	const remedy = "let the instance at step 4 serve reads for longer, or run: migrate backfill, then migrate verify"
	fence, err := s.old.Fence(ctx)
	if err != nil {
		return gate(GateCompared, "", err, remedy)
	}
	if fence.Primary == store.PrimaryNew {
		return gate(GateCompared, "the new database is primary already", nil, "")
	}
	p, err := s.new.Progress(ctx, fence.Epoch)
	if err != nil {
		return gate(GateCompared, "", err, remedy)
	}
	c := p.Compared
	read := c.Equal + c.Different
	found := fmt.Sprintf("%d reads compared, %d different; p99 old %.1f ms, new %.1f ms; %d errors of new",
		read, c.Different, float64(c.OldP99)/1000, float64(c.NewP99)/1000, c.Errors)
	verified := p.Verify != nil && p.Verify.Clean
	switch {
	case c.Different > 0:
		return gate(GateCompared, "", errors.New(found), "records differ between the databases: run migrate verify and look at each; once they are mended, --force compared passes the reads that were counted before")
	case read >= s.cfg.CompareMin:
		return gate(GateCompared, found, nil, "")
	case verified && p.Verify.Equal > 0:
		return gate(GateCompared, fmt.Sprintf("%s; a clean verify found %d equal", found, p.Verify.Equal), nil, "")
	case verified && p.Verify.Behind == 0 && p.Verify.Late == 0:
		return gate(GateCompared, "there is nothing to compare: a clean verify found no records", nil, "")
	}
	return gate(GateCompared, "", fmt.Errorf("%s; %d wanted", found, s.cfg.CompareMin), remedy)
}

func (s *Service[B, F]) gateFence(ctx context.Context) Gate {
	const remedy = "make the new database primary: migrate switch to an instance at step 5 asks for it"
	fence, err := s.old.Fence(ctx)
	if err != nil {
		return gate(GateFence, "", err, remedy)
	}
	if fence.Primary != store.PrimaryNew || fence.Closing {
		return gate(GateFence, "", fmt.Errorf("the old database is still primary, or about to be (epoch %d)", fence.Epoch), remedy)
	}
	if err := s.align(ctx, fence); err != nil {
		return gate(GateFence, "", err, remedy)
	}
	return s.gateMirror(ctx, GateFence)
}

// gateMirror only looks: the switch asks for an advance first, which aligns the
// mirror with the fence.
func (s *Service[B, F]) gateMirror(ctx context.Context, name string) Gate {
	m, err := s.new.Mirror(ctx)
	if err == nil && m.Primary != store.PrimaryNew {
		err = fmt.Errorf("the mirror in the new database shows %q as primary at epoch %d", m.Primary, m.Epoch)
	}
	return gate(name, fmt.Sprintf("the new database is primary at epoch %d", m.Epoch), err,
		"switch to step 5 first, which makes the new database primary")
}

// gatesToTheEnd reads new alone: an instance at step 8 has nothing else.
func (s *Service[B, F]) gatesToTheEnd(ctx context.Context) []Gate {
	m, err := s.new.Mirror(ctx)
	var p store.Progress
	if err == nil {
		p, err = s.new.Progress(ctx, m.Epoch)
	}
	if err == nil && m.Primary != store.PrimaryNew {
		err = fmt.Errorf("the mirror in the new database shows %q as primary at epoch %d", m.Primary, m.Epoch)
	}
	complete, verified, decided := err, err, err
	if err == nil && !p.Complete {
		complete = fmt.Errorf("no completion mark for epoch %d: records may still be in the old database alone", m.Epoch)
	}
	switch {
	case err != nil:
	case p.Verify == nil:
		verified = fmt.Errorf("no verify was made under epoch %d", m.Epoch)
		decided = verified
	default:
		if !p.Verify.Clean {
			verified = fmt.Errorf("the last verify found %d missing, %d stale, %d different", p.Verify.Missing, p.Verify.Stale, p.Verify.Different)
		}
		if p.Verify.Quarantine > 0 {
			decided = fmt.Errorf("%d rows of the old database are in quarantine", p.Verify.Quarantine)
		}
	}
	return []Gate{
		gate(GateComplete, fmt.Sprintf("everything was copied under epoch %d (%d records)", m.Epoch, p.Copied), complete, "migrate backfill"),
		gate(GateVerified, "the last verify was clean", verified, "migrate verify"),
		gate(GateQuarantine, "no row waits in quarantine", decided,
			"migrate verify lists the rows; create anew what is wanted, then migrate verify --drop ID for each"),
	}
}
