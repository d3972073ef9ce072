package fire

import (
	"fmt"
	"net/http"

	"github.com/anishathalye/porcupine"
)

// op is what a request asks for.
type op string

const (
	opCreate op = "create"
	opGet    op = "get"
	opPatch  op = "patch"
	opDone   op = "done"
	opDelete op = "delete"
	opList   op = "list"   // of many records: no part of a history
	opListed op = "listed" // one record in a list: a read that tells no rev

	// What a foreign program does, past the service.
	opInsert op = "insert"
	opUpdate op = "update"
	opErase  op = "erase"
)

// view is a record as an answer shows it. A list tells no rev: it is 0 there.
type view struct {
	Rev         int64  `json:"-"`
	Description string `json:"description"`
	Done        bool   `json:"done"`
}

// request is what was asked of one record.
type request struct {
	Op          op
	Description string
	If          view   // If-Match; a rev of 0: without
	Tag         string // by which the service names that
}

// answer is what came back; a Status of 0: nobody knows what became of it.
type answer struct {
	Status int
	View   view // of a get, a patch, a done
}

const unknown = 0

// record's states, as the model has them.
type existence uint8

const (
	never existence = iota
	live
	deleted
)

// state is a record as it must be. Made is what it was created with, by which
// a repeated key is told from a reused one.
type state struct {
	is   existence
	view view
	made string
}

// next is the whole specification: what a request makes of a record, and how
// it must be answered.
func (s state) next(r request) (state, answer) {
	changed := s
	changed.view.Rev++
	switch r.Op {
	case opCreate:
		switch {
		case s.is == never:
			return state{live, view{Rev: 1, Description: r.Description}, r.Description}, answer{Status: http.StatusCreated}
		case s.made == r.Description:
			return s, answer{Status: http.StatusOK}
		}
		return s, answer{Status: http.StatusUnprocessableEntity}
	case opInsert:
		if s.is == live {
			return s, answer{Status: http.StatusConflict}
		}
		changed.is, changed.view.Description, changed.view.Done = live, r.Description, false
		return changed, answer{Status: http.StatusNoContent}
	}
	if s.is != live {
		if s.is == deleted && r.Op == opDelete {
			return s, answer{Status: http.StatusNoContent}
		}
		return s, answer{Status: http.StatusNotFound}
	}
	if r.If.Rev != 0 && r.If != s.view {
		return s, answer{Status: http.StatusPreconditionFailed}
	}
	switch r.Op {
	case opGet:
		return s, answer{http.StatusOK, s.view}
	case opListed:
		return s, answer{http.StatusOK, s.view.unversioned()}
	case opPatch, opUpdate:
		changed.view.Description = r.Description
	case opDone:
		if s.view.Done {
			return s, answer{http.StatusOK, s.view}
		}
		changed.view.Done = true
	case opDelete, opErase:
		changed.is, changed.view.Description, changed.view.Done = deleted, "", false
		return changed, answer{Status: http.StatusNoContent}
	}
	if r.Op == opUpdate {
		return changed, answer{Status: http.StatusNoContent}
	}
	return changed, answer{http.StatusOK, changed.view}
}

// model is a record that began in a state.
func model(initial state) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return initial },
		Step: func(from, in, out any) (bool, any) {
			to, want := from.(state).next(in.(request))
			got := out.(answer)
			return got.Status == unknown || got == want, to
		},
	}
}

func (r request) String() string {
	text := string(r.Op)
	if r.Description != "" {
		text += fmt.Sprintf(" %q", r.Description)
	}
	if r.If.Rev != 0 {
		text += fmt.Sprintf(" if %v", r.If)
	}
	return text
}

func (a answer) String() string {
	switch {
	case a.Status == unknown:
		return "unknown"
	case a.View.Rev == 0:
		return fmt.Sprint(a.Status)
	}
	return fmt.Sprintf("%d %v", a.Status, a.View)
}

func (v view) unversioned() view {
	v.Rev = 0
	return v
}

func (v view) String() string {
	text := fmt.Sprintf("rev %d %q", v.Rev, v.Description)
	if v.Done {
		text += " done"
	}
	return text
}
