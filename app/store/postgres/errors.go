package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"migrate.invalid/migrate/app/store"
)

// The conditions that our functions raise.
const (
	codeMoved    = "MG001" // a foreign write after the fence has moved
	codeEpoch    = "MG002" // the fence is not at the epoch that a call was planned under
	codeConflict = "MG003" // the stored pair is another one
	codeServer   = "MG004" // the server has failed over, and nobody has accepted that
)

// PostgreSQL's own, where more than their class counts.
const (
	codeSerialization = "40001"
	codeDeadlock      = "40P01"
	codeRaise         = "P0001" // RAISE EXCEPTION of a trigger of the person's own
	codeNoLock        = "55P03"
	codeCancelled     = "57014"
	codeNoRight       = "42501"
	codeNoSchema      = "3F000"
	codeNoTable       = "42P01"
	codeNoFunction    = "42883"
	codeNoColumn      = "42703"
	codeImmutable     = "42P17"
	codeNull          = "23502"
	codeCheck         = "23514"
	codeNoRow         = "P0002"
	codeManyRows      = "P0003"
	codeShutdown      = "57P01"
	codeWarning       = "01000"
)

// raisedBy is the function of the server that carries out RAISE of PL/pgSQL.
const raisedBy = "exec_stmt_raise"

// unsent is why the server can't be asked, on one line and without what the driver
// tells about who was to ask it. Nothing was sent.
type unsent struct{ error }

func (e unsent) Unwrap() error { return e.error }

func (e unsent) Error() string {
	text := e.error.Error()
	if _, reason, ok := strings.Cut(text, "`:"); ok && strings.HasPrefix(text, "failed to connect to `") {
		text = reason
	}
	const unresolved = "hostname resolving error: "
	text, found := strings.CutPrefix(strings.TrimSpace(text), unresolved)
	var lines, plain []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || slices.Contains(lines, line) {
			continue
		}
		lines = append(lines, line)
		if !strings.Contains(line, "server refused TLS") {
			plain = append(plain, line)
		}
	}
	if len(plain) > 0 { // what was tried without TLS afterwards says more
		lines = plain
	}
	if text = strings.Join(lines, "; "); found {
		text = unresolved + text
	}
	return text
}

// code returns the SQLSTATE that the server has answered, "" for none.
func code(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// committing says what an error at COMMIT means: what the server refuses has
// changed nothing, and of all else the outcome is unknown.
func committing(err error) error {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && strings.EqualFold(e.Severity, "ERROR") {
		if c := e.Code; c == codeSerialization || c == codeDeadlock || strings.HasPrefix(c, "23") || c == codeRaise || c == codeMoved {
			return err
		}
	}
	return fmt.Errorf("%w: commit: %w", store.ErrUnknown, err)
}

// doubts reports whether a warning beside a COMMIT that succeeded says that it may
// be on this server alone: the wait for a standby has been given up. A trigger's own
// warning has the same code.
func doubts(n *pgconn.Notice) bool {
	return n.Code == codeShutdown || n.Code == codeWarning && n.Routine != raisedBy
}

// meaning makes an error wrap exactly one sentinel, or the context's own error.
func (b *base) meaning(ctx context.Context, op string, err error) error {
	for _, known := range []error{store.ErrConflict, store.ErrFenceMoved, store.ErrUnavailable, store.ErrUnknown, store.ErrUnfit, store.ErrRule, store.ErrStranger, store.ErrUnsuited, store.ErrTooLong} {
		if errors.Is(err, known) {
			return fmt.Errorf("postgres: %s: %w", op, err)
		}
	}
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("postgres: %s: %w", op, cause)
	}
	return fmt.Errorf("postgres: %s: %w: %w", op, b.sentinel(err), err)
}

// sentinel is what an error means of a transaction that was not committed.
func (b *base) sentinel(err error) error {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return store.ErrUnavailable
	}
	switch e.Code {
	case codeEpoch:
		return store.ErrFenceMoved
	case codeConflict:
		return store.ErrConflict
	case codeMoved: // of a trigger that our write fires
		return store.ErrRule
	case codeServer:
		return store.ErrServer
	case codeNoSchema, codeNoTable, codeNoFunction, codeNoColumn:
		return store.ErrStranger
	case codeNull, codeCheck:
		if !b.foreign {
			return store.ErrUnfit // the record alone breaks it
		}
	case codeNoRow, codeManyRows:
		if where, _, _ := strings.Cut(e.Where, "\n"); strings.Contains(where, b.schema+".") {
			return store.ErrStranger // a function of ours misses its row
		}
	}
	switch class := e.Code[:min(2, len(e.Code))]; {
	case class == "23", class == "P0", e.Routine == raisedBy: // of a trigger that our write fires, too
		return store.ErrRule
	case class == "22", class == "54":
		return store.ErrUnfit
	}
	return store.ErrUnavailable
}
