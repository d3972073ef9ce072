package migration

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// ids name the records: "a" is in the scenario's state, "b" beside it, "c" is
// made by a client, if at all. There are two collections: "a" is in the first.
var ids = []string{"a", "b", "c"}

var recordIDs = map[string]record.ID{"a": makeID("first", "a"), "b": makeID("second", "b"), "c": makeID("second", "c")}

func makeID(collection, name string) record.ID {
	text, err := record.OfText(name)
	if err != nil {
		panic(err)
	}
	id, err := record.NewID(collection, text)
	if err != nil {
		panic(err)
	}
	return id
}

// recordOf returns the id of the record with this name; its text is the name.
func recordOf(name record.ID) record.ID { return recordIDs[string(name)] }

// operation is one operation of an actor.
type operation func(s *scene, in *instance, a *actor)

// write is a change of a record through a service: next says what its log gets,
// and "" that there is nothing to change. fresh: the id was made just now.
func write(id, what string, fresh bool, next func(cur store.Record, there bool) (entry string, gone bool)) operation {
	return func(s *scene, in *instance, a *actor) {
		who := fmt.Sprintf("%s at step %d", a.name, in.svc.step)
		s.begin(what+" "+id, s.judge.known[id])
		floor := s.judge.known[id]
		entry, committed := "", false
		rec, err := in.svc.Apply(background, recordOf(record.ID(id)), fresh, func(cur store.Record, there bool) (store.Record, bool, error) {
			var gone bool
			entry, gone = next(cur, there && !cur.Deleted)
			committed = entry != ""
			if !committed {
				return cur, false, nil
			}
			log := cur.Request + entry + ";"
			return store.Record{Deleted: gone, Request: log, Body: record.Body(log)}, true, nil
		})
		switch {
		case a.dead:
		case err == nil:
			s.tell("%c %s: is told %q", a.letter, a.name, rec.Request)
			s.judge.answered(who, id, floor, rec.Request)
		default:
			s.tell("%c %s: is told %v", a.letter, a.name, err)
			if committed {
				s.judge.deny(who, entry, err)
			}
		}
	}
}

func entryOf(a *actor, verb string) string { return fmt.Sprintf("%s%c%d", verb, a.letter, a.ops) }

// appends adds an entry, whatever is there.
func appends(id record.ID) operation {
	return func(s *scene, in *instance, a *actor) {
		write(string(id), "append to", false, func(store.Record, bool) (string, bool) { return entryOf(a, ""), false })(s, in, a)
	}
}

// changes adds an entry to a record that is there, as a client must who can't
// know the id before somebody was told it.
func changes(id record.ID) operation {
	return func(s *scene, in *instance, a *actor) {
		write(string(id), "change", false, func(_ store.Record, there bool) (string, bool) {
			if !there {
				return "", false
			}
			return entryOf(a, ""), false
		})(s, in, a)
	}
}

// deletes leaves a tombstone, unless there is nothing.
func deletes(id record.ID) operation {
	return func(s *scene, in *instance, a *actor) {
		write(string(id), "delete", false, func(_ store.Record, there bool) (string, bool) {
			if !there {
				return "", false
			}
			return entryOf(a, "del-"), true
		})(s, in, a)
	}
}

// creates makes the record, unless it is there.
func creates(id record.ID) operation {
	return func(s *scene, in *instance, a *actor) {
		write(string(id), "create", false, func(_ store.Record, there bool) (string, bool) {
			if there {
				return "", false
			}
			return entryOf(a, "new-"), false
		})(s, in, a)
	}
}

// makes creates a record under an id that nobody else can have made.
func makes(id record.ID) operation {
	return func(s *scene, in *instance, a *actor) {
		write(string(id), "make", true, func(store.Record, bool) (string, bool) { return entryOf(a, "new-"), false })(s, in, a)
	}
}

// looks is a write that commits nothing: its answer is a read.
func looks(id record.ID) operation {
	return write(string(id), "change nothing of", false, func(store.Record, bool) (string, bool) { return "", false })
}

func reads(id record.ID) operation {
	return func(s *scene, in *instance, a *actor) {
		s.begin("read "+string(id), s.judge.known[string(id)])
		floor := s.judge.known[string(id)]
		rec, _, err := in.svc.Get(background, recordOf(id))
		if err == nil && !a.dead {
			s.tell("%c %s: is told %q", a.letter, a.name, rec.Request)
			s.judge.answered(fmt.Sprintf("%s at step %d", a.name, in.svc.step), string(id), floor, rec.Request)
		}
	}
}

// lists pages through both records, one a page.
func lists(limit int) operation {
	return func(s *scene, in *instance, a *actor) {
		after := record.ID("")
		for n := 0; n < 5; n++ {
			floor := maps.Clone(s.judge.known)
			s.begin("list after "+after.String(), floor["a"], floor["b"], floor["c"], string(after))
			page, err := in.svc.List(background, record.Filter{}, after, limit)
			if err != nil || a.dead {
				return
			}
			s.tell("%c %s: is told %s", a.letter, a.name, show(page))
			s.listed(fmt.Sprintf("%s at step %d", a.name, in.svc.step), page, after, floor)
			if page.End {
				return
			}
			after = page.Next
		}
	}
}

func (s *scene) listed(who string, page recordPage, after record.ID, floor map[string]string) {
	shown := map[string]bool{}
	for _, r := range page.Records {
		name := r.ID.String()
		if shown[name] {
			s.judge.violation("twice: %s lists %s twice", who, name)
		}
		shown[name] = true
		s.judge.answered(who, name, floor[name], r.Request)
	}
	for _, id := range ids {
		if at := recordIDs[id]; at > after && !shown[id] && (page.End || at <= page.Next) {
			s.hidden(who, id, floor[id])
		}
	}
}

func relays(s *scene, in *instance, a *actor) {
	s.begin("relay pass")
	_ = in.svc.relayPass(background)
}

func flips(s *scene, in *instance, a *actor) {
	s.begin("advance")
	_ = in.svc.Advance(background)
}

// starts is an instance that gets into place while others run.
func starts(s *scene, in *instance, a *actor) {
	s.begin("start")
	err := in.svc.Start(background)
	s.tell("%c %s: start says %v", a.letter, a.name, err)
}

// settles is what an instance does again and again beside its requests.
func settles(s *scene, in *instance, a *actor) {
	s.begin("settle")
	_ = in.svc.settle(background)
}

func backfills(batch int) operation {
	return func(s *scene, _ *instance, a *actor) {
		s.begin("backfill")
		_, err := CopyAll(background, s.forOld, s.forNew, BackfillOptions{Batch: batch})
		s.tell("%c %s: backfill says %v", a.letter, a.name, err)
	}
}

// returns is the tool that makes old primary again.
func returns(s *scene, _ *instance, a *actor) {
	s.begin("return of the primary")
	_, err := s.returnPrimary(fmt.Sprintf("tool %c", a.letter))
	s.tell("%c %s: the return says %v", a.letter, a.name, err)
}

func (s *scene) returnPrimary(token string) (ReturnResult, error) {
	return ReturnPrimary(background, s.forOld, s.forNew, ReturnOptions{
		Token: token,
		Gone: func(r store.Registration) error {
			for _, i := range s.instances {
				if i.name == r.Instance && i.alive() {
					return errors.New("it runs")
				}
			}
			return nil
		},
		Now:   s.now,
		Pause: s.wait,
	})
}

// ticks lets every deadline pass that was set before.
func ticks(s *scene, _ *instance, _ *actor) {
	s.begin("time passes")
	_ = act(s, point{db: "clock", op: "tick"}, nil, func() error {
		s.clock = s.clock.Add(time.Minute)
		return nil
	})
}

// foreign is a statement of a program that knows nothing of us, as the triggers
// treat it.
func foreign(id record.ID) operation {
	return func(s *scene, _ *instance, a *actor) {
		s.begin("foreign SQL on "+string(id), s.judge.known[string(id)])
		floor, log := s.judge.known[string(id)], ""
		err := act(s, point{db: store.PrimaryOld, op: "foreign SQL", writes: true}, id, func() error {
			recs, fence, err := s.old.Get(background, recordOf(id))
			if err != nil || fence.Primary != store.PrimaryOld || fence.Closing {
				return ErrRefused
			}
			cur := recs[recordOf(id)]
			log = cur.Request + entryOf(a, "sql-") + ";"
			return s.old.CompareAndSwap(background, fence.Epoch, store.Record{
				ID: recordOf(id), Pair: store.Pair{Rev: cur.Rev + 1, Epoch: fence.Epoch}, Pending: true, Request: log, Body: record.Body(log),
			}, cur.Pair)
		})
		if err == nil && !a.dead {
			s.judge.answered(a.name, string(id), floor, log)
		}
	}
}

// conclude walks on to the end by the rules, with nothing failing any more but
// commands that are still late, and reads everything on the way.
func (s *scene) conclude() {
	s.clock = s.clock.Add(time.Hour)
	_ = s.bringBack()
	_ = s.adopt()
	_, _, _ = s.spawn("first", ReadBoth).svc.Get(background, recordOf("a")) // a request reopens what a dead tool has closed
	s.decide()
	s.readAll(ReadBoth, "at the end")
	fence, _ := s.old.Fence(background)
	if fence.Primary == store.PrimaryOld {
		s.advance()
	} else {
		s.returned()
	}
	s.readAll(ReadBoth, "after one more flip")
	if fence.Primary == store.PrimaryNew {
		s.advance()
	}
	for range 2 { // the first one marks what new can't hold
		if _, err := CopyAll(background, s.forOld, s.forNew, BackfillOptions{Batch: 2}); err != nil {
			s.judge.violation("the backfill fails: %v", err)
		}
		s.decide()
	}
	if res, err := CopyAll(background, s.forOld, s.forNew, BackfillOptions{}); err != nil || !res.Complete {
		s.judge.violation("the backfill is not complete: %v %+v", err, res)
	}
	if rep, err := Verify(background, s.forOld, s.forNew, VerifyOptions{}); err != nil || !rep.Clean {
		s.judge.violation("the last verify is not clean: %v %+v", err, rep.Samples)
	}
	s.readAll(RemoveOld, "at step 8")
}

func (s *scene) advance() {
	if err := s.spawn("advance", NewPrimary).svc.Advance(background); err != nil {
		s.judge.violation("the primary can't be advanced: %v", err)
	}
}

func (s *scene) readAll(step Step, when string) {
	in := s.spawn("last", step)
	if err := in.svc.Start(background); err != nil {
		s.judge.violation("%s: step %d can't start: %v", when, int(step), err)
		return
	}
	floor := maps.Clone(s.judge.known)
	for _, id := range ids {
		rec, _, err := in.svc.Get(background, recordIDs[id])
		if err != nil {
			s.judge.violation("%s: %s can't be read: %v", when, id, err)
			return
		}
		s.judge.answered("the reader "+when, id, floor[id], rec.Request)
	}
	for after := record.ID(""); ; {
		page, err := in.svc.List(background, record.Filter{}, after, len(ids)+1)
		if err != nil {
			s.judge.violation("%s: no list: %v", when, err)
			return
		}
		s.listed("the lister "+when, page, after, floor)
		if page.End {
			return
		}
		after = page.Next
	}
}
