// Package store says what a database offers to the migration: one record at a
// time changed atomically, ordered by the pair (rev, epoch), with an outbox of
// changes that the other database still lacks.
//
// Two kinds exist. [Old] is the database that is being left; it holds the
// fence that decides which of the two is primary. [New] is the one that is
// being moved to; it holds the fence's mirror, the registrations of instances
// that no longer read the fence, and the progress of the migration.
//
// B is the body of a record and F a filter over bodies; nothing here knows
// what is in them. The suite that every implementation passes is storetest.
package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Every error that a store returns wraps exactly one of these (or is the
// context's own error when the call had no effect).
var (
	// ErrConflict: the stored pair is not the expected one. Nothing changed.
	ErrConflict = errors.New("the record has changed")
	// ErrFenceMoved: the fence is no longer at the epoch that the call was
	// planned under. Nothing changed.
	ErrFenceMoved = errors.New("the fence has moved")
	// ErrUnavailable: the database could not be asked. Nothing changed.
	ErrUnavailable = errors.New("database unavailable")
	// ErrUnknown: the call may have taken effect, or may yet. Never repeat it,
	// never fall through to the other database.
	ErrUnknown = errors.New("outcome unknown")
	// ErrUnfit: the database can't hold this record, now or ever. Nothing changed.
	ErrUnfit = errors.New("record can't be held")
	// ErrStranger: the database belongs to another migration, or to none where
	// one is expected.
	ErrStranger = errors.New("not a database of this migration")
)

// Pair orders the copies of a record: rev counts its committed changes, epoch
// is the fence's when this copy was committed or confirmed. The zero Pair
// means that there is no record.
type Pair struct {
	Rev   int64
	Epoch int64
}

// Newer reports whether p is greater than q, rev first.
func (p Pair) Newer(q Pair) bool {
	return p.Rev > q.Rev || p.Rev == q.Rev && p.Epoch > q.Epoch
}

func (p Pair) String() string { return fmt.Sprintf("(%d,%d)", p.Rev, p.Epoch) }

// Record is one copy of a record. A deleted one is a tombstone: it keeps its
// place in the order, and its body is the zero value.
type Record[B any] struct {
	ID string
	Pair
	Deleted bool
	Pending bool   // the other database still lacks this commit; never copied
	Request string // hash of the body that created it, empty when unknown; tombstones keep it
	Body    B
}

// Mark names one copy of one record, for [Old.ClearPending] and its twin.
type Mark struct {
	ID string
	Pair
}

// Mark returns the record's name and pair.
func (r Record[B]) Mark() Mark { return Mark{r.ID, r.Pair} }

// Primary says which database decides.
type Primary string

// The two databases.
const (
	PrimaryOld Primary = "old"
	PrimaryNew Primary = "new"
)

// Fence is the row in the old database that decides which one is primary. It
// starts at epoch 1, primary old, open.
type Fence struct {
	Migration string // the migration id that both databases carry
	Epoch     int64
	Primary   Primary
	Closing   bool      // the primary is about to return to old: begin no write
	Token     string    // of the tool that closed it
	Deadline  time.Time // when closing: from then on any instance may reopen it
}

// Mirror is the fence as the new database knows it. It only ever moves to a
// greater epoch. Its zero value means that none was ever set.
type Mirror struct {
	Migration string
	Epoch     int64
	Primary   Primary
}

// Registration announces an instance at steps 6 to 8, which doesn't read the
// fence: while its process lives, the primary can't return to old.
type Registration struct {
	Instance string `json:"instance"`
	Step     int    `json:"step"`
	Host     string `json:"host"`
	Boot     string `json:"boot"` // the host's boot id
	PID      int    `json:"pid"`
	// Namespace is that of the process's number: another container's processes
	// have numbers of their own, under the same boot and perhaps the same host name.
	Namespace string `json:"namespace"`
	Started   string `json:"started"` // the process's start time as the system counts it, to tell it from a later one with its number
}

// Progress is what has been found out under one epoch. All of it is kept in
// the new database.
type Progress struct {
	Epoch    int64
	After    string // backfill: the last id that was copied
	Copied   int64  // backfill: records scanned so far
	Complete bool   // backfill: every page of old was read under this epoch of "new"
	Verify   *VerifyResult
	Compared Compared // summed over the instances that reported
}

// VerifyResult is the outcome of the last verify under an epoch.
type VerifyResult struct {
	At         time.Time `json:"at"`
	Primary    Primary   `json:"primary"`
	Equal      int64     `json:"equal"`
	Behind     int64     `json:"behind"`
	Missing    int64     `json:"missing"`
	Stale      int64     `json:"stale"`
	Late       int64     `json:"late"`
	Different  int64     `json:"different"`
	Quarantine int64     `json:"quarantine"` // rows on which nobody has decided
	Converted  int64     `json:"converted"`  // rows read other than they are stored (done as text, NULL)
	Clean      bool      `json:"clean"`
}

// Compared counts the reads of step 4 that looked at both databases, and how
// each of them answered meanwhile. Times are in microseconds.
type Compared struct {
	Equal     int64 `json:"equal"`
	Behind    int64 `json:"behind"`    // new lacked it or was older: still on its way
	Late      int64 `json:"late"`      // new was newer: a command of unknown outcome
	Different int64 `json:"different"` // same pair, other content
	Errors    int64 `json:"errors"`    // new could not be read
	OldP99    int64 `json:"old_p99_us"`
	NewP99    int64 `json:"new_p99_us"`
}

// Quarantined is a legacy row that has no place in the protocol.
type Quarantined struct {
	N      int64  `json:"n"` // its number in the quarantine
	Reason string `json:"reason"`
	ID     string `json:"id"`  // as text, for people
	Row    string `json:"row"` // the whole row as SQL literals, for people
}

// New is the database that is being moved to.
type New[B, F any] interface {
	// Get returns the records that exist, tombstones too, by id.
	Get(ctx context.Context, ids ...string) (map[string]Record[B], error)
	// CompareAndSwap commits rec, as it is, if the stored pair is expect (the
	// zero Pair: no record, not even a tombstone); else ErrConflict.
	CompareAndSwap(ctx context.Context, rec Record[B], expect Pair) error
	// PutIfNewer applies each record that is newer than the stored one, with
	// pending unset. Idempotent and commutative. An ErrUnfit concerns one
	// record and says which; the others may or may not have been applied.
	PutIfNewer(ctx context.Context, recs ...Record[B]) error
	// List returns up to limit records, at least 1, that match and whose id is
	// greater than after, in bytewise order of ids, tombstones left out.
	List(ctx context.Context, filter F, after string, limit int) (Page[B], error)
	// Pending returns up to limit records with Pending set and an id greater
	// than after, in order of ids.
	Pending(ctx context.Context, after string, limit int) (Page[B], error)
	// CountPending returns how many records have Pending set.
	CountPending(ctx context.Context) (int64, error)
	// ClearPending unsets Pending on each copy that is still the stored one.
	ClearPending(ctx context.Context, marks ...Mark) error
	// Scan returns up to limit records, tombstones too, with an id greater than
	// after, in order of ids.
	Scan(ctx context.Context, after string, limit int) (Page[B], error)
	// Count returns how many records there are, tombstones included; it may be
	// an estimate, for progress bars only.
	Count(ctx context.Context) (int64, error)

	NewMeta
	Close() error
}

// NewLook reads what the new database keeps about the migration, and writes
// nothing. An answer may be from a moment ago: it is for people, for checks of
// what never changes, and for what only ever grows.
type NewLook interface {
	// Prepared, Mirror and Progress are those of [NewMeta].
	Prepared(ctx context.Context) (string, error)
	Mirror(ctx context.Context) (Mirror, error)
	Progress(ctx context.Context, epoch int64) (Progress, error)
}

// NewMeta is what the new database keeps about the migration itself. The reads
// here are causal: they see every earlier acknowledged write of the same store.
// To be sure of that they may write first.
type NewMeta interface {
	// Look returns the reads that never write.
	Look() NewLook

	// Prepare creates collection and indexes and enters the migration id;
	// repeatable. ErrStranger if another id is there.
	Prepare(ctx context.Context, migration string) error
	// Prepared returns the migration id, or ErrStranger if collection, indexes
	// or id are missing (the text says which).
	Prepared(ctx context.Context) (string, error)
	// Probe makes one acknowledged majority write that no record feels.
	Probe(ctx context.Context) error
	// ProbeRecord writes, reads and deletes a reserved record among the
	// others, which no List and no Scan shows.
	ProbeRecord(ctx context.Context) error

	Mirror(ctx context.Context) (Mirror, error)
	// RaiseMirror moves the mirror to m if m's epoch is greater; else nothing.
	RaiseMirror(ctx context.Context, m Mirror) error

	Register(ctx context.Context, r Registration) error
	Deregister(ctx context.Context, instance string) error
	Registrations(ctx context.Context) ([]Registration, error)

	Progress(ctx context.Context, epoch int64) (Progress, error)
	SaveCheckpoint(ctx context.Context, epoch int64, after string, copied int64) error
	MarkComplete(ctx context.Context, epoch int64) error
	SaveVerify(ctx context.Context, epoch int64, result VerifyResult) error
	// SaveCompared replaces what the instance reported before for this epoch.
	SaveCompared(ctx context.Context, epoch int64, instance string, c Compared) error
}

// Old is the database that is being left. Every call runs in one transaction
// that reads the fence too; reads return it. CompareAndSwap and PutIfNewer
// take the epoch that they were planned under and fail with ErrFenceMoved,
// changing nothing, when the fence has another.
type Old[B, F any] interface {
	Get(ctx context.Context, ids ...string) (map[string]Record[B], Fence, error)
	CompareAndSwap(ctx context.Context, epoch int64, rec Record[B], expect Pair) error
	PutIfNewer(ctx context.Context, epoch int64, recs ...Record[B]) error
	List(ctx context.Context, filter F, after string, limit int) (Page[B], Fence, error)
	Pending(ctx context.Context, after string, limit int) (Page[B], Fence, error)
	CountPending(ctx context.Context) (int64, error)
	ClearPending(ctx context.Context, marks ...Mark) error
	Scan(ctx context.Context, after string, limit int) (Page[B], Fence, error)
	Count(ctx context.Context) (int64, error)

	Fence(ctx context.Context) (Fence, error)
	// MoveFence replaces the fence if it still equals from in epoch, primary,
	// state and token; else ErrFenceMoved. The migration id stays.
	MoveFence(ctx context.Context, from, to Fence) error
	// Writable returns nil if a write could begin now, else why not. It changes nothing.
	Writable(ctx context.Context) error
	// Guarded returns nil if writers that know nothing of the protocol are held
	// inside it (the triggers are in place), else an error that says what is missing.
	Guarded(ctx context.Context) error
	// Sweep turns records whose row a foreign writer removed unseen into
	// tombstones and returns how many; only while old is primary and open, else 0.
	Sweep(ctx context.Context) (int64, error)
	// Isolate moves a record that the new database can't hold to quarantine,
	// leaving a tombstone, if mark is still the stored copy and the fence is at epoch.
	Isolate(ctx context.Context, epoch int64, mark Mark, reason string) error
	Quarantine(ctx context.Context) ([]Quarantined, error)
	// Drop decides on quarantined rows with this id by removing them for good
	// and returns how many.
	Drop(ctx context.Context, id string) (int64, error)
	// Converted returns up to limit ids of rows that are read other than they
	// are stored, with the reason, and how many there are.
	Converted(ctx context.Context, limit int) ([]Quarantined, int64, error)
	Close() error
}
