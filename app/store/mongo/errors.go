package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"migrate.invalid/migrate/app/store"
)

// How the driver's errors become the store's; row by row in
// docs/mongo-errors.md, which a test reads. Of a write:
//
//	nothing was sent: no server found, refused, no free      ErrUnavailable
//	connection, failed handshake, the context ended before
//	duplicate _id, or nothing matched the expected pair      ErrConflict ("not newer" to PutIfNewer)
//	duplicate key of another index                           ErrRule
//	sent once and answered: too large, key too long, fails   ErrUnfit
//	the collection's own validation
//	sent once and answered: not allowed, not authenticated   ErrUnavailable
//	write concern error, time-out, lost connection, the      ErrUnknown
//	context ended, stepped down, shutting down, any other
//
// Of a read: ErrUnavailable, whatever it was. Before anything is sent: invalid
// UTF-8, too large, not BSON: ErrUnfit.
//
// Whether something was sent is not guessed from the error's type: the driver
// announces each command before it writes to the network.

// call is one call on the store: its context, with the time limit, and how
// many commands it has begun to send.
type call struct {
	context.Context
	link   *link
	cancel context.CancelFunc
	sent   atomic.Int32
}

type callKey struct{}

// begin starts a call, unless its context has ended: the driver might send the
// command all the same.
func (s *Store) begin(ctx context.Context) (*call, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	c := &call{link: s.link}
	ctx, c.cancel = context.WithTimeout(ctx, s.cfg.Timeout)
	if err := s.link.ready(ctx, s.open); err != nil {
		c.cancel()
		return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	c.Context = context.WithValue(ctx, callKey{}, c)
	return c, nil
}

func (c *call) end() { c.cancel() }

// noteSent is called by the driver before it sends a command. A retry counts again.
func noteSent(ctx context.Context, _ *event.CommandStartedEvent) {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		c.sent.Add(1)
	}
}

// The server's error codes that decide something here.
const (
	codeUnauthorized         = 13
	codeAuthenticationFailed = 18
	codeNamespaceNotFound    = 26
	codeInvalid              = 121 // the collection's own validation
	codeNotImplemented       = 238
	codeTooLarge             = 10334
	codeDuplicate            = 11000
	codeKeyTooLong           = 17280
)

// written explains a failed write. sentBefore is c.sent as it was before the
// command: a call may send several, and only this one's outcome is in doubt.
func (c *call) written(err error, sentBefore int32) error {
	if err == nil {
		return nil
	}
	sentinel := store.ErrUnknown
	switch c.sent.Load() - sentBefore {
	case 0:
		sentinel = store.ErrUnavailable
	case 1:
		// After a retry the answer is about the last attempt, not about the first.
		if refused := refusal(err); refused != nil {
			sentinel = refused
		}
	}
	return c.wrap(sentinel, err)
}

// unread explains a failed read.
func (c *call) unread(err error) error {
	if err == nil {
		return nil
	}
	return c.wrap(store.ErrUnavailable, err)
}

func (c *call) wrap(sentinel, err error) error {
	if cause := c.link.cause(err); cause != nil {
		sentinel = fmt.Errorf("%w: %w", sentinel, cause)
	}
	text := c.link.secrets.Error(terse{err})
	if ended := c.Err(); ended != nil && !errors.Is(err, ended) {
		return fmt.Errorf("%w: %w (%w)", sentinel, text, ended)
	}
	return fmt.Errorf("%w: %w", sentinel, text)
}

// terse is an error of the driver that leaves out the topology, but for what
// was last found wrong with it: the reason why no server can be selected.
type terse struct{ error }

func (t terse) Error() string {
	text, topology, _ := strings.Cut(t.error.Error(), ", current topology: ")
	if _, last, ok := strings.Cut(topology, "Last error: "); ok {
		last, _, _ = strings.Cut(last, " }")
		text += ": " + last
	}
	return text
}

func (t terse) Unwrap() error { return t.error }

// refusal returns what it means that the server answered and did nothing; nil
// if that isn't sure.
func refusal(err error) error {
	codes := answerCodes(err)
	switch {
	case len(codes) == 0:
		return nil
	case all(codes, codeDuplicate) && duplicateID(err):
		return store.ErrConflict
	case all(codes, codeDuplicate):
		return store.ErrRule // somebody's unique index: what is in its way may go
	case all(codes, codeInvalid, codeTooLarge, codeKeyTooLong):
		return store.ErrUnfit
	case all(codes, codeUnauthorized, codeAuthenticationFailed):
		return store.ErrUnavailable
	}
	return nil
}

// answerCodes returns the codes that the server refused the writes of one
// command with; none if the command may have had an effect that isn't durable.
func answerCodes(err error) []int {
	var (
		one  mongo.WriteException
		bulk mongo.BulkWriteException
		cmd  mongo.CommandError
	)
	var codes []int
	switch {
	case errors.As(err, &one) && one.WriteConcernError == nil:
		for _, e := range one.WriteErrors {
			codes = append(codes, e.Code)
		}
	case errors.As(err, &bulk) && bulk.WriteConcernError == nil:
		for _, e := range bulk.WriteErrors {
			codes = append(codes, e.Code)
		}
	case errors.As(err, &cmd) && cmd.Code != 0 && !mongo.IsNetworkError(err) && !mongo.IsTimeout(err):
		codes = append(codes, int(cmd.Code))
	}
	return codes
}

func all(codes []int, of ...int) bool {
	return !slices.ContainsFunc(codes, func(code int) bool { return !slices.Contains(of, code) })
}

// duplicateID reports whether every duplicate key that an error tells of is that
// of an _id. A server that names no index has unique ones of _id only.
func duplicateID(err error) bool {
	var (
		one  mongo.WriteException
		bulk mongo.BulkWriteException
	)
	var found []mongo.WriteError
	if errors.As(err, &one) {
		found = one.WriteErrors
	}
	if errors.As(err, &bulk) {
		for _, e := range bulk.WriteErrors {
			found = append(found, e.WriteError)
		}
	}
	return !slices.ContainsFunc(found, func(e mongo.WriteError) bool {
		return e.Code == codeDuplicate && !ofID(e)
	})
}

func ofID(e mongo.WriteError) bool {
	if pattern, ok := e.Raw.Lookup("keyPattern").DocumentOK(); ok {
		elements, err := pattern.Elements()
		return err == nil && len(elements) == 1 && elements[0].Key() == "_id"
	}
	// A name may follow that of the index, and a key with any text in it.
	_, rest, named := strings.Cut(e.Message, " index: ")
	index, _, _ := strings.Cut(rest, " ")
	return !named || index == "_id_" || strings.HasSuffix(index, "$_id_")
}
