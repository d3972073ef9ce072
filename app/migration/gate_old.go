package migration

import (
	"context"
	"fmt"

	"migrate.invalid/migrate/app/store"
)

// The gates that look at the old database before it is left. What they want is
// looked at again before the primary moves.

// lookTriggers wants programs that know nothing of us inside the protocol.
func (s *Service) lookTriggers(ctx context.Context) Gate {
	return fixed(gate(GateTriggers, "the triggers that hold foreign writers inside the protocol are in place", foreignTo(s.old).Guarded(ctx),
		"a program has rebuilt the table; run migrate adopt, which puts the triggers back, before new becomes primary"))
}

// gateTriggers also makes tombstones of what such a program has removed unseen,
// which would come back from new.
func (s *Service) gateTriggers(ctx context.Context) Gate {
	g := s.lookTriggers(ctx)
	if !g.OK {
		return g
	}
	if _, err := foreignTo(s.old).Sweep(ctx); err != nil {
		return fixed(gate(GateTriggers, "", err, remedyCleared))
	}
	return g
}

// gateFilled wants every record known to the protocol before one is sent to new.
func (s *Service) gateFilled(ctx context.Context) Gate {
	return fixed(gate(GateFilled, "the old database is taken over completely", filled(ctx, s.old),
		"migrate adopt goes on with it and says how far it is"))
}

// gateUndecided wants a decision on each row that new can't hold before new
// decides, or that so many are accepted.
func (s *Service) gateUndecided(ctx context.Context) Gate {
	fence, err := s.old.Fence(ctx)
	if err == nil && fence.Primary == store.PrimaryNew {
		return fixed(gate(GateQuarantine, "the new database is primary already", nil, ""))
	}
	var rows, accepted int64
	if err == nil {
		rows, accepted, err = undecided(ctx, s.old)
	}
	held := "no row waits in quarantine"
	switch {
	case err != nil || rows == 0:
	case rows > accepted:
		err = fmt.Errorf("%d rows of the old database are in quarantine, and %d are accepted", rows, accepted)
	default:
		held = fmt.Sprintf("%d rows wait in quarantine, and %d are accepted", rows, accepted)
	}
	return fixed(gate(GateQuarantine, held, err, fmt.Sprintf(
		"migrate quarantine list shows them; change or delete each through the service or migrate quarantine drop, or accept them with --accept quarantine:%d", rows)))
}

// fixed is a gate that nobody's word passes: what it wants is looked at again
// before the primary moves.
func fixed(g Gate) Gate {
	g.Fixed = true
	return g
}
