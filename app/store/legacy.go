package store

import "context"

// Foreign is an [Old] that programs write to which know nothing of the migration.
type Foreign interface {
	// Guarded returns nil if such programs are held inside the protocol, for every
	// collection; else an ErrStranger that says what is missing.
	Guarded(ctx context.Context) error
	// Filled returns nil once the protocol knows every record of every collection;
	// else an error that says how far it is. Nothing may be sent to new before.
	Filled(ctx context.Context) error
	// Sweep turns records whose row such a program removed unseen into tombstones
	// and returns how many; only while old is primary and open, else 0.
	Sweep(ctx context.Context) (int64, error)
}

// Legacy is an [Old] with rows from before the migration. Rows that new can't
// hold, and rows that can't be records, are in quarantine: marked, where they
// are, or moved aside if they repeat an id. A write through the primary decides.
type Legacy interface {
	// Quarantine returns up to limit of the rows on which nobody has decided, all
	// of them if limit is 0, and how many there are.
	Quarantine(ctx context.Context, limit int) ([]Quarantined, int64, error)
	// Drop decides on a row of the quarantine by removing it for good. Where the
	// row is a record, that is a deletion, and only while old is primary, else
	// ErrFenceMoved. ErrConflict if there is no such row.
	Drop(ctx context.Context, key string) error
	// Restore puts a row that was moved aside back as a record, while old is
	// primary. ErrConflict if there is no such row, or if its id is still taken.
	Restore(ctx context.Context, key string) error
	// Accept lets the primary move although up to n rows are in quarantine.
	Accept(ctx context.Context, n int64) error
	// Accepted returns the greatest n that was accepted.
	Accepted(ctx context.Context) (int64, error)
	// Converted returns up to limit rows that are read other than they are stored,
	// with the reason, and how many there are.
	Converted(ctx context.Context, limit int) ([]Quarantined, int64, error)
}

// Quarantined is a legacy row that has no place in the protocol, or one that is
// read other than it is stored.
type Quarantined struct {
	Collection string `json:"collection"`
	Key        string `json:"key"` // names the row for [Legacy.Drop]; short, and stable as long as it is there
	Reason     string `json:"reason"`
	ID         string `json:"id"`  // as text, for people
	Row        string `json:"row"` // the whole row as SQL literals, for people
}

// Strange is a [New] that can hold records which the migration has not written:
// they have no pair, and count as none.
type Strange interface {
	// Strangers returns up to limit of them, and how many there are.
	Strangers(ctx context.Context, limit int) ([]Stranger, int64, error)
}

// Stranger names such a record.
type Stranger struct {
	Collection string `json:"collection"`
	ID         string `json:"id"` // as text, for people
}

// As returns what an old database offers beyond [Old], whatever is wrapped
// around it: a wrapper says what it wraps by a method Unwrap.
func As[T any](old Old) (T, bool) {
	for old != nil {
		if t, ok := old.(T); ok {
			return t, true
		}
		w, ok := old.(interface{ Unwrap() Old })
		if !ok {
			break
		}
		old = w.Unwrap()
	}
	var none T
	return none, false
}
