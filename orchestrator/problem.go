package orchestrator

import (
	"errors"
	"fmt"
	"strings"
)

// Every refusal wraps one of these.
var (
	// ErrUsage: the command can't mean what it says (exit code 2).
	ErrUsage = errors.New("refused")
	// ErrNotReady: an instance is not ready, or not what it should be (3).
	ErrNotReady = errors.New("instance not ready")
	// ErrGate: a gate does not hold (4); a [GateError] says which.
	ErrGate = errors.New("a gate refused")
	// ErrLocked: another command is at work (5).
	ErrLocked = errors.New("locked")
	// ErrPutBack: the switch failed and traffic is where it was (6).
	ErrPutBack = errors.New("the switch failed and traffic was put back")
)

// errOpen marks an error after which the operation stays open in the journal,
// for the next command to settle by what it finds.
var errOpen = errors.New("not finished")

// errInterrupted is what the journal keeps of a command whose context ended.
var errInterrupted = errors.New("interrupted")

// Problem is an error fit for people: what happened, what state things are in
// now, and which command comes next.
type Problem struct {
	Err   error
	State string
	Next  string
}

func (p *Problem) Error() string { return p.Err.Error() }
func (p *Problem) Unwrap() error { return p.Err }

func problem(err error, state, next string) error {
	return &Problem{Err: err, State: state, Next: next}
}

func usage(next, state, format string, args ...any) error {
	return problem(fmt.Errorf("%w: %s", ErrUsage, fmt.Sprintf(format, args...)), state, next)
}

// nothingChanged is the state that most refusals leave.
const nothingChanged = "nothing was changed"

// Gate is one condition of a move, as an instance answered it.
type Gate struct {
	Name    string `json:"name"` // what --force takes
	OK      bool   `json:"ok"`
	Untried bool   `json:"untried,omitempty"` // only a write can tell, and this was a look
	Detail  string `json:"detail"`
	Remedy  string `json:"remedy,omitempty"`
	Fixed   bool   `json:"fixed,omitempty"`  // nobody's word passes it: --force does not take it
	Forced  bool   `json:"forced,omitempty"` // does not hold, and was overridden by name
}

// GateError lists the gates that do not hold.
type GateError struct {
	To     int // the step that is refused
	Failed []Gate
}

func (e *GateError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v step %d:", ErrGate, e.To)
	for i, g := range e.Failed {
		if i > 0 {
			b.WriteString(";")
		}
		fmt.Fprintf(&b, " %s: %s", g.Name, g.Detail)
		if g.Remedy != "" {
			fmt.Fprintf(&b, " (%s)", g.Remedy)
		}
	}
	return b.String()
}

func (e *GateError) Unwrap() error { return ErrGate }
