package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"migrate.invalid/migrate/app/store"
)

// The gates' names, which --force takes.
const (
	GateNewReady   = "new-ready"
	GateNewWrites  = "new-writes"
	GateCleared    = "cleared"
	GateFilled     = "filled"
	GateTriggers   = "triggers"
	GateCompared   = "compared"
	GateFence      = "fence"
	GateMirror     = "mirror"
	GateComplete   = "complete"
	GateVerified   = "verified"
	GateQuarantine = "quarantine"
)

// Gates answers whether the move to a step may be made: asked of an instance at
// that step, or at the one before it for a look ahead. What can only be known by
// a write is tried. Every gate is answered, also past one that does not hold. An
// error means that the question makes no sense here.
func (s *Service) Gates(ctx context.Context, to Step) ([]Gate, error) {
	asks, err := s.asks(to, gatekeeper{s.new, s.gateNewWrites, s.gateCleared, s.gateTriggers, s.align})
	gates := []Gate{}
	for _, ask := range asks {
		gates = append(gates, ask(ctx)...)
	}
	return gates, err
}

// gateLook bounds a look at the gates: a person waits for it.
const gateLook = 3 * time.Second

// LookAtGates is Gates, and only reads. Where a write is needed to know, the
// gate counts as holding and says that it was not tried: the switch tries it. The
// gates are looked at at the same time, and a database that does not answer within
// three seconds counts as out of reach.
func (s *Service) LookAtGates(ctx context.Context, to Step) ([]Gate, error) {
	k := gatekeeper{nil, s.lookNewWrites, s.lookCleared, s.lookTriggers, s.lookLevel}
	if s.new != nil {
		k.meta = s.new.Look()
	}
	asks, err := s.asks(to, k)
	ctx, cancel := context.WithTimeout(ctx, gateLook)
	defer cancel()
	found := make([][]Gate, len(asks))
	var looks sync.WaitGroup
	for n, ask := range asks {
		looks.Go(func() { found[n] = ask(ctx) })
	}
	looks.Wait()
	return append([]Gate{}, slices.Concat(found...)...), err
}

// gatekeeper is how the gates find out what they answer.
type gatekeeper struct {
	meta      store.NewLook
	newWrites func(context.Context) Gate
	cleared   func(context.Context) Gate
	triggers  func(context.Context) Gate
	level     func(context.Context, store.Fence) error // makes sure that the mirror is level with the fence, which names new
}

// asks are the questions before a move to a step, in the order of their answers.
func (s *Service) asks(to Step, k gatekeeper) ([]func(context.Context) []Gate, error) {
	if to != s.step && to != s.step+1 || !s.step.HasNew() && to > DeployNew {
		return nil, fmt.Errorf("an instance at step %d can't answer for the gates to step %d", int(s.step), int(to))
	}
	var asks []func(context.Context) []Gate
	one := func(gates ...func(context.Context) Gate) {
		for _, g := range gates {
			asks = append(asks, func(ctx context.Context) []Gate { return []Gate{g(ctx)} })
		}
	}
	switch to {
	case AddDAO:
		one(func(ctx context.Context) Gate { return s.gateNewReady(ctx, k.meta) })
	case WriteBoth:
		one(s.gateFilled, k.newWrites)
	case ReadBoth:
		one(k.cleared)
	case NewPrimary:
		one(k.cleared, k.triggers, s.gateFilled, s.gateUndecided, func(ctx context.Context) Gate { return s.gateCompared(ctx, k.meta) })
	case StopOldWrites:
		one(func(ctx context.Context) Gate { return s.gateFence(ctx, k) }, k.cleared)
	case Backfill:
		one(func(ctx context.Context) Gate { return gateMirror(ctx, k.meta, GateMirror) })
	case RemoveOld:
		asks = append(asks, func(ctx context.Context) []Gate { return gatesToTheEnd(ctx, k.meta) })
	}
	return asks, nil
}

// errUntried: only a write can tell, and this was only a look.
var errUntried = errors.New("not tried: the switch tries it")

// gate turns what was found into an answer. A database that could not be asked
// calls for another remedy than what it might have answered.
func gate(name, held string, err error, remedy string) Gate {
	if errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		remedy = "bring the database back into reach (migrate doctor says which), then ask again"
	}
	switch {
	case errors.Is(err, errUntried):
		return Gate{Name: name, OK: true, Untried: true, Detail: err.Error()}
	case err != nil:
		return Gate{Name: name, Detail: err.Error(), Remedy: remedy}
	}
	return Gate{Name: name, OK: true, Detail: held}
}

func (s *Service) gateNewReady(ctx context.Context, meta store.NewLook) Gate {
	return gate(GateNewReady, "the new database answers; collection, indexes and migration id are in place", s.checkWith(ctx, meta),
		"correct --new; a database of another migration must not be used")
}

const remedyNewWrites = "check the new database's state and the rights of the user in --new"

func (s *Service) gateNewWrites(ctx context.Context) Gate {
	return gate(GateNewWrites, "the new database took a write, a read and a delete", s.new.ProbeRecord(ctx), remedyNewWrites)
}

// lookNewWrites finds out no more than that new answers and is the right one.
func (s *Service) lookNewWrites(ctx context.Context) Gate {
	err := s.checkWith(ctx, s.new.Look())
	if err == nil {
		err = fmt.Errorf("whether the new database takes a write, a read and a delete: %w", errUntried)
	}
	return gate(GateNewWrites, "", err, remedyNewWrites)
}

const remedyCleared = "migrate status shows why the relay could not send it; mend that, then ask again"

func (s *Service) gateCleared(ctx context.Context) Gate {
	err := s.cleared(ctx)
	return gate(GateCleared, s.butRefused("all that was pending has been replicated"), err, remedyCleared)
}

// butRefused adds to what holds which records old can't hold: a move forward leaves
// them out.
func (s *Service) butRefused(held string) string {
	refused := s.relay.refused.list()
	if len(refused) == 0 {
		return held
	}
	return fmt.Sprintf("%s, but for what the old database can't hold, %s; the way back refuses until each is changed or deleted through the service", held, tell(refused))
}

// lookCleared counts what is pending. That some is, is no reason to refuse while
// the relay can send it.
func (s *Service) lookCleared(ctx context.Context) Gate {
	err := s.checkWith(ctx, s.new.Look())
	var b backlogView
	if err == nil {
		b, err = s.lookAtBacklog(ctx)
	}
	b.n = max(0, b.n-s.relay.refused.count())
	if _, failed := s.relay.status(); err == nil && b.n > 0 && failed != "" {
		err = fmt.Errorf("%d records are pending, and the relay can't send them: %s", b.n, failed)
	}
	if err == nil && b.n > 0 {
		err = fmt.Errorf("%d records are pending, whether they are replicated: %w", b.n, errUntried)
	}
	return gate(GateCleared, s.butRefused("nothing is pending"), err, remedyCleared)
}

func (s *Service) gateFence(ctx context.Context, k gatekeeper) Gate {
	const remedy = "make the new database primary: migrate switch to an instance at step 5 asks for it"
	fence, err := s.old.Fence(ctx)
	if err != nil {
		return gate(GateFence, "", err, remedy)
	}
	if fence.Primary != store.PrimaryNew || fence.Closing {
		return gate(GateFence, "", fmt.Errorf("the old database is still primary, or about to be (epoch %d)", fence.Epoch), remedy)
	}
	if err := k.level(ctx, fence); err != nil {
		return gate(GateFence, "", err, remedy)
	}
	return gateMirror(ctx, k.meta, GateFence)
}

// lookLevel is align, and only reads.
func (s *Service) lookLevel(ctx context.Context, fence store.Fence) error {
	mirror, err := s.new.Look().Mirror(ctx)
	switch {
	case err != nil:
		return err
	case mirror.Migration != "" && mirror.Migration != fence.Migration:
		return fmt.Errorf("%w: the mirror belongs to %q", store.ErrStranger, mirror.Migration)
	case mirror.Epoch != fence.Epoch:
		return fmt.Errorf("the fence is at epoch %d, its mirror in the new database at %d; whether they can be brought together: %w", fence.Epoch, mirror.Epoch, errUntried)
	}
	return nil
}

// gateMirror only looks: the switch asks for an advance first, which aligns the
// mirror with the fence.
func gateMirror(ctx context.Context, meta store.NewLook, name string) Gate {
	m, err := meta.Mirror(ctx)
	if err == nil && m.Primary != store.PrimaryNew {
		err = fmt.Errorf("the mirror in the new database shows %q as primary at epoch %d", m.Primary, m.Epoch)
	}
	return gate(name, fmt.Sprintf("the new database is primary at epoch %d", m.Epoch), err,
		"switch to step 5 first, which makes the new database primary")
}

// gatesToTheEnd reads new alone: an instance at step 8 has nothing else.
func gatesToTheEnd(ctx context.Context, meta store.NewLook) []Gate {
	m, err := meta.Mirror(ctx)
	var p store.Progress
	if err == nil {
		p, err = meta.Progress(ctx, m.Epoch)
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
			"migrate quarantine list shows them; change or delete each through the service, then migrate verify"),
	}
}
