package orchestrator

import (
	"path/filepath"
	"slices"
	"time"
)

// Operation is a command as the journal tells it.
type Operation struct {
	ID      string    `json:"op"`
	Began   time.Time `json:"began"`
	Who     string    `json:"who"`
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	Kind    string    `json:"kind,omitempty"`
	Outcome string    `json:"outcome"` // done, failed, refused, finished or undone (by a later command), unfinished
	Last    Entry     `json:"last"`    // its latest entry: ports, steps, forced gates, error
	Took    Millis    `json:"ms"`
	Phases  []Entry   `json:"phases"`
}

// History returns the operations, oldest first; limit > 0 keeps the latest.
// unreadable counts journal lines that a crash tore.
func (o *Orchestrator) History(limit int) (ops []Operation, unreadable int, err error) {
	entries, unreadable, err := o.journal.readAll()
	if err != nil {
		return nil, 0, err
	}
	ops = operations(entries)
	if limit > 0 && len(ops) > limit {
		ops = ops[len(ops)-limit:]
	}
	return ops, unreadable, nil
}

// operations groups entries by their operation, in the order they began.
func operations(entries []Entry) []Operation {
	var ops []Operation
	at := map[string]int{}
	for _, e := range entries {
		n, known := at[e.Op]
		if !known {
			n = len(ops)
			at[e.Op] = n
			ops = append(ops, Operation{ID: e.Op, Began: e.Time, Who: e.Who, PID: e.PID, Command: e.Command})
		}
		op := &ops[n]
		op.Phases = append(op.Phases, e)
		if e.Phase == phaseLeft {
			op.Last.Tool = e.Tool // nobody
			continue
		}
		op.Last, op.Kind, op.Took, op.Outcome = e, e.Kind, e.Took, "unfinished"
		if endPhase(e.Phase) {
			op.Outcome = e.Phase
		}
	}
	return ops
}

// unfinished returns the last operation if it has no end. What was noted
// beside it, without the lock, is not meant.
func (o *Orchestrator) unfinished() (*Operation, error) {
	entries, _, err := o.journal.read()
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e Entry) bool { return e.Kind == kindPass })
	ops := operations(entries)
	if len(ops) == 0 || ops[len(ops)-1].Outcome != "unfinished" {
		return nil, nil
	}
	return &ops[len(ops)-1], nil
}

// reached reports whether the operation got as far as the phase.
func (op *Operation) reached(phase string) bool {
	for _, e := range op.Phases {
		if e.Phase == phase {
			return true
		}
	}
	return false
}

func dirOf(path string) string { return filepath.Dir(path) }
