package migration

import (
	"context"
	"errors"
	"fmt"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// AcceptServerOptions say how to go on after a failover.
type AcceptServerOptions struct {
	// NothingLost: the server that has taken over has all that was acknowledged, as
	// after a planned switchover, or where the standby was a synchronous one.
	NothingLost bool
	Batch       int               // records a page; 200 if zero
	Progress    func(text string) // may be nil
}

// ServerFound is what is known of one of the two databases' servers.
type ServerFound struct {
	Lined    bool   `json:"lined"` // another server can take over unseen by its address
	Line     string `json:"line,omitempty"`
	Accepted string `json:"accepted,omitempty"`
	Keeps    bool   `json:"keeps"` // what was acknowledged, as far as the settings tell
	Why      string `json:"why,omitempty"`
}

// Moved reports whether another server has taken over.
func (s ServerFound) Moved() bool { return s.Lined && s.Line != s.Accepted }

// ServersFound is what LookAtServers found.
type ServersFound struct {
	Old ServerFound `json:"old"`
	New ServerFound `json:"new"`
}

// Moved reports whether another server has taken over on either side.
func (f ServersFound) Moved() bool { return f.Old.Moved() || f.New.Moved() }

// LookAtServers finds out whether another server has taken over. It changes
// nothing. The stores must be open for any server.
func LookAtServers(ctx context.Context, old store.Old, to store.New) (found ServersFound, err error) {
	if l, ok := store.As[store.Lined](old); ok {
		if found.Old, err = lookAtServer(ctx, l); err != nil {
			return found, fmt.Errorf("the old database: %w", err)
		}
	}
	if l, ok := to.(store.Lined); ok {
		if found.New, err = lookAtServer(ctx, l); err != nil {
			return found, fmt.Errorf("the new database: %w", err)
		}
	}
	return found, nil
}

func lookAtServer(ctx context.Context, l store.Lined) (found ServerFound, err error) {
	found.Lined = true
	if found.Line, found.Accepted, err = l.Line(ctx); err != nil {
		return found, err
	}
	found.Keeps, found.Why, err = l.Keeps(ctx)
	return found, err
}

// ServerAccepted says what AcceptServer did.
type ServerAccepted struct {
	ServersFound
	Epoch   int64         `json:"epoch,omitempty"` // that the fence was raised to; 0: it was not
	Primary store.Primary `json:"primary,omitempty"`
	PutBack int64         `json:"put_back"`          // copies that the other database has offered the one that may have lost some
	Refused int64         `json:"refused,omitempty"` // of those, what a rule of the old database refused
}

// ErrClosing: the primary is on its way back to the old database.
var ErrClosing = errors.New("the primary is on its way back to the old database")

// AcceptServer lets the instances go on with a server that has taken over from
// another one. Until then every call of theirs fails. Unless nothing was lost, the
// fence and its mirror are raised first, to an epoch that nobody has seen, so that
// nothing is final any more; then what the other database has is put back. What
// only the lost server had is lost. It is repeatable. The stores must be open for
// any server.
func AcceptServer(ctx context.Context, old store.Old, to store.New, o AcceptServerOptions) (res ServerAccepted, err error) {
	o.Batch = orDefault(o.Batch, 200)
	say := func(format string, args ...any) {
		if o.Progress != nil {
			o.Progress(fmt.Sprintf(format, args...))
		}
	}
	if res.ServersFound, err = LookAtServers(ctx, old, to); err != nil || !res.Moved() {
		return res, err
	}
	if !o.NothingLost {
		if err := raise(ctx, old, to, &res); err != nil {
			return res, err
		}
		say("the fence is at epoch %d, primary %s: no copy counts as final any more", res.Epoch, res.Primary)
		if err := offer(ctx, old, to, o, &res); err != nil {
			return res, err
		}
	}
	accept := func(name string, found ServerFound, l store.Lined) error {
		if !found.Moved() {
			return nil
		}
		if err := l.AcceptLine(ctx, found.Line); err != nil {
			return fmt.Errorf("accept the server of the %s database: %w", name, err)
		}
		say("the server of the %s database is accepted: timeline %s instead of %s", name, found.Line, found.Accepted)
		return nil
	}
	if l, ok := store.As[store.Lined](old); ok {
		if err := accept("old", res.Old, l); err != nil {
			return res, err
		}
	}
	if l, ok := to.(store.Lined); ok {
		if err := accept("new", res.New, l); err != nil {
			return res, err
		}
	}
	return res, nil
}

// raise moves the fence and the mirror beyond every epoch that was seen, the
// primary as the greater of the two has it: the other one was lost.
func raise(ctx context.Context, old store.Old, to store.New, res *ServerAccepted) error {
	fence, err := old.Fence(ctx)
	if err != nil {
		return err
	}
	if fence.Closing {
		return fmt.Errorf("%w: its closing ends at %s, and any instance reopens it then", ErrClosing, fence.Deadline.Format("15:04:05"))
	}
	mirror, err := to.Mirror(ctx)
	if err != nil {
		return err
	}
	primary, greatest := fence.Primary, fence.Epoch
	if mirror.Epoch > greatest {
		primary, greatest = mirror.Primary, mirror.Epoch
	}
	next := store.Fence{Epoch: greatest + 1, Primary: primary}
	if err := old.MoveFence(ctx, fence, next); err != nil {
		return fmt.Errorf("raise the fence: %w", err)
	}
	if err := to.RaiseMirror(ctx, store.Mirror{Migration: fence.Migration, Epoch: next.Epoch, Primary: primary}); err != nil {
		return fmt.Errorf("raise the mirror: %w", err)
	}
	res.Epoch, res.Primary = next.Epoch, primary
	return nil
}

// offer offers each copy of the one database to the other that may have lost it.
func offer(ctx context.Context, old store.Old, to store.New, o AcceptServerOptions, res *ServerAccepted) error {
	if res.New.Moved() {
		for after, end := record.ID(""), false; !end; {
			page, _, err := old.Scan(ctx, after, o.Batch)
			if err != nil {
				return err
			}
			var fit []store.Record
			for _, r := range page.Records {
				if r.Unfit == "" {
					fit = append(fit, r)
				}
			}
			if err := to.PutIfNewer(ctx, fit...); err != nil {
				return fmt.Errorf("put back what the old database has: %w", err)
			}
			res.PutBack += int64(len(fit))
			after, end = page.Next, page.End
		}
	}
	if res.Old.Moved() {
		for after, end := record.ID(""), false; !end; {
			page, err := to.Scan(ctx, after, o.Batch)
			if err != nil {
				return err
			}
			for _, r := range page.Records {
				if r.Pair == (store.Pair{}) {
					continue // nobody put it there by the protocol
				}
				res.PutBack++
				err := old.PutIfNewer(ctx, res.Epoch, r)
				var refusal *store.Refusal
				if errors.As(err, &refusal) {
					res.Refused++
					continue
				}
				if err != nil {
					return fmt.Errorf("put back what the new database has: %w", err)
				}
			}
			after, end = page.Next, page.End
		}
	}
	return nil
}
