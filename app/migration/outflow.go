package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// Under the new primary a record may come that old can't hold: a rule of old
// refuses it beside what else is there, or old has no form for it. It is isolated
// towards old, which is no state that anybody sets: the record is pending in new at
// this very pair, and old refused it when it was last tried. Nothing but a write
// through the primary decides on it; a new pair is a new try.

// ErrOldRefuses: the old database can't hold records that the new one has
// acknowledged, so it can't become primary. Nothing was changed.
var ErrOldRefuses = errors.New("the old database can't hold what the new one has")

// Refused is a record of new that old can't hold as things are.
type Refused struct {
	Collection string     `json:"collection"`
	ID         string     `json:"id"` // as text, for people
	Pair       store.Pair `json:"pair"`
	Rule       string     `json:"rule"` // what refused it
}

// refusal is what is known of a record that old refused when it was last tried.
type refusal struct {
	pair  store.Pair
	rule  string
	unfit bool // it lies in the record alone: another try at this pair is of no use
	tries int
	next  time.Time // when to try it again although nothing has changed
}

// refusals are kept in memory: whoever lost them tries all of them anew. The zero
// value is empty.
type refusals struct {
	mu sync.Mutex
	by map[record.ID]refusal
}

// longestRetry bounds how long a refused record waits for its next try.
const longestRetry = time.Minute

// note records that old has refused a record, and reports whether that is news.
func (r *refusals) note(rec store.Record, err error, now time.Time) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[record.ID]refusal{}
	}
	f, known := r.by[rec.ID]
	if !known || f.pair != rec.Pair {
		f, news = refusal{pair: rec.Pair}, true
	}
	f.rule, f.unfit = err.Error(), errors.Is(err, store.ErrUnfit)
	f.next = now.Add(min(time.Second<<min(f.tries, 10), longestRetry))
	f.tries++
	r.by[rec.ID] = f
	return news
}

// of returns what is known of this very copy.
func (r *refusals) of(rec store.Record) (refusal, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, ok := r.by[rec.ID]
	return f, ok && f.pair == rec.Pair
}

func (r *refusals) forget(recs ...store.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range recs {
		delete(r.by, rec.ID)
	}
}

// keep forgets all but these: the others are no longer pending.
func (r *refusals) keep(recs []store.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := map[record.ID]refusal{}
	for _, rec := range recs {
		if f, ok := r.by[rec.ID]; ok {
			left[rec.ID] = f
		}
	}
	r.by = left
}

// list returns what old refuses, in order of ids.
func (r *refusals) list() []Refused {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Refused
	for id, f := range r.by {
		out = append(out, Refused{Collection: id.Collection(), ID: id.String(), Pair: f.pair, Rule: f.rule})
	}
	slices.SortFunc(out, func(a, b Refused) int {
		return strings.Compare(a.Collection+"\x00"+a.ID, b.Collection+"\x00"+b.ID)
	})
	return out
}

func (r *refusals) count() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int64(len(r.by))
}

// tell names the records, some of them if they are many.
func tell(refused []Refused) string {
	const most = 10
	var parts []string
	for _, f := range refused[:min(len(refused), most)] {
		parts = append(parts, strings.TrimSpace(f.Collection+" ")+fmt.Sprintf(" %q (%s)", f.ID, f.Rule))
	}
	if more := len(refused) - most; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("%d records: %s", len(refused), strings.TrimSpace(strings.Join(parts, "; ")))
}

// outflow is one pass that sends what is pending in new to old.
type outflow struct {
	old     store.Old
	new     store.New
	refused *refusals
	now     time.Time
	note    func(error) // how each call went; a refusal is none of old's ailments

	waiting []store.Record // refused at this pair: tried together at the end
	news    bool           // something was sent, or was refused for the first time
	sent    int
}

// refuses reports whether an error is about records, and not about the database.
func refuses(err error) bool { return errors.Is(err, store.ErrRule) || errors.Is(err, store.ErrUnfit) }

// send sends records in batches, leaving out those that old refuses.
func (o *outflow) send(ctx context.Context, epoch int64, recs []store.Record) error {
	var fresh []store.Record
	for _, rec := range recs {
		if _, ok := o.refused.of(rec); ok {
			o.waiting = append(o.waiting, rec)
		} else {
			fresh = append(fresh, rec)
		}
	}
	return o.put(ctx, epoch, fresh)
}

// put halves what is refused, until the one that is at fault is alone.
func (o *outflow) put(ctx context.Context, epoch int64, recs []store.Record) error {
	if len(recs) == 0 {
		return nil
	}
	err := o.old.PutIfNewer(ctx, epoch, recs...)
	o.note(err)
	switch {
	case err == nil:
		return o.arrived(ctx, recs)
	case !refuses(err):
		return err
	case len(recs) == 1:
		o.refuse(recs[0], err)
		o.waiting = append(o.waiting, recs[0])
		return nil
	}
	half := len(recs) / 2
	if err := o.put(ctx, epoch, recs[:half]); err != nil {
		return err
	}
	return o.put(ctx, epoch, recs[half:])
}

func (o *outflow) arrived(ctx context.Context, recs []store.Record) error {
	o.refused.forget(recs...)
	o.sent += len(recs)
	o.news = true
	return o.new.ClearPending(ctx, marks(recs)...)
}

func (o *outflow) refuse(rec store.Record, err error) {
	if o.refused.note(rec, err, o.now) {
		o.news = true
	}
}

// togetherMost bounds how many records are put in together.
const togetherMost = 1000

// end tries what old has refused together, once something has changed or the time
// has come: records that swap values, or that follow one another, fit only so. The
// pass has met everything that is pending.
func (o *outflow) end(ctx context.Context, epoch int64) error {
	o.refused.keep(o.waiting)
	due := o.news
	var groups [][]store.Record
	for _, rec := range o.waiting {
		f, _ := o.refused.of(rec)
		if f.unfit {
			continue
		}
		due = due || !o.now.Before(f.next)
		n := len(groups) - 1
		if n < 0 || groups[n][0].ID.Collection() != rec.ID.Collection() || len(groups[n]) == togetherMost {
			groups = append(groups, nil)
			n++
		}
		groups[n] = append(groups[n], rec)
	}
	if !due {
		return nil
	}
	for _, group := range groups {
		if err := o.together(ctx, epoch, group); err != nil {
			return err
		}
	}
	return nil
}

// together puts a group in, leaving out one after the other that is at fault.
func (o *outflow) together(ctx context.Context, epoch int64, group []store.Record) error {
	for len(group) > 0 {
		err := o.old.PutTogether(ctx, epoch, group...)
		o.note(err)
		if err == nil {
			return o.arrived(ctx, group)
		}
		if !refuses(err) {
			return err
		}
		at := -1
		if fault, ok := errors.AsType[*store.Refusal](err); ok {
			at = slices.IndexFunc(group, func(r store.Record) bool { return r.ID == fault.ID })
		}
		if at < 0 {
			return o.alone(ctx, epoch, group)
		}
		o.refuse(group[at], err)
		group = slices.Delete(slices.Clone(group), at, at+1)
	}
	return nil
}

// alone tries each, where nothing says which one is at fault.
func (o *outflow) alone(ctx context.Context, epoch int64, group []store.Record) error {
	for _, rec := range group {
		err := o.old.PutIfNewer(ctx, epoch, rec)
		o.note(err)
		switch {
		case err == nil:
			err = o.arrived(ctx, []store.Record{rec})
		case refuses(err):
			o.refuse(rec, err)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
