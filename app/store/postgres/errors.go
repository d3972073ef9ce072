package postgres

import (
	"context"
	"errors"
	"fmt"
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
	codeNoSchema      = "3F000"
	codeNoTable       = "42P01"
	codeNoFunction    = "42883"
	codeNoColumn      = "42703"
	codeImmutable     = "42P17"
	codeNull          = "23502"
	codeCheck         = "23514"
)

// unsent is an error before anything was sent.
type unsent struct{ error }

func (e unsent) Unwrap() error { return e.error }

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
	switch c := code(err); {
	case c == codeSerialization, c == codeDeadlock, strings.HasPrefix(c, "23"), c == codeRaise, c == codeMoved:
		return err
	}
	return fmt.Errorf("%w: commit: %w", store.ErrUnknown, err)
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
	return fmt.Errorf("postgres: %s: %w: %w", op, b.sentinel(code(err)), err)
}

// sentinel is what the server's answer means of a transaction that was not
// committed.
func (b *base) sentinel(code string) error {
	switch code {
	case codeEpoch:
		return store.ErrFenceMoved
	case codeConflict:
		return store.ErrConflict
	case codeMoved, codeRaise: // of a trigger that our write fires
		return store.ErrRule
	case codeServer, codeNoSchema, codeNoTable, codeNoFunction, codeNoColumn:
		return store.ErrStranger
	case codeNull, codeCheck:
		if !b.foreign {
			return store.ErrUnfit // the record alone breaks it
		}
	}
	switch {
	case strings.HasPrefix(code, "23"):
		return store.ErrRule
	case strings.HasPrefix(code, "22"), strings.HasPrefix(code, "54"):
		return store.ErrUnfit
	}
	return store.ErrUnavailable
}
