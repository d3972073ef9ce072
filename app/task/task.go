// Package task is the ToDo service's domain: what a task is and which tasks
// are acceptable. It depends on nothing else of the project.
package task

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Limits on what a request may set. Rows that were there before are exempt:
// an oversized legacy task can still be read and marked done.
const (
	MaxAssignee    = 200    // characters
	MaxDescription = 10_000 // characters
)

// ErrInvalid is wrapped by every error about a field that a request sets.
var ErrInvalid = errors.New("invalid field")

// Task is one thing to do.
type Task struct {
	Assignee    string
	Description string
	Done        bool
}

// ValidateAssignee reports whether a request may set this assignee.
func ValidateAssignee(s string) error { return validate("assignee", s, MaxAssignee) }

// ValidateDescription reports whether a request may set this description.
func ValidateDescription(s string) error { return validate("description", s, MaxDescription) }

func validate(field, s string, limit int) error {
	switch {
	case s == "":
		return fmt.Errorf("%w: %s is required", ErrInvalid, field)
	case !utf8.ValidString(s):
		return fmt.Errorf("%w: %s is not valid UTF-8", ErrInvalid, field)
	case utf8.RuneCountInString(s) > limit:
		return fmt.Errorf("%w: %s has more than %d characters", ErrInvalid, field, limit)
	}
	return nil
}

// Filter selects tasks. Its zero value selects all of them.
type Filter struct {
	Assignee *string // nil: anybody's
	Done     *bool   // nil: done or not
}

// Match reports whether the task is selected.
func (f Filter) Match(t Task) bool {
	return (f.Assignee == nil || *f.Assignee == t.Assignee) && (f.Done == nil || *f.Done == t.Done)
}
