package migration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// legacyOld is an old database as one that was taken over is: the protocol does not
// know every record yet, programs that know nothing of it go past its triggers, and
// rules of its own hold. It stands under the taps, so that each call is one moment.
type legacyOld struct {
	oldStore
	s *scene
}

// legacy is what a scene knows of such a database.
type legacy struct {
	unknown bool // "a" has no companion yet
	gap     bool // the triggers are gone
	rules   bool // two living records never have the same value
	picky   bool // new can't hold a record whose last entry is bad
}

func (l legacy) digest() uint64 {
	h := uint64(17)
	for _, is := range []bool{l.unknown, l.gap} {
		h = mix(h, 2)
		if is {
			h = mix(h, 3)
		}
	}
	return h
}

func (o legacyOld) Filled(context.Context) error {
	if o.s.legacy.unknown {
		return errors.New("a is not known yet")
	}
	return nil
}

func (o legacyOld) Guarded(context.Context) error {
	if o.s.legacy.gap {
		return fmt.Errorf("%w: the triggers are gone", store.ErrStranger)
	}
	return nil
}

// MoveFence looks at the triggers in the transaction that makes new primary.
func (o legacyOld) MoveFence(ctx context.Context, from, to store.Fence) error {
	if from.Primary == store.PrimaryOld && to.Primary == store.PrimaryNew {
		if err := errors.Join(o.Guarded(ctx), o.Filled(ctx)); err != nil {
			return fmt.Errorf("%w: %w", store.ErrStranger, err)
		}
	}
	return o.oldStore.MoveFence(ctx, from, to)
}

// CompareAndSwap makes a companion for the record that it writes.
func (o legacyOld) CompareAndSwap(ctx context.Context, epoch int64, rec store.Record, expect store.Pair) error {
	err := o.oldStore.CompareAndSwap(ctx, epoch, rec, expect)
	if err == nil && rec.ID == recordIDs["a"] {
		o.s.legacy.unknown = false
	}
	return err
}

// pickyAt is a new database that can't hold some records.
type pickyAt struct {
	newStore
	s *scene
}

func (n pickyAt) CompareAndSwap(ctx context.Context, rec store.Record, expect store.Pair) error {
	if err := n.s.unfit(rec); err != nil {
		return err
	}
	return n.newStore.CompareAndSwap(ctx, rec, expect)
}

func (n pickyAt) PutIfNewer(ctx context.Context, recs ...store.Record) error {
	for _, r := range recs {
		if err := n.s.unfit(r); err != nil {
			return err
		}
	}
	return n.newStore.PutIfNewer(ctx, recs...)
}

func (s *scene) unfit(rec store.Record) error {
	if s.legacy.picky && !rec.Deleted && strings.HasPrefix(lastEntry(rec.Request), "bad-") {
		return &store.Refusal{ID: rec.ID, Err: fmt.Errorf("%w: %q", store.ErrUnfit, rec.Request)}
	}
	return nil
}

func lastEntry(log string) string {
	entries := strings.Split(strings.TrimSuffix(log, ";"), ";")
	return entries[len(entries)-1]
}

// valueOf is the value of a record's unique column: what it took last.
func valueOf(r store.Record) string {
	entries := strings.Split(r.Request, ";")
	for _, e := range slices.Backward(entries) {
		if value, ok := strings.CutPrefix(e, "take"); ok {
			value, _, _ = strings.Cut(value, "-")
			return value
		}
	}
	return strings.ToUpper(r.ID.String())
}

// noValueTwice is the rule of each table of old.
func noValueTwice(records map[record.ID]store.Record) error {
	held := map[string]bool{}
	for _, r := range records {
		if r.Deleted {
			continue
		}
		if v := r.ID.Collection() + " " + valueOf(r); held[v] {
			return fmt.Errorf("the value %s is there twice", v)
		} else {
			held[v] = true
		}
	}
	return nil
}

// takes gives a record a value of the unique column.
func takes(id record.ID, value string) operation {
	return func(s *scene, in *instance, a *actor) {
		write(string(id), "give "+value+" to", false, func(store.Record, bool) (string, bool) { return entryOf(a, "take"+value+"-"), false })(s, in, a)
	}
}

// past is a statement of a program that knows nothing of us, and what old makes of
// it: do changes the record and returns its log.
func past(what string, id record.ID, do func(s *scene, a *actor, fence store.Fence, cur store.Record) (log string, err error)) operation {
	return func(s *scene, _ *instance, a *actor) {
		s.begin(what+" "+string(id), s.judge.known[string(id)])
		floor, log := s.judge.known[string(id)], ""
		err := act(s, point{db: store.PrimaryOld, op: what, writes: true}, id, func() error {
			recs, fence, err := s.old.Get(background, recordOf(id))
			if err != nil || fence.Primary != store.PrimaryOld || fence.Closing {
				return ErrRefused
			}
			log, err = do(s, a, fence, recs[recordOf(id)])
			return err
		})
		if err == nil && !a.dead && log != "" {
			s.judge.answered(a.name, string(id), floor, log)
		}
	}
}

// changed is the copy of a record that a trigger leaves.
func changed(s *scene, fence store.Fence, cur store.Record, log string, gone bool) error {
	next := store.Record{ID: cur.ID, Pair: store.Pair{Rev: cur.Rev + 1, Epoch: fence.Epoch}, Pending: true, Deleted: gone, Request: log, Body: record.Body(log)}
	err := s.old.CompareAndSwap(background, fence.Epoch, next, cur.Pair)
	if err == nil && cur.ID == recordIDs["a"] {
		s.legacy.unknown = false
	}
	return err
}

// spoils leaves a record that new can't hold.
func spoils(id record.ID) operation {
	return past("spoil", id, func(s *scene, a *actor, fence store.Fence, cur store.Record) (string, error) {
		log := cur.Request + entryOf(a, "bad-") + ";"
		return log, changed(s, fence, cur, log, false)
	})
}

// replaced is a statement that removes a record by another one's unique value: no
// trigger sees it of a record without a companion.
func replaced(id record.ID) operation {
	return past("replace", id, func(s *scene, a *actor, fence store.Fence, cur store.Record) (string, error) {
		if cur.ID == "" || cur.Deleted {
			return "", ErrRefused
		}
		log := cur.Request + entryOf(a, "del-") + ";"
		if s.legacy.unknown && cur.ID == recordIDs["a"] {
			s.old.Lose(cur.ID)
			s.legacy.unknown = false
			return log, nil
		}
		return log, changed(s, fence, cur, log, true)
	})
}

// unseen changes a record after the triggers were lost.
func unseen(id record.ID) operation {
	return past("change without a trigger", id, func(s *scene, a *actor, _ store.Fence, cur store.Record) (string, error) {
		if cur.ID == "" || cur.Deleted {
			return "", ErrRefused
		}
		log := cur.Request + entryOf(a, "gap-") + ";"
		s.legacy.gap = true
		s.old.Alter(func(r *store.Record) {
			if r.ID == cur.ID {
				r.Request, r.Body = log, record.Body(log)
			}
		})
		return log, nil
	})
}

// adopts takes the database over once more: every record that can have changed
// unseen counts as changed, and every record becomes known.
func adopts(s *scene, _ *instance, _ *actor) {
	s.begin("adopt")
	_ = act(s, point{db: store.PrimaryOld, op: "adopt", writes: true}, nil, s.adopt)
}

func (s *scene) adopt() error {
	fence, err := s.old.Fence(background)
	if err != nil || fence.Primary != store.PrimaryOld || fence.Closing {
		return ErrRefused
	}
	if s.legacy.gap {
		s.old.Alter(func(r *store.Record) {
			r.Rev, r.Epoch, r.Pending = r.Rev+1, fence.Epoch, true
		})
	}
	s.legacy.gap, s.legacy.unknown = false, false
	return nil
}

// putsBack replaces old by its backup from before the primary moved.
func putsBack(s *scene, _ *instance, _ *actor) {
	s.begin("put old back")
	_ = act(s, point{db: store.PrimaryOld, op: "put back", writes: true}, nil, func() error {
		newest := s.old.Save()
		s.newest = &newest
		s.old.PutBack(s.backup)
		return nil
	})
}

// bringsBack replaces what was put back by what was there before.
func bringsBack(s *scene, _ *instance, _ *actor) {
	s.begin("bring the newest back")
	_ = act(s, point{db: store.PrimaryOld, op: "bring back", writes: true}, nil, s.bringBack)
}

func (s *scene) bringBack() error {
	if s.newest != nil {
		s.old.PutBack(*s.newest)
	}
	s.newest = nil
	return nil
}

// returnsOnWord is the tool that is told of each registered instance that it is no
// more, whether or not that is so.
func returnsOnWord(s *scene, _ *instance, a *actor) {
	s.begin("return of the primary on somebody's word")
	_, err := ReturnPrimary(background, s.forOld, s.forNew, ReturnOptions{
		Token: fmt.Sprintf("tool %c", a.letter), Now: s.now, Pause: s.wait,
		Gone:   func(store.Registration) error { return nil },
		OnWord: func(store.Registration) bool { return true },
	})
	s.tell("%c %s: the return says %v", a.letter, a.name, err)
}

// decide decides on each row that is in quarantine: a write through the primary
// replaces it.
func (s *scene) decide() {
	for _, id := range ids {
		recs, _, _ := s.old.Get(background, recordIDs[id])
		if recs[recordIDs[id]].Unfit == "" {
			continue
		}
		s.settleBy(id, "decided")
	}
}

func (s *scene) settleBy(id, entry string) {
	rec, err := s.spawn("decides", ReadBoth).svc.Apply(background, recordIDs[id], false, func(cur store.Record, _ bool) (store.Record, bool, error) {
		log := cur.Request + entry + ";"
		return store.Record{Request: log, Body: record.Body(log)}, true, nil
	})
	if err != nil {
		s.judge.violation("nothing decides on %s: %v", id, err)
		return
	}
	s.judge.answered("who decides", id, s.judge.known[id], rec.Request)
}

// returned returns the primary. What old can't hold is decided on first; what it
// could hold is no reason to refuse.
func (s *scene) returned() {
	_, err := s.returnPrimary("conclusion")
	if errors.Is(err, ErrOldRefuses) {
		page, _ := s.new.Scan(background, "", 100)
		held := map[record.ID]store.Record{}
		olds, _, _ := s.old.Scan(background, "", 100)
		for _, r := range append(olds.Records, page.Records...) {
			if r.Newer(held[r.ID].Pair) {
				held[r.ID] = r
			}
		}
		if noValueTwice(held) == nil {
			s.judge.violation("the way back refuses what old could hold: %v", err)
			return
		}
		for n, id := range ids {
			if _, ok := held[recordIDs[id]]; ok {
				s.settleBy(id, fmt.Sprintf("takeQ%d-", n))
			}
		}
		_, err = s.returnPrimary("conclusion")
	}
	if err != nil {
		s.judge.violation("the primary can't be returned: %v", err)
	}
}
