// Package store says what a database offers to the migration: one record at a
// time changed atomically, ordered by the pair (rev, epoch), with an outbox of
// changes that the other database still lacks.
//
// Two kinds exist. [Old] is the database that is being left; it holds the
// fence that decides which of the two is primary. [New] is the one that is
// being moved to; it holds the fence's mirror, the registrations of instances
// that no longer read the fence, and the progress of the migration.
//
// A store holds the records of every collection of one declaration, in one order
// of ids: by collection, then by id. The suite that every implementation passes
// is storetest.
package store

import (
	"context"
	"errors"
	"fmt"
	"migrate.invalid/migrate/app/record"
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
	ErrUnfit = record.ErrUnfit
	// ErrRule: a rule of the database about more than this record, such as a unique
	// column, refuses it as things are; another time it may not. Nothing changed.
	ErrRule = errors.New("a rule of the database refuses the record")
	// ErrQuarantined: the old database holds the record, and the new one can't: see
	// [Record.Unfit]. Nothing changed. Only a whole replacement or a deletion
	// decides on it.
	ErrQuarantined = errors.New("the record is in quarantine")
	// ErrStranger: the database belongs to another migration, or to none where
	// one is expected.
	ErrStranger = errors.New("not a database of this migration")
	// ErrServer is the [ErrStranger] of a database whose server has failed over,
	// until somebody accepts that. Nothing changed.
	ErrServer = fmt.Errorf("%w as long as nobody accepts its server", ErrStranger)
)

// HasMoved is what a program that knows nothing of the migration reads when the old
// database refuses its write, since new is primary.
const HasMoved = "migrate: writes have moved to the new database"

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
type Record struct {
	ID record.ID
	Pair
	Deleted bool
	Pending bool   // the other database still lacks this commit; never copied
	Request string // hash of the body that created it, empty when unknown; tombstones keep it
	Unfit   string // of old alone: why new can't hold this copy, which is never sent there; its Body may be missing
	Body    record.Body
}

// Refusal names the record that a store refuses, in calls that take several. It
// wraps [ErrRule] or [ErrUnfit].
type Refusal struct {
	ID  record.ID
	Err error // names the rule
}

func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns what was refused.
func (r *Refusal) Unwrap() error { return r.Err }

// Mark names one copy of one record, for [Old.ClearPending] and its twin.
type Mark struct {
	ID record.ID
	Pair
}

// Mark returns the record's name and pair.
func (r Record) Mark() Mark { return Mark{r.ID, r.Pair} }

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
	After    record.ID // backfill: the last id that was copied
	Copied   int64     // backfill: records scanned so far
	Complete bool      // backfill: every page of old was read under this epoch of "new"
	Verify   *VerifyResult
	// Compared is summed over the instances that reported, by collection.
	Compared map[string]Compared
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
	Refused    int64     `json:"refused"`             // of those behind: the old database can't hold them as things are
	Strangers  int64     `json:"strangers"`           // rows and documents in new that nobody put there by the protocol
	Quarantine int64     `json:"quarantine"`          // rows on which nobody has decided
	Converted  int64     `json:"converted"`           // rows read other than they are stored (done as text, NULL)
	Unguarded  string    `json:"unguarded,omitempty"` // why programs that know nothing of us are not held inside the protocol
	Clean      bool      `json:"clean"`
	// Collections are the same counts, by collection.
	Collections map[string]VerifyCounts `json:"collections,omitempty"`
}

// VerifyCounts are the counts of one collection in a [VerifyResult].
type VerifyCounts struct {
	Equal     int64 `json:"equal"`
	Behind    int64 `json:"behind"`
	Missing   int64 `json:"missing"`
	Stale     int64 `json:"stale"`
	Late      int64 `json:"late"`
	Different int64 `json:"different"`
	Refused   int64 `json:"refused"`
	Strangers int64 `json:"strangers"`
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

// Plus adds what two instances have reported. Percentiles don't add up: the worst
// instance speaks for all.
func (c Compared) Plus(d Compared) Compared {
	return Compared{
		Equal: c.Equal + d.Equal, Behind: c.Behind + d.Behind, Late: c.Late + d.Late,
		Different: c.Different + d.Different, Errors: c.Errors + d.Errors,
		OldP99: max(c.OldP99, d.OldP99), NewP99: max(c.NewP99, d.NewP99),
	}
}

// New is the database that is being moved to.
type New interface {
	// Get returns the records that exist, tombstones too, by id.
	// What somebody put there past the protocol has the zero Pair.
	Get(ctx context.Context, ids ...record.ID) (map[record.ID]Record, error)
	// CompareAndSwap commits rec, as it is, if the stored pair is expect (the
	// zero Pair: no record, not even a tombstone); else ErrConflict.
	CompareAndSwap(ctx context.Context, rec Record, expect Pair) error
	// PutIfNewer applies each record that is newer than the stored one, with
	// pending unset. Idempotent and commutative. An ErrUnfit concerns one
	// record and says which; the others may or may not have been applied.
	PutIfNewer(ctx context.Context, recs ...Record) error
	// List returns up to limit records, at least 1, that match and whose id is
	// greater than after, in bytewise order of ids, tombstones left out.
	List(ctx context.Context, filter record.Filter, after record.ID, limit int) (Page, error)
	// Pending returns up to limit records with Pending set and an id greater
	// than after, in order of ids.
	Pending(ctx context.Context, after record.ID, limit int) (Page, error)
	// CountPending returns how many records have Pending set.
	CountPending(ctx context.Context) (int64, error)
	// ClearPending unsets Pending on each copy that is still the stored one.
	ClearPending(ctx context.Context, marks ...Mark) error
	// Scan returns up to limit records, tombstones too, with an id greater than
	// after, in order of ids.
	Scan(ctx context.Context, after record.ID, limit int) (Page, error)
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
	SaveCheckpoint(ctx context.Context, epoch int64, after record.ID, copied int64) error
	MarkComplete(ctx context.Context, epoch int64) error
	SaveVerify(ctx context.Context, epoch int64, result VerifyResult) error
	// SaveCompared replaces what the instance reported before for this epoch.
	SaveCompared(ctx context.Context, epoch int64, instance string, c map[string]Compared) error
}

// Old is the database that is being left. Every call runs in one transaction
// that reads the fence too; reads return it. CompareAndSwap and PutIfNewer
// take the epoch that they were planned under and fail with ErrFenceMoved,
// changing nothing, when the fence has another.
type Old interface {
	Get(ctx context.Context, ids ...record.ID) (map[record.ID]Record, Fence, error)
	CompareAndSwap(ctx context.Context, epoch int64, rec Record, expect Pair) error
	PutIfNewer(ctx context.Context, epoch int64, recs ...Record) error
	List(ctx context.Context, filter record.Filter, after record.ID, limit int) (Page, Fence, error)
	Pending(ctx context.Context, after record.ID, limit int) (Page, Fence, error)
	CountPending(ctx context.Context) (int64, error)
	ClearPending(ctx context.Context, marks ...Mark) error
	Scan(ctx context.Context, after record.ID, limit int) (Page, Fence, error)
	Count(ctx context.Context) (int64, error)

	Fence(ctx context.Context) (Fence, error)
	// MoveFence replaces the fence if it still equals from in epoch, primary,
	// state and token; else ErrFenceMoved. The migration id stays. A [Foreign]
	// makes new primary only while it is guarded and filled, in the same
	// transaction; else ErrStranger.
	MoveFence(ctx context.Context, from, to Fence) error
	// Writable returns nil if a write could begin now, else why not. It changes nothing.
	Writable(ctx context.Context) error
	// PutTogether is PutIfNewer of records that a rule of the database has refused
	// one by one: in one transaction their rows are taken out, then put in, in the
	// order in which they are given, so that neither their order nor a swap of
	// values among them matters. ErrRule if a rule refuses what comes of it; then
	// nothing has changed. A [Refusal] says which record could not be put in.
	PutTogether(ctx context.Context, epoch int64, recs ...Record) error
	// Isolate marks a record that the new database can't hold as unfit, for this
	// reason, if mark is still the stored copy and the fence is at epoch; else
	// ErrConflict. The row stays as it is. Its pair stays, too: nothing was written.
	// It is no longer pending. A later write lifts the mark.
	Isolate(ctx context.Context, epoch int64, mark Mark, reason string) error
	Close() error
}
