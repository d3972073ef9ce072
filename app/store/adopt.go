package store

import (
	"context"
	"errors"
	"time"
)

// ErrUnsuited: a table can't be taken over as it is. The text names every reason.
var ErrUnsuited = errors.New("this database can't be migrated as it is")

// ErrTooLong: the take-over would keep other programs from writing for longer
// than they bear, and nobody has allowed it. Nothing changed.
var ErrTooLong = errors.New("other programs would have to wait")

// Adopter is an [Old] that can take over the tables of a legacy database.
type Adopter interface {
	// Survey says what the take-over would meet and do, with these rules accepted.
	// It changes nothing.
	Survey(ctx context.Context, accept ...string) (Survey, error)
	// Adopt takes the tables over, and goes on where an earlier call stopped; a
	// database that was taken over already is left as it is. ErrUnsuited for a
	// rule that is refused or that nobody has accepted, ErrTooLong.
	Adopt(ctx context.Context, options AdoptOptions) (Adopted, error)
	// Release takes out of the database all that Adopt has put in: rows and
	// journal mode are as before then. Only while old is primary; the caller sees
	// to it that no instance lives. It returns the path of the copy that Adopt
	// made, which stays.
	Release(ctx context.Context) (string, error)
}

// Scripted is an [Adopter] whose take-over somebody with more rights can begin.
type Scripted interface {
	// Script returns what Adopt would run before it fills, for a database's own
	// shell; Adopt goes on from there. It changes nothing. ErrUnsuited as Adopt;
	// ErrStranger if the database was taken over already.
	Script(ctx context.Context, accept ...string) (string, error)
}

// AdoptOptions say how to take a database over.
type AdoptOptions struct {
	Accept []string // rules by their names, see [Rule]
	Wait   bool     // other programs may be kept from writing for longer than a second
	// Progress is called after each batch; may be nil.
	Progress func(AdoptProgress)
}

// AdoptProgress says how far a take-over has come.
type AdoptProgress struct {
	Phase string // copy, guard, fill
	Done  int64  // rows
	Total int64
}

// Verdict says what becomes of a rule of a table.
type Verdict string

// The verdicts.
const (
	Carried  Verdict = "carried"  // it goes on holding
	Accepted Verdict = "accepted" // a person has accepted that new doesn't have it
	Open     Verdict = "open"     // a person must accept it first
	Refused  Verdict = "refused"  // the table can't be taken over as it is
)

// Rule is a rule of a table, or a property of it, that new does not have by itself.
type Rule struct {
	Collection string  `json:"collection"`
	Name       string  `json:"name"` // by which it is accepted, such as unique:tasks_email
	Verdict    Verdict `json:"verdict"`
	Detail     string  `json:"detail"`           // what it is
	Meaning    string  `json:"meaning"`          // what accepting it means; why it is refused
	Remedy     string  `json:"remedy,omitempty"` // what could be done
}

// Survey is what the take-over of a database would meet.
type Survey struct {
	Adopted bool         `json:"adopted"` // it was taken over already, and nothing is left to do
	Begun   bool         `json:"begun"`   // it was begun, and not ended
	Tables  []TableFound `json:"tables"`
	Rules   []Rule       `json:"rules,omitempty"`
	// Wait is how long other programs are kept from writing, at most, by estimate.
	Wait time.Duration `json:"wait_ns"`
}

// TableFound is the table of one collection.
type TableFound struct {
	Collection string           `json:"collection"`
	Table      string           `json:"table"`
	Rows       int64            `json:"rows"`
	Unique     bool             `json:"unique"`               // its id is unique already
	Unadopted  []string         `json:"undeclared,omitempty"` // columns that are not declared, and stay as they are
	Lost       map[string]int64 `json:"lost,omitempty"`       // by field: values that would not survive
	Samples    []Sample         `json:"samples,omitempty"`    // a few rows, both ways
	Unfit      int64            `json:"unfit"`                // rows for the quarantine
}

// Sample is one row and what it becomes.
type Sample struct {
	Row    string `json:"row"`    // as SQL literals
	Record string `json:"record"` // as JSON; empty if it can't be a record
	Reason string `json:"reason,omitempty"`
}

// Adopted is what a take-over did.
type Adopted struct {
	Migration   string        `json:"migration"`
	Fresh       bool          `json:"fresh"` // this call was the first; else there may have been nothing left to do
	Copy        string        `json:"copy,omitempty"`
	Rows        int64         `json:"rows"`        // that are records
	Quarantined int64         `json:"quarantined"` // that could not be
	Accepted    []string      `json:"accepted,omitempty"`
	Waited      time.Duration `json:"waited_ns"` // the longest that another program can have waited
}

// Suits reports whether a take-over could go on: no rule is open or refused.
func (s Survey) Suits() bool {
	for _, r := range s.Rules {
		if r.Verdict == Open || r.Verdict == Refused {
			return false
		}
	}
	return true
}
