package migration

import (
	"context"
	"errors"
	"fmt"

	"migrate.invalid/migrate/app/store"
)

// foreignTo returns what an old database offers for programs that know nothing of
// the migration. One that offers nothing has none.
func foreignTo(old store.Old) store.Foreign {
	if f, ok := store.As[store.Foreign](old); ok {
		return f
	}
	return nobody{}
}

// nobody is the [store.Foreign] of a database that no other program writes to.
type nobody struct{}

func (nobody) Guarded(context.Context) error        { return nil }
func (nobody) Filled(context.Context) error         { return nil }
func (nobody) Sweep(context.Context) (int64, error) { return 0, nil }

// undecided returns how many rows are in quarantine, and how many of them don't
// keep the primary from moving.
func undecided(ctx context.Context, old store.Old) (rows, accepted int64, err error) {
	legacy, ok := store.As[store.Legacy](old)
	if !ok {
		return 0, 0, nil
	}
	if _, rows, err = legacy.Quarantine(ctx, 1); err != nil || rows == 0 {
		return rows, 0, err
	}
	accepted, err = legacy.Accepted(ctx)
	return rows, accepted, err
}

// converted returns how many rows are read other than they are stored.
func converted(ctx context.Context, old store.Old) (int64, error) {
	legacy, ok := store.As[store.Legacy](old)
	if !ok {
		return 0, nil
	}
	_, n, err := legacy.Converted(ctx, 1)
	return n, err
}

// ErrNotFilled: the protocol does not know every record of the old database yet,
// so nothing may be sent to the new one.
var ErrNotFilled = errors.New("the old database is not taken over completely yet")

// filled returns nil once every record of old may be sent to new.
func filled(ctx context.Context, old store.Old) error {
	err := foreignTo(old).Filled(ctx)
	if err == nil || errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotFilled, err)
}

// seeFilled is filled, and remembers the answer for the requests: they send nothing
// to new before.
func (s *Service) seeFilled(ctx context.Context) error {
	err := filled(ctx, s.old)
	s.filled.Store(err == nil)
	return err
}

// quarantined is the error about a record that new can't hold.
func quarantined(rec store.Record) error {
	return fmt.Errorf("%w: %q: %s", store.ErrQuarantined, rec.ID.String(), rec.Unfit)
}

// marking has old mark a record that new can't hold, unless it has changed: then
// it is pending, and the relay meets it again.
func marking(ctx context.Context, old store.Old, epoch int64, mark store.Mark, reason string) error {
	err := old.Isolate(ctx, epoch, mark, reason)
	if err == nil || errors.Is(err, store.ErrConflict) {
		return nil
	}
	return fmt.Errorf("mark %q, which the new database can't hold: %w", mark.ID.String(), err)
}

// sendToNew sends copies of old's records to new and returns which of them new
// has now. original are the pairs by which old knows them. One that new can't
// ever hold is marked, or it would stop the others for good; one that is marked
// is never sent.
func sendToNew(ctx context.Context, old store.Old, to store.New, epoch int64, recs []store.Record, original []store.Mark) (sent []store.Mark, err error) {
	var fit []store.Record
	for i, rec := range recs {
		switch {
		case rec.Unfit == "":
			fit, sent = append(fit, rec), append(sent, original[i])
		case rec.Pending:
			if err := marking(ctx, old, epoch, original[i], rec.Unfit); err != nil {
				return nil, err
			}
		}
	}
	if len(fit) == 0 {
		return nil, nil
	}
	err = to.PutIfNewer(ctx, fit...)
	if !errors.Is(err, store.ErrUnfit) {
		return sent, err
	}
	marks := sent
	sent = nil
	for i, rec := range fit {
		err := to.PutIfNewer(ctx, rec)
		switch {
		case err == nil, rec.Deleted && errors.Is(err, store.ErrUnfit):
			// A tombstone is at fault by its id alone: then new never held the record.
			sent = append(sent, marks[i])
		case !errors.Is(err, store.ErrUnfit):
			return nil, err
		default:
			if err := marking(ctx, old, epoch, marks[i], err.Error()); err != nil {
				return nil, err
			}
		}
	}
	return sent, nil
}
