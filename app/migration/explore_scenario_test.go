package migration

import (
	"context"
	"fmt"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
)

// placed is a record in one database at the start.
type placed struct {
	rev, epoch int64
	log        string
	pending    bool
	deleted    bool
}

// state is how the record "a" stands at the start. "b", the other record, is
// in both databases and equal, but final only where a is.
type state struct {
	name  string
	epoch int64 // of the fence; old is primary when it is odd
	old   *placed
	new   *placed
	known string // what the primary's side acknowledged before
}

// The states of a record: with old as primary (epoch 1, or 3 after a return),
// with new (epoch 2, or 4).
var states = []state{
	{name: "legacy", epoch: 1, old: &placed{rev: 1, log: "0;"}, known: "0;"},
	{name: "only-old", epoch: 1, old: &placed{rev: 2, epoch: 1, log: "0;1;", pending: true}, known: "0;1;"},
	{name: "stale", epoch: 1, old: &placed{rev: 2, epoch: 1, log: "0;1;", pending: true}, new: &placed{rev: 1, log: "0;"}, known: "0;1;"},
	{name: "equal", epoch: 1, old: &placed{rev: 2, epoch: 1, log: "0;1;"}, new: &placed{rev: 2, epoch: 1, log: "0;1;"}, known: "0;1;"},
	{name: "tombstone-in-old", epoch: 1, old: &placed{rev: 2, epoch: 1, log: "0;del-1;", pending: true, deleted: true}, new: &placed{rev: 1, log: "0;"}, known: "0;del-1;"},
	{name: "absent", epoch: 1},
	{name: "late-copy", epoch: 3, old: &placed{rev: 1, epoch: 1, log: "0;"}, new: &placed{rev: 2, epoch: 2, log: "0;late;", pending: true}, known: "0;"},

	{name: "only-old", epoch: 2, old: &placed{rev: 2, epoch: 1, log: "0;1;", pending: true}, known: "0;1;"},
	{name: "stale", epoch: 2, old: &placed{rev: 2, epoch: 1, log: "0;1;", pending: true}, new: &placed{rev: 1, log: "0;"}, known: "0;1;"},
	{name: "equal", epoch: 2, old: &placed{rev: 2, epoch: 1, log: "0;1;"}, new: &placed{rev: 2, epoch: 1, log: "0;1;"}, known: "0;1;"},
	{name: "final", epoch: 2, old: &placed{rev: 2, epoch: 1, log: "0;1;"}, new: &placed{rev: 3, epoch: 2, log: "0;1;2;", pending: true}, known: "0;1;2;"},
	{name: "tombstone-in-old", epoch: 2, old: &placed{rev: 2, epoch: 1, log: "0;del-1;", pending: true, deleted: true}, new: &placed{rev: 1, log: "0;"}, known: "0;del-1;"},
	{name: "tombstone-in-new", epoch: 2, old: &placed{rev: 1, log: "0;"}, new: &placed{rev: 2, epoch: 2, log: "0;del-1;", pending: true, deleted: true}, known: "0;del-1;"},
	{name: "absent", epoch: 2},
	{name: "late-copy", epoch: 4, old: &placed{rev: 2, epoch: 3, log: "0;1;"}, new: &placed{rev: 2, epoch: 2, log: "0;late;", pending: true}, known: "0;1;"},
}

func (c *placed) record(id record.ID) store.Record {
	r := store.Record{ID: id, Pair: store.Pair{Rev: c.rev, Epoch: c.epoch}, Pending: c.pending, Deleted: c.deleted, Request: c.log}
	if !c.deleted {
		r.Body = record.Body(c.log)
	}
	return r
}

// role is one actor of a scenario: its instance's step, or 0 for none, and
// what it does in turn. An instance that starts late does so as its first
// operation; the others are in place at the start.
type role struct {
	name  string
	step  Step
	apart bool // in a process of its own, not yet in place
	free  bool // going to it is no preemption
	do    []operation
}

// scenario is who does what from which start.
type scenario struct {
	name   string
	state  state
	marked bool   // backfill and verify were done under the present epoch
	legacy legacy // of old at the start
	skips  bool   // instances take old for ailing, and don't wait for their copies there
	short  bool   // a page holds one record, whatever was asked for
	roles  []role
	broken *variant // the rule that is switched off; nil: none
}

// open sets the scene up to where every actor stands before its first call.
func (sc scenario) open(telling bool) *scene {
	s := &scene{
		old: memory.NewOld("m"), new: memory.NewNew(),
		clock: time.Unix(1, 0), telling: telling, dirty: true, skips: sc.skips,
		judge: judge{known: map[string]string{"a": sc.state.known}},
	}
	s.forOld, s.forNew = tapOld{legacyOld{s.old, s}, s}, tapNew{pickyAt{s.new, s}, s}
	s.fill(sc.state)
	s.legacy = sc.legacy
	if sc.legacy.rules {
		s.old.Enforce(noValueTwice)
	}
	s.judge.forgetful = sc.legacy.unknown // a row that no trigger saw leaves no tombstone
	if sc.short {
		s.forOld, s.forNew = shortOld{s.forOld, one}, shortNew{s.forNew, one}
	}
	if sc.marked {
		_, err := CopyAll(background, s.forOld, s.forNew, BackfillOptions{})
		s.expect(err)
	}
	if sc.broken != nil {
		s.forOld, s.forNew = sc.broken.apply(s, s.forOld, s.forNew)
		s.judge.forgetful = s.judge.forgetful || sc.broken.forgetful
	}
	shared := map[Step]*instance{}
	for i, r := range sc.roles {
		a := &actor{letter: byte('a' + i), name: r.name, free: r.free}
		if r.step != 0 && (r.apart || shared[r.step] == nil) {
			a.in = s.spawn(fmt.Sprintf("%c", a.letter), r.step)
			if !r.apart {
				shared[r.step] = a.in
				s.expect(a.in.svc.Start(background))
			}
		} else if r.step != 0 {
			a.in = shared[r.step]
		}
		if a.in != nil {
			a.in.actors = append(a.in.actors, a)
		}
		s.enter(a, func() {
			for _, op := range r.do {
				op(s, a.in, a)
			}
		})
	}
	return s
}

func (s *scene) expect(err error) {
	if err != nil {
		s.judge.violation("the scene can't be set: %v", err)
	}
}

// fill puts the start into the databases.
func (s *scene) fill(st state) {
	s.expect(s.new.Prepare(background, "m"))
	second := placed{rev: 1, epoch: 0, log: "b0;"}
	s.judge.known["b"] = second.log
	for id, c := range map[string]*placed{"a": st.old, "b": &second} {
		if c != nil {
			s.expect(s.old.CompareAndSwap(background, 1, c.record(recordIDs[id]), store.Pair{}))
		}
	}
	for id, c := range map[string]*placed{"a": st.new, "b": &second} {
		if c != nil {
			s.expect(s.new.CompareAndSwap(background, c.record(recordIDs[id]), store.Pair{}))
		}
	}
	for epoch := int64(1); epoch <= st.epoch; epoch++ {
		s.backup = s.old.Save()
		from, _ := s.old.Fence(background)
		to := store.Fence{Migration: "m", Epoch: epoch, Primary: primaryAt(epoch)}
		s.expect(s.old.MoveFence(background, from, to))
		s.expect(s.new.RaiseMirror(background, store.Mirror{Migration: "m", Epoch: epoch, Primary: to.Primary}))
	}
}

func (s *scene) now() time.Time { return s.clock }

// wait is a pause of the tool: others run meanwhile. A short one takes no time.
func (s *scene) wait(_ context.Context, d time.Duration) error {
	if d = s.hurry(d); d < time.Second {
		return nil
	}
	return act(s, point{db: "clock", op: "wait"}, d, func() error {
		s.clock = s.clock.Add(d)
		return nil
	})
}

func primaryAt(epoch int64) store.Primary {
	if epoch%2 == 0 {
		return store.PrimaryNew
	}
	return store.PrimaryOld
}

// spawn makes an instance.
func (s *scene) spawn(name string, step Step) *instance {
	cfg := Config{
		Step: step, Instance: store.Registration{Instance: name}, Budget: time.Hour, Patience: 4 * time.Millisecond,
		Now: s.now,
		Pause: func(context.Context, time.Duration) error {
			if s.cur != nil && s.cur.dead {
				return errGone
			}
			return nil
		},
	}
	if begun := s.clock; s.stopped && step >= StopOldWrites {
		cfg.Now = func() time.Time { return begun }
	}
	if step.HasOld() {
		cfg.Old = s.forOld
	}
	if step.HasNew() {
		cfg.New = s.forNew
	}
	svc, err := New(cfg)
	s.expect(err)
	if s.credulous {
		if step.HasOld() {
			svc.old = meteredOld{cfg.Old, svc.meter}
		}
		if step.HasNew() {
			svc.new = meteredNew{cfg.New, svc.meter}
		}
	}
	svc.page = 1 // pages that fill, over two records
	if s.skips {
		svc.oldBreaker.failures, svc.oldBreaker.retryAt = breakerThreshold, time.Now().Add(time.Hour)
	}
	in := &instance{svc: svc, name: name}
	s.instances = append(s.instances, in)
	return in
}
