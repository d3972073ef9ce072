package migration

import (
	"context"
	"fmt"
	"time"

	"migrate/app/store"
)

// Finding is what verify says of one record.
type Finding string

// The findings that are not "equal".
const (
	FoundBehind    Finding = "behind"    // the other database lacks it or is older: its copy is still to come
	FoundMissing   Finding = "missing"   // the primary lacks it
	FoundStale     Finding = "stale"     // the primary's copy is older although nothing is late
	FoundLate      Finding = "late"      // new holds a newer copy of an earlier epoch: a command of unknown outcome
	FoundDifferent Finding = "different" // the same pair, other content
)

// Mismatch is one record on which the two databases do not agree.
type Mismatch struct {
	ID       string     `json:"id"`
	Finding  Finding    `json:"finding"`
	Old      store.Pair `json:"old"`
	New      store.Pair `json:"new"`
	Repaired bool       `json:"repaired,omitempty"`
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
}

// verifier is one run under one epoch.
type verifier[B comparable, F any] struct {
	old   store.Old[B, F]
	new   store.New[B, F]
	fence store.Fence
	opt   VerifyOptions
	rep   VerifyReport
}

// Verify streams both databases in order of ids, in constant memory, and says
// how they stand to one another. It reads the non-primary first, so that a
// copy which arrives meanwhile is no fault, and reads each mismatch again
// before it counts. The result is kept in new, by epoch.
//
// store.ErrFenceMoved: the primary moved meanwhile; nothing was recorded.
func Verify[B comparable, F any](ctx context.Context, old store.Old[B, F], to store.New[B, F], opt VerifyOptions) (VerifyReport, error) {
	v, err := newVerifier(ctx, old, to, to, opt)
	if err != nil {
		return VerifyReport{}, err
	}
	if _, err := old.Sweep(ctx); err != nil {
		return VerifyReport{}, err
	}
	if err := v.run(ctx); err != nil {
		return v.rep, err
	}
	return v.rep, to.SaveVerify(ctx, v.fence.Epoch, v.rep.VerifyResult)
}

// Compare is Verify, and only reads: nothing is swept, sent or recorded. A
// record whose row was removed unseen is compared as it was known.
func Compare[B comparable, F any](ctx context.Context, old store.Old[B, F], to store.New[B, F], opt VerifyOptions) (VerifyReport, error) {
	opt.Repair = false
	v, err := newVerifier(ctx, old, to, to.Look(), opt)
	if err != nil {
		return VerifyReport{}, err
	}
	err = v.run(ctx)
	return v.rep, err
}

func newVerifier[B comparable, F any](ctx context.Context, old store.Old[B, F], to store.New[B, F], meta store.NewLook, opt VerifyOptions) (*verifier[B, F], error) {
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
	v := &verifier[B, F]{old: old, new: to, fence: fence, opt: opt}
	v.rep.Epoch, v.rep.Primary, v.rep.At = fence.Epoch, fence.Primary, opt.Now().UTC()
	return v, nil
}

// run compares both databases and says what it came to.
func (v *verifier[B, F]) run(ctx context.Context) error {
	if err := v.stream(ctx); err != nil {
		return err
	}
	return v.conclude(ctx)
}

func (v *verifier[B, F]) stream(ctx context.Context) error {
	total, err := v.old.Count(ctx)
	if err != nil {
		return err
	}
	after, done := "", int64(0)
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
			v.opt.Progress(Pass{Epoch: v.fence.Epoch, Primary: v.fence.Primary, Done: done, Total: max(total, done)})
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
func (v *verifier[B, F]) page(ctx context.Context, after string) (olds, news store.Page[B], err error) {
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

func (v *verifier[B, F]) scanOld(ctx context.Context, after string) (store.Page[B], error) {
	page, f, err := v.old.Scan(ctx, after, v.opt.Batch)
	if err == nil && f.Epoch != v.fence.Epoch {
		err = fmt.Errorf("%w: epoch %d ended during the verify", store.ErrFenceMoved, v.fence.Epoch)
	}
	return page, err
}

// get reads records again, the non-primary first.
func (v *verifier[B, F]) get(ctx context.Context, ids []string) (o, n map[string]store.Record[B], err error) {
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
func (v *verifier[B, F]) judge(ctx context.Context, ids []string, o, n map[string]store.Record[B]) error {
	var doubtful []string
	for _, id := range ids {
		if v.finding(id, o, n) == "" {
			v.rep.Equal++
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
	}
	return nil
}

// finding is empty when the copies agree.
func (v *verifier[B, F]) finding(id string, o, n map[string]store.Record[B]) Finding {
	or, inOld := o[id]
	nr, inNew := n[id]
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
		if v.fence.Primary == store.PrimaryOld && other.Epoch < v.fence.Epoch {
			return FoundLate
		}
		if !inP {
			return FoundMissing
		}
		return FoundStale
	}
	return ""
}

func (v *verifier[B, F]) count(f Finding, id string, o, n map[string]store.Record[B], repaired bool) {
	if repaired {
		v.rep.Repaired++
	}
	switch {
	case f == "" || repaired:
		v.rep.Equal++
	case f == FoundBehind:
		v.rep.Behind++
	case f == FoundMissing:
		v.rep.Missing++
	case f == FoundStale:
		v.rep.Stale++
	case f == FoundLate:
		v.rep.Late++
	case f == FoundDifferent:
		v.rep.Different++
	}
	if f != "" && f != FoundBehind && len(v.rep.Samples) < v.opt.Samples {
		v.rep.Samples = append(v.rep.Samples, Mismatch{ID: id, Finding: f, Old: o[id].Pair, New: n[id].Pair, Repaired: repaired})
	}
}

// repair sends the newer copy, with its own epoch, to the primary that lacks
// it; while old is primary also to new. What old lacks under new is no fault:
// the relay sends it if the primary ever goes back.
func (v *verifier[B, F]) repair(ctx context.Context, f Finding, id string, o, n map[string]store.Record[B]) (bool, error) {
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

func (v *verifier[B, F]) conclude(ctx context.Context) error {
	rows, err := v.old.Quarantine(ctx)
	if err != nil {
		return err
	}
	v.rep.Quarantine = int64(len(rows))
	if _, v.rep.Converted, err = v.old.Converted(ctx, 0); err != nil {
		return err
	}
	v.rep.Clean = v.rep.Missing == 0 && v.rep.Stale == 0 && v.rep.Different == 0
	now, err := v.old.Fence(ctx)
	if err != nil {
		return err
	}
	if now.Epoch != v.fence.Epoch {
		return fmt.Errorf("%w: epoch %d ended during the verify", store.ErrFenceMoved, v.fence.Epoch)
	}
	return nil
}
