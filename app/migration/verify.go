package migration

import (
	"context"
	"errors"
	"fmt"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// Finding is what verify says of one record.
type Finding string

// The findings that are not "equal".
const (
	FoundBehind    Finding = "behind"    // the other database lacks it or is older: its copy is still to come
	FoundMissing   Finding = "missing"   // the primary lacks it
	FoundStale     Finding = "stale"     // the primary's copy is older although nothing is late
	FoundLate      Finding = "late"      // new holds the next copy, of an earlier epoch: a command of unknown outcome
	FoundDifferent Finding = "different" // the same pair, other content
	FoundRefused   Finding = "refused"   // behind, and the old database can't hold the primary's copy as things are
	FoundStranger  Finding = "stranger"  // new holds it, and nobody put it there by the protocol
	FoundUnfit     Finding = "unfit"     // in quarantine: counted there
)

// Mismatch is one record on which the two databases do not agree.
type Mismatch struct {
	Collection string     `json:"collection"`
	ID         record.ID  `json:"id"`
	Finding    Finding    `json:"finding"`
	Old        store.Pair `json:"old"`
	New        store.Pair `json:"new"`
	Rule       string     `json:"rule,omitempty"` // what refused it
	Repaired   bool       `json:"repaired,omitempty"`
}

// VerifyOptions are the knobs of a verify. The zero value is usable.
type VerifyOptions struct {
	Batch    int        // records a page; 200 if zero
	Samples  int        // mismatches to return; 20 if zero
	Repair   bool       // send the newer copy to the database that lacks it; never guesses at "different"
	Progress func(Pass) // after each page; may be nil
	Throttle func(ctx context.Context, n int) error
	Now      func() time.Time // when it was, for people; the real clock if nil
}

// VerifyReport is the outcome of a verify.
type VerifyReport struct {
	store.VerifyResult
	Epoch    int64      `json:"epoch"`
	Repaired int64      `json:"repaired"`
	Samples  []Mismatch `json:"samples,omitempty"` // of faults first come, "behind" left out
	// Strange names what nobody put into new by the protocol, as many as there are
	// samples; those included whose id no record can have, which no page shows.
	Strange []store.Stranger `json:"strange,omitempty"`
}

// verifier is one run under one epoch.
type verifier struct {
	old   store.Old
	new   store.New
	fence store.Fence
	opt   VerifyOptions
	rep   VerifyReport

	strange store.Strange // of new; nil if it tells of none

	tries   bool           // tell what old lacks from what old can't hold, by trying
	lacking []store.Record // pending in new, and old lacks them
}

// Verify streams both databases in order of ids, in constant memory, and says
// how they stand to one another. It reads the non-primary first, so that a
// copy which arrives meanwhile is no fault, and reads each mismatch again
// before it counts. The result is kept in new, by epoch.
//
// store.ErrFenceMoved: the primary moved meanwhile; nothing was recorded.
func Verify(ctx context.Context, old store.Old, to store.New, opt VerifyOptions) (VerifyReport, error) {
	v, err := newVerifier(ctx, old, to, to, opt)
	if err != nil {
		return VerifyReport{}, err
	}
	if _, err := foreignTo(old).Sweep(ctx); err != nil {
		return VerifyReport{}, err
	}
	v.tries = v.fence.Primary == store.PrimaryNew && !v.fence.Closing
	if err := v.run(ctx); err != nil {
		return v.rep, err
	}
	return v.rep, to.SaveVerify(ctx, v.fence.Epoch, v.rep.VerifyResult)
}

// Compare is Verify, and only reads: nothing is swept, sent or recorded. A
// record whose row was removed unseen is compared as it was known.
func Compare(ctx context.Context, old store.Old, to store.New, opt VerifyOptions) (VerifyReport, error) {
	opt.Repair = false
	v, err := newVerifier(ctx, old, to, to.Look(), opt)
	if err != nil {
		return VerifyReport{}, err
	}
	err = v.run(ctx)
	return v.rep, err
}

func newVerifier(ctx context.Context, old store.Old, to store.New, meta store.NewLook, opt VerifyOptions) (*verifier, error) {
	strange, _ := to.(store.Strange)
	old, to = aging(old, to)
	opt.Batch, opt.Samples = orDefault(opt.Batch, 200), orDefault(opt.Samples, 20)
	if opt.Now == nil {
		opt.Now = time.Now
	}
	fence, err := old.Fence(ctx)
	if err != nil {
		return nil, err
	}
	if err := sameMigration(ctx, fence, meta); err != nil {
		return nil, err
	}
	if err := filled(ctx, old); err != nil {
		return nil, err
	}
	v := &verifier{old: old, new: to, strange: strange, fence: fence, opt: opt}
	v.rep.Epoch, v.rep.Primary, v.rep.At = fence.Epoch, fence.Primary, opt.Now().UTC()
	return v, nil
}

// run compares both databases and says what it came to.
func (v *verifier) run(ctx context.Context) error {
	if err := v.stream(ctx); err != nil {
		return err
	}
	if err := v.try(ctx); err != nil {
		return err
	}
	return v.conclude(ctx)
}

func (v *verifier) stream(ctx context.Context) error {
	total, err := v.old.Count(ctx)
	if err != nil {
		return err
	}
	after, done := record.ID(""), int64(0)
	for {
		olds, news, err := v.page(ctx, after)
		if err != nil {
			return err
		}
		bound, more := horizon(olds, news)
		o, n := byID(upTo(olds, bound, more)), byID(upTo(news, bound, more))
		ids := union(o, n)
		if err := v.judge(ctx, ids, o, n); err != nil {
			return err
		}
		done += int64(len(ids))
		if v.opt.Progress != nil {
			v.opt.Progress(Pass{Epoch: v.fence.Epoch, Primary: v.fence.Primary, Done: done, Total: max(total, done), Collection: bound.Collection()})
		}
		if !more {
			return nil
		}
		after = bound
		if v.opt.Throttle != nil {
			if err := v.opt.Throttle(ctx, len(ids)); err != nil {
				return err
			}
		}
	}
}

// page reads one page of each, the non-primary first.
func (v *verifier) page(ctx context.Context, after record.ID) (olds, news store.Page, err error) {
	if v.fence.Primary == store.PrimaryOld {
		if news, err = v.new.Scan(ctx, after, v.opt.Batch); err != nil {
			return olds, news, err
		}
		olds, err = v.scanOld(ctx, after)
		return olds, news, err
	}
	if olds, err = v.scanOld(ctx, after); err != nil {
		return olds, news, err
	}
	news, err = v.new.Scan(ctx, after, v.opt.Batch)
	return olds, news, err
}

func (v *verifier) scanOld(ctx context.Context, after record.ID) (store.Page, error) {
	page, f, err := v.old.Scan(ctx, after, v.opt.Batch)
	if err == nil && f.Epoch != v.fence.Epoch {
		err = fmt.Errorf("%w: epoch %d ended during the verify", store.ErrFenceMoved, v.fence.Epoch)
	}
	return page, err
}

// get reads records again, the non-primary first.
func (v *verifier) get(ctx context.Context, ids []record.ID) (o, n map[record.ID]store.Record, err error) {
	if v.fence.Primary == store.PrimaryOld {
		if n, err = v.new.Get(ctx, ids...); err != nil {
			return nil, nil, err
		}
		o, _, err = v.old.Get(ctx, ids...)
		return o, n, err
	}
	if o, _, err = v.old.Get(ctx, ids...); err != nil {
		return nil, nil, err
	}
	n, err = v.new.Get(ctx, ids...)
	return o, n, err
}

// judge counts a page's records; those that don't agree are read again first.
func (v *verifier) judge(ctx context.Context, ids []record.ID, o, n map[record.ID]store.Record) error {
	var doubtful []record.ID
	for _, id := range ids {
		if v.finding(id, o, n) == "" {
			v.tally(id, "")
		} else {
			doubtful = append(doubtful, id)
		}
	}
	if len(doubtful) == 0 {
		return nil
	}
	o, n, err := v.get(ctx, doubtful)
	if err != nil {
		return err
	}
	for _, id := range doubtful {
		f := v.finding(id, o, n)
		repaired := false
		if v.opt.Repair {
			if repaired, err = v.repair(ctx, f, id, o, n); err != nil {
				return fmt.Errorf("repair %q: %w", id, err)
			}
		}
		v.count(f, id, o, n, repaired)
		if v.tries && f == FoundBehind && n[id].Pending && len(v.lacking) < togetherMost {
			v.lacking = append(v.lacking, n[id])
		}
	}
	return nil
}

// finding is empty when the copies agree.
func (v *verifier) finding(id record.ID, o, n map[record.ID]store.Record) Finding {
	or, inOld := o[id]
	nr, inNew := n[id]
	switch {
	case or.Unfit != "" && (!inNew || or.Newer(nr.Pair)):
		return FoundUnfit
	case inNew && nr.Pair == store.Pair{}:
		return FoundStranger
	}
	primary, inP, other, inO := or, inOld, nr, inNew
	if v.fence.Primary == store.PrimaryNew {
		primary, inP, other, inO = nr, inNew, or, inOld
	}
	switch relate(primary, inP, other, inO) {
	case behind:
		return FoundBehind
	case different:
		return FoundDifferent
	case ahead:
		// Only a command to new can be late: old refuses one planned under another epoch.
		// It was built on what the primary has, so it is one change ahead at the
		// most; where it is further, the primary has lost something.
		if v.fence.Primary == store.PrimaryOld && other.Epoch < v.fence.Epoch && other.Rev <= primary.Rev+1 {
			return FoundLate
		}
		if !inP {
			return FoundMissing
		}
		return FoundStale
	}
	return ""
}

func (v *verifier) count(f Finding, id record.ID, o, n map[record.ID]store.Record, repaired bool) {
	if repaired {
		v.rep.Repaired++
	}
	if repaired {
		v.tally(id, "")
	} else {
		v.tally(id, f)
	}
	if f != "" && f != FoundBehind && f != FoundUnfit && len(v.rep.Samples) < v.opt.Samples {
		v.rep.Samples = append(v.rep.Samples, Mismatch{Collection: id.Collection(), ID: id, Finding: f, Old: o[id].Pair, New: n[id].Pair, Repaired: repaired})
	}
}

// tally counts a record in its collection and in all.
func (v *verifier) tally(id record.ID, f Finding) {
	r := &v.rep.VerifyResult
	if r.Collections == nil {
		r.Collections = map[string]store.VerifyCounts{}
	}
	c := r.Collections[id.Collection()]
	all, own := &r.Equal, &c.Equal
	switch f {
	case FoundBehind:
		all, own = &r.Behind, &c.Behind
	case FoundMissing:
		all, own = &r.Missing, &c.Missing
	case FoundStale:
		all, own = &r.Stale, &c.Stale
	case FoundLate:
		all, own = &r.Late, &c.Late
	case FoundDifferent:
		all, own = &r.Different, &c.Different
	case FoundStranger:
		all, own = &r.Strangers, &c.Strangers
	case FoundRefused:
		all, own = &r.Refused, &c.Refused
	case FoundUnfit:
		return // the quarantine counts it
	}
	*all++
	*own++
	r.Collections[id.Collection()] = c
}

// repair sends the newer copy, with its own epoch, to the primary that lacks
// it; while old is primary also to new. What old lacks under new is no fault:
// the relay sends it if the primary ever goes back.
func (v *verifier) repair(ctx context.Context, f Finding, id record.ID, o, n map[record.ID]store.Record) (bool, error) {
	switch {
	case f == FoundBehind && v.fence.Primary == store.PrimaryOld:
		return true, v.new.PutIfNewer(ctx, o[id])
	case f != FoundMissing && f != FoundStale:
		return false, nil
	case v.fence.Primary == store.PrimaryOld:
		return true, v.old.PutIfNewer(ctx, v.fence.Epoch, n[id])
	default:
		return true, v.new.PutIfNewer(ctx, o[id])
	}
}

func (v *verifier) conclude(ctx context.Context) error {
	var err error
	if v.rep.Quarantine, _, err = undecided(ctx, v.old); err != nil {
		return err
	}
	if v.rep.Converted, err = converted(ctx, v.old); err != nil {
		return err
	}
	if err := foreignTo(v.old).Guarded(ctx); errors.Is(err, store.ErrStranger) {
		v.rep.Unguarded = err.Error()
	} else if err != nil {
		return err
	}
	if err := v.countStrangers(ctx); err != nil {
		return err
	}
	r := v.rep.VerifyResult
	v.rep.Clean = r.Missing == 0 && r.Stale == 0 && r.Different == 0 && r.Strangers == 0 && r.Unguarded == ""
	now, err := v.old.Fence(ctx)
	if err != nil {
		return err
	}
	if now.Epoch != v.fence.Epoch {
		return fmt.Errorf("%w: epoch %d ended during the verify", store.ErrFenceMoved, v.fence.Epoch)
	}
	return nil
}

// countStrangers asks new itself: the pages show only those with a record's id.
func (v *verifier) countStrangers(ctx context.Context) error {
	if v.strange == nil {
		return nil
	}
	found, n, err := v.strange.Strangers(ctx, v.opt.Samples)
	if err != nil {
		return err
	}
	v.rep.Strange, v.rep.Strangers = found, max(v.rep.Strangers, n)
	return nil
}
