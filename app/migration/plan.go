package migration

import (
	"errors"

	"migrate.invalid/migrate/app/store"
)

// ErrRefused: an instance at this step may not serve under the present fence.
// Another instance does; nothing was changed.
var ErrRefused = errors.New("this step does not serve under the present primary")

// Plan is what an instance may do under the fence that it just read.
type Plan struct {
	Refuse    bool          // serve nothing
	Primary   store.Primary // who commits and who answers
	Outbox    bool          // a commit is marked pending for the other database
	Replicate bool          // a commit is sent to the other database at once, and by the relay
	Compare   bool          // a read of old looks at new too and compares
	ElseOld   bool          // under new, old may hold what new has no final copy of
	FenceLast bool          // under new, the fence is looked at again before any answer
	Wait      bool          // the primary is about to move: begin nothing
	Advance   bool          // a write makes new the primary first
}

// Decide is the table of the protocol: the fence decides who is primary, the
// step decides what an instance may do about it. At steps 6 to 8 the fence is
// the one that the mirror shows. started is the epoch that the instance found
// when it started; it matters to step 5 alone, which flips only that one.
func Decide(step Step, fence store.Fence, started int64) Plan {
	switch fence.Primary {
	case store.PrimaryOld:
		return decideOld(step, fence, started)
	case store.PrimaryNew:
		return decideNew(step, fence)
	default:
		return Plan{Refuse: true}
	}
}

func decideOld(step Step, fence store.Fence, started int64) Plan {
	p := Plan{Primary: store.PrimaryOld}
	switch step {
	case DeployNew, AddDAO:
	case WriteBoth:
		p.Outbox, p.Replicate = true, true
	case ReadBoth:
		p.Outbox, p.Replicate, p.Compare = true, true, true
	case NewPrimary:
		if fence.Epoch != started {
			return Plan{Refuse: true} // the primary has come back since: this step's time is over
		}
		p.Outbox, p.Replicate, p.Compare, p.Advance = true, true, true, true
	default:
		return Plan{Refuse: true}
	}
	return p
}

func decideNew(step Step, fence store.Fence) Plan {
	p := Plan{Primary: store.PrimaryNew}
	switch step {
	case ReadBoth, NewPrimary:
		p.Outbox, p.Replicate, p.ElseOld, p.FenceLast = true, true, true, true
		p.Wait = fence.Closing
	case StopOldWrites, Backfill:
		p.Outbox, p.ElseOld = true, true
	case RemoveOld:
		p.Outbox = true
	default:
		return Plan{Refuse: true}
	}
	return p
}

// choose returns the copy that counts under new and whether there is one. A
// final copy in new, one of this epoch, can't be surpassed by old's.
func choose(epoch int64, n store.Record, inNew bool, o store.Record, inOld bool) (store.Record, bool) {
	switch {
	case inNew && n.Epoch == epoch, inNew && !inOld:
		return n, true
	case !inNew && !inOld:
		return store.Record{}, false
	case !inNew, o.Newer(n.Pair):
		return o, true
	}
	return n, true
}
