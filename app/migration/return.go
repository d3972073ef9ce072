package migration

import (
	"context"
	"errors"
	"fmt"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// ErrLiving: an instance that doesn't read the fence lives, or can't be proven
// gone. The primary must not return while it may acknowledge a write.
var ErrLiving = errors.New("an instance above step 5 may still be alive")

// ErrGaveUp: the return of the primary was not completed, and new is primary
// as before. Nothing is lost; it can be tried again.
var ErrGaveUp = errors.New("the return of the primary was given up")

// ReturnOptions are the knobs of a return. Gone and Token must be set.
type ReturnOptions struct {
	// Gone proves that the process of a registration has ended: nil if it has,
	// else an error that says why it counts as alive.
	Gone func(store.Registration) error
	// OnWord reports whether nothing proves that the process of a registration has
	// ended but the operator's word: it may be stopped or cut off, and wake. Then
	// the return waits until nothing can stand any more on what such a process
	// had seen before. May be nil.
	OnWord func(store.Registration) bool
	Token  string // names this attempt; unique

	Deadline time.Duration // from which on instances reopen a fence that we closed; 5 s if zero
	Grace    time.Duration // for writes in flight when the fence closes; 20 ms if zero
	Backlog  int64         // how much may be left to drain while writes wait; 50 if zero
	Rounds   int           // how often to drain before giving up on a small backlog; 20 if zero

	Now      func() time.Time                                 // the real clock if nil
	Pause    func(ctx context.Context, d time.Duration) error // a real timer if nil
	Progress func(string)                                     // what is being done; may be nil
}

// ReturnResult says what a return of the primary did.
type ReturnResult struct {
	Epoch   int64         `json:"epoch"` // the fence's, now
	Already bool          `json:"already"`
	Before  int64         `json:"drained_before"` // records sent back while writes went on
	Closed  int64         `json:"drained_closed"` // and while they waited
	Pause   time.Duration `json:"pause_ns"`       // how long writes waited
	Gone    []string      `json:"gone,omitempty"` // registrations of ended processes, removed
}

// returning is one attempt.
type returning struct {
	old store.Old
	new store.New
	opt ReturnOptions
	res ReturnResult

	refused refusals // what old can't hold
	onWord  bool     // a registration was taken away on the operator's word
}

// ReturnPrimary makes old the primary again. Instances above step 5 must have
// ended; those at 4 and 5 go on, and wait with their writes for the moment in
// which the last of them are brought back.
//
// What it does can be cut off anywhere. A fence left closing is reopened by
// any instance past its deadline, and a mirror left ahead is passed by the next
// advance; either way the next attempt starts afresh.
//
// Errors: [ErrLiving], [ErrOldRefuses] and [ErrGaveUp], after which new is primary;
// the stores'.
func ReturnPrimary(ctx context.Context, old store.Old, to store.New, opt ReturnOptions) (ReturnResult, error) {
	opt.Deadline = orDefault(opt.Deadline, 5*time.Second)
	opt.Grace = orDefault(opt.Grace, 20*time.Millisecond)
	opt.Backlog, opt.Rounds = orDefault(opt.Backlog, 50), orDefault(opt.Rounds, 20)
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Pause == nil {
		opt.Pause = pause
	}
	if opt.Progress == nil {
		opt.Progress = func(string) {}
	}
	old, to = aging(old, to)
	r := &returning{old: old, new: to, opt: opt}
	err := r.run(ctx)
	return r.res, err
}

func (r *returning) run(ctx context.Context) error {
	fence, err := r.old.Fence(ctx)
	if err != nil {
		return err
	}
	if err := sameMigration(ctx, fence, r.new); err != nil {
		return err
	}
	if err := r.allGone(ctx); err != nil { // also when old is primary: an instance above 5 has no place then
		return err
	}
	if fence.Primary == store.PrimaryOld {
		r.res.Epoch, r.res.Already = fence.Epoch, true
		return nil
	}
	if fence, err = r.open(ctx, fence); err != nil {
		return err
	}
	if err := r.shrink(ctx, fence); err != nil {
		return err
	}
	return r.underClosedFence(ctx, fence)
}

// allGone wants proof that every registered process has ended, and removes the
// registrations of those that have.
func (r *returning) allGone(ctx context.Context) error {
	registered, err := r.new.Registrations(ctx)
	if err != nil {
		return err
	}
	for _, reg := range registered {
		if err := r.opt.Gone(reg); err != nil {
			return fmt.Errorf("%w: step %d, process %d on %s: %w", ErrLiving, reg.Step, reg.PID, reg.Host, err)
		}
		r.onWord = r.onWord || r.opt.OnWord != nil && r.opt.OnWord(reg)
		if err := r.new.Deregister(ctx, reg.Instance); err != nil {
			return err
		}
		r.res.Gone = append(r.res.Gone, reg.Instance)
	}
	return nil
}

// open returns the fence once it is open and the mirror not ahead of it: what
// an attempt that died has left is put right first.
func (r *returning) open(ctx context.Context, fence store.Fence) (store.Fence, error) {
	if fence.Closing {
		if left := fence.Deadline.Sub(r.opt.Now()); left > 0 {
			r.opt.Progress(fmt.Sprintf("an earlier return has left the fence closing: waiting %v for its deadline", left.Round(time.Millisecond)))
			if err := r.opt.Pause(ctx, left); err != nil {
				return fence, err
			}
			now, err := r.old.Fence(ctx)
			if err != nil {
				return fence, err
			}
			if now.Epoch != fence.Epoch || now.Closing && now.Token != fence.Token {
				return fence, fmt.Errorf("%w: another one is at work", ErrGaveUp)
			}
			fence = now
		}
	}
	if fence.Closing {
		r.opt.Progress("reopening the fence that an earlier return left closing")
		open := reopened(fence)
		if err := r.old.MoveFence(ctx, fence, open); err != nil {
			return fence, err
		}
		fence = open
	}
	mirror, err := r.new.Mirror(ctx)
	if err != nil || mirror.Epoch <= fence.Epoch {
		return fence, err
	}
	r.opt.Progress("passing the mirror that an earlier return left ahead")
	past := fence
	past.Epoch = mirror.Epoch + 1
	if err := r.old.MoveFence(ctx, fence, past); err != nil {
		return fence, err
	}
	return past, r.new.RaiseMirror(ctx, store.Mirror{Migration: past.Migration, Epoch: past.Epoch, Primary: past.Primary})
}

func reopened(f store.Fence) store.Fence {
	f.Closing, f.Token, f.Deadline = false, "", time.Time{}
	return f
}

// shrink drains while writes go on, until what is left can be drained quickly.
func (r *returning) shrink(ctx context.Context, fence store.Fence) error {
	for range r.opt.Rounds {
		n, err := r.drain(ctx, fence.Epoch)
		if err != nil {
			return err
		}
		r.res.Before += n
		left, err := r.new.CountPending(ctx)
		if err != nil {
			return err
		}
		if left -= r.refused.count(); left <= r.opt.Backlog {
			return r.nothingRefused()
		}
		r.opt.Progress(fmt.Sprintf("%d records still to be sent back", left))
	}
	return fmt.Errorf("%w: writes come faster than they can be sent back", ErrGaveUp)
}

// drain sends every record that is pending in new to old, in one pass over the
// outbox, and returns how many were sent. What old can't hold is noted.
func (r *returning) drain(ctx context.Context, epoch int64) (int64, error) {
	out := &outflow{old: r.old, new: r.new, refused: &r.refused, now: r.opt.Now(), note: func(error) {}}
	after := record.ID("")
	for {
		page, err := r.new.Pending(ctx, after, relayBatch)
		if err == nil {
			err = out.send(ctx, epoch, page.Records)
		}
		if err == nil && page.End {
			err = out.end(ctx, epoch)
		}
		if err != nil || page.End {
			return int64(out.sent), err
		}
		after = page.Next
	}
}

// nothingRefused returns an error if old can't hold some of what new has: once old
// is primary, a decision could only be lost.
func (r *returning) nothingRefused() error {
	refused := r.refused.list()
	if len(refused) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrOldRefuses, tell(refused))
}

// drainAll drains until a read that began after the call finds nothing.
func (r *returning) drainAll(ctx context.Context, epoch int64) error {
	for {
		n, err := r.drain(ctx, epoch)
		r.res.Closed += n
		if err == nil {
			err = r.nothingRefused()
		}
		if err != nil || n == 0 {
			return err
		}
	}
}

// underClosedFence is the part during which writes wait.
func (r *returning) underClosedFence(ctx context.Context, fence store.Fence) error {
	closed := fence
	began := r.opt.Now()
	closed.Closing, closed.Token, closed.Deadline = true, r.opt.Token, began.Add(r.opt.Deadline)
	if r.onWord {
		closed.Deadline = closed.Deadline.Add(wordWait)
	}
	if err := r.old.MoveFence(ctx, fence, closed); err != nil && !r.holds(ctx, closed) {
		return err
	}
	r.opt.Progress("writes wait")
	err := r.moveBack(ctx, closed)
	r.res.Pause = r.opt.Now().Sub(began)
	if err == nil {
		return nil
	}
	now, ferr := r.old.Fence(context.WithoutCancel(ctx))
	switch {
	case ferr != nil: // the last move may have been made, or not
		return fmt.Errorf("%w: whether the primary has returned can't be found out: %w; %v", store.ErrUnknown, err, ferr)
	case now.Primary == store.PrimaryOld && now.Epoch == closed.Epoch+1:
		return nil // it was made, and only its answer was lost
	}
	r.res.Epoch = now.Epoch
	return errors.Join(fmt.Errorf("%w: %w", ErrGaveUp, err), r.putBack(ctx, closed))
}

// holds tells after an error whether the fence is what it was to become.
func (r *returning) holds(ctx context.Context, want store.Fence) bool {
	now, err := r.old.Fence(context.WithoutCancel(ctx))
	return err == nil && now.Epoch == want.Epoch && now.Primary == want.Primary && now.Closing == want.Closing && now.Token == want.Token
}

func (r *returning) moveBack(ctx context.Context, closed store.Fence) error {
	if err := r.opt.Pause(ctx, r.opt.Grace); err != nil {
		return err
	}
	back := reopened(closed)
	back.Epoch, back.Primary = closed.Epoch+1, store.PrimaryOld
	if err := r.new.RaiseMirror(ctx, store.Mirror{Migration: back.Migration, Epoch: back.Epoch, Primary: back.Primary}); err != nil {
		return err
	}
	// Whoever registered before the mirror moved is seen here; whoever does
	// later sees the mirror.
	if err := r.allGone(ctx); err != nil {
		return err
	}
	if r.onWord {
		r.opt.Progress("a registration was taken away on your word: writes wait until nothing can stand on it any more")
		if err := r.opt.Pause(ctx, wordWait); err != nil {
			return err
		}
	}
	// Only now can nobody commit to new any more: one that registered, wrote and
	// ended since the closing has left what it wrote in the outbox.
	if err := r.drainAll(ctx, closed.Epoch); err != nil {
		return err
	}
	r.res.Epoch = back.Epoch
	return r.old.MoveFence(ctx, closed, back)
}

// putBack reopens the fence at once, so that writes don't wait for the
// deadline, and passes the mirror if that had moved.
func (r *returning) putBack(ctx context.Context, closed store.Fence) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.opt.Deadline)
	defer cancel()
	open := reopened(closed)
	if err := r.old.MoveFence(ctx, closed, open); err != nil {
		return nil // an instance was faster, or does it past the deadline
	}
	now, err := r.open(ctx, open)
	r.res.Epoch = now.Epoch
	return err
}
