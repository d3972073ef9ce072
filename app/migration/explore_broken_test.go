package migration

import (
	"errors"
	"slices"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// variant is the shipped code with one rule switched off, and a scenario in
// which that shows.
type variant struct {
	name   string
	hazard string // what happens without the rule
	rule   string
	in     scenario
	faults int
	// harmless: no data is at stake as long as the other rules hold, so that
	// nothing can be caught; the hazard says why the rule is there all the same.
	harmless bool
	// forgetful: a deletion leaves no log, so absence counts as deleted.
	forgetful bool
	apply     func(s *scene, o oldStore, n newStore) (oldStore, newStore)
}

// step is the step of whoever calls; 0 for the tool.
func (s *scene) step() Step {
	if s.cur == nil || s.cur.in == nil {
		return 0
	}
	return s.cur.in.svc.step
}

// rawNew puts records in new wherever newer says so.
func rawNew(s *scene, recs records, newer func(rec, held store.Record) bool) error {
	return act(s, point{db: store.PrimaryNew, op: "Put", writes: true}, recs, func() error {
		for _, r := range recs {
			held, _ := s.new.Get(background, r.ID)
			if h := held[r.ID]; newer(r, h) {
				r.Pending = false
				_ = s.new.CompareAndSwap(background, r, h.Pair)
			}
		}
		return nil
	})
}

// brokenOrder are variants of the order of copies and the choice between them.
func brokenOrder() []variant {
	return []variant{
		{
			name: "order-by-rev", hazard: "a late copy of an earlier epoch outlives what was acknowledged under the same rev",
			rule: "newer is the greater pair (rev, epoch)",
			in:   scene4(stateOf("late-copy", 3), role{name: "writer", step: ReadBoth, do: []operation{appends("a")}}),
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return o, bentNew{newStore: n, put: func(recs records) error {
					return rawNew(s, recs, func(r, h store.Record) bool { return r.Rev > h.Rev })
				}}
			},
		},
		{
			name: "blind-copy", hazard: "a copy that was read earlier overwrites a newer one",
			rule: "replicate with PutIfNewer",
			in: scene4(stateOf("only-old", 2),
				role{name: "writer", step: ReadBoth, do: []operation{appends("a")}}, role{name: "backfill", do: []operation{backfills(2)}}),
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return o, bentNew{newStore: n, put: func(recs records) error {
					return rawNew(s, recs, func(store.Record, store.Record) bool { return true })
				}}
			},
		},
		{
			name: "choose-by-presence", hazard: "a stale copy in new hides old's newer one",
			rule: "choose by (rev, epoch), never by presence",
			in:   scene4(stateOf("stale", 2), role{name: "writer", step: ReadBoth, do: []operation{appends("a")}}),
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return o, bentNew{newStore: n,
					get: func(ids []record.ID) (found, error) {
						recs, err := n.Get(background, ids...)
						for id, r := range recs { // taken for final
							r.Epoch = s.epoch()
							recs[id] = r
						}
						return recs, err
					},
					cas: func(rec store.Record, expect store.Pair) error {
						held, _ := s.new.Get(background, rec.ID)
						if h := held[rec.ID].Pair; h.Rev == expect.Rev {
							expect = h
						}
						return n.CompareAndSwap(background, rec, expect)
					},
				}
			},
		},
		{
			name: "no-tombstones", hazard: "a record that was deleted comes back from the other database",
			rule: "a deletion leaves a tombstone", faults: 1, forgetful: true,
			in: scene4(stateOf("equal", 2), role{name: "deleter", step: ReadBoth, do: []operation{deletes("a"), reads("a")}}),
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return o, bentNew{newStore: n,
					get: func(ids []record.ID) (found, error) {
						recs, err := n.Get(background, ids...)
						for id, r := range recs {
							if r.Deleted {
								delete(recs, id)
							}
						}
						return recs, err
					},
				}
			},
		},
		{
			name: "list-believes-a-copy", hazard: "a list shows what a newer copy in the other database has changed or deleted",
			rule: "look up every copy in new that is not final, and filter the newer one again",
			in:   scene4(stateOf("tombstone-in-old", 2), role{name: "lister", step: ReadBoth, do: []operation{lists(1)}}),
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return o, bentNew{newStore: n, list: func(after record.ID, limit int) (recordPage, error) {
					page, err := n.List(background, record.Filter{}, after, limit)
					for i := range page.Records {
						page.Records[i].Epoch = s.epoch()
					}
					return page, err
				}}
			},
		},
		{
			name: "end-by-length", hazard: "a list, and what a backfill calls complete, stop at a page that was cut short",
			rule: "a store says where its records end; no length does",
			in:   scene4(stateOf("equal", 2), role{name: "lister", step: ReadBoth, do: []operation{lists(2)}}),
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				shortest := func(page recordPage, err error, limit int) (recordPage, error) {
					page, err = cut(page, err, 1)
					page.End = len(page.Records) < limit
					return page, err
				}
				return bentOld{oldStore: o, list: func(after record.ID, limit int) (recordPage, store.Fence, error) {
						page, f, err := o.List(background, record.Filter{}, after, limit)
						page, err = shortest(page, err, limit)
						return page, f, err
					}}, bentNew{newStore: n, list: func(after record.ID, limit int) (recordPage, error) {
						page, err := n.List(background, record.Filter{}, after, limit)
						return shortest(page, err, limit)
					}}
			},
		},
		{
			name: "list-without-look-up", hazard: "a list shows what old still has of a record that is deleted in new",
			rule: "look up in new every id that only old lists",
			in:   scene4(stateOf("tombstone-in-new", 2), role{name: "lister", step: ReadBoth, do: []operation{lists(1)}}),
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return o, bentNew{newStore: n, get: func(ids []record.ID) (found, error) {
					if s.cur != nil && s.cur.name == "lister" {
						return found{}, nil
					}
					return n.Get(background, ids...)
				}}
			},
		},
	}
}

// epoch is the fence's, as it is.
func (s *scene) epoch() int64 {
	fence, _ := s.old.Fence(background)
	return fence.Epoch
}

func stateOf(name string, epoch int64) state {
	i := slices.IndexFunc(states, func(st state) bool { return st.name == name && st.epoch == epoch })
	return states[i]
}

// scene4 adds a reader to the roles.
func scene4(st state, roles ...role) scenario {
	return scenario{name: st.name, state: st, roles: append(roles, role{name: "reader", step: ReadBoth, do: []operation{reads("a")}})}
}

// brokenFence are variants of how the fence is minded.
func brokenFence() []variant {
	flip := scenario{state: stateOf("equal", 1), roles: []role{
		{name: "writer", step: ReadBoth, do: []operation{appends("a")}},
		{name: "writer", step: NewPrimary, do: []operation{appends("a")}},
	}}
	back := scenario{state: stateOf("equal", 2), roles: []role{
		{name: "writer", step: ReadBoth, do: []operation{appends("a")}},
		{name: "tool", do: []operation{returns}},
		{name: "reader", step: ReadBoth, do: []operation{looks("a")}},
	}}
	skipping := scenario{state: stateOf("equal", 2), skips: true, roles: back.roles[:2]}
	return []variant{
		{
			name: "old-asks-no-epoch", hazard: "a write that was planned while old was primary commits there after the flip",
			rule: "old's writes fail when the fence has moved", in: flip,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return bentOld{oldStore: o, cas: func(_ int64, rec store.Record, expect store.Pair) error {
					return act(s, point{db: store.PrimaryOld, op: "CompareAndSwap", writes: true}, swap{rec, expect}, func() error {
						return s.old.CompareAndSwap(background, s.epoch(), rec, expect)
					})
				}}, n
			},
		},
		{
			name: "old-asks-only-who-is-primary", hazard: "a copy that was sent under an earlier primary confirms a write of a later one",
			rule: "the epoch must be the same, not only the primary", faults: 1,
			in: scenario{state: stateOf("equal", 1), roles: []role{
				{name: "writer", step: ReadBoth, do: []operation{appends("a")}},
				{name: "flip", step: NewPrimary, apart: true, do: []operation{starts, appends("a")}},
				{name: "tool", do: []operation{returns}},
			}},
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				now := func(epoch int64) int64 {
					if e := s.epoch(); primaryAt(e) == primaryAt(epoch) {
						return e
					}
					return epoch
				}
				return bentOld{oldStore: o,
					cas: func(epoch int64, rec store.Record, expect store.Pair) error {
						return act(s, point{db: store.PrimaryOld, op: "CompareAndSwap", writes: true}, swap{rec, expect}, func() error {
							return s.old.CompareAndSwap(background, now(epoch), rec, expect)
						})
					},
					put: func(epoch int64, recs records) error {
						return act(s, point{db: store.PrimaryOld, op: "PutIfNewer", writes: true}, recs, func() error {
							return s.old.PutIfNewer(background, now(epoch), recs...)
						})
					},
				}, n
			},
		},
		{
			name: "answers-without-a-last-look", hazard: "a write that the return has left behind in new is read, then gone",
			rule: "before a list is answered under new the fence comes last",
			in: scenario{state: stateOf("equal", 2), roles: []role{
				{name: "writer", step: ReadBoth, do: []operation{appends("a")}},
				{name: "tool", do: []operation{returns}},
				// In a process of its own, which has seen no later epoch meanwhile.
				{name: "lister", step: NewPrimary, do: []operation{lists(2)}},
			}},
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return bentOld{oldStore: o,
					list: func(after record.ID, limit int) (recordPage, store.Fence, error) {
						page, f, err := o.List(background, record.Filter{}, after, limit)
						if s.cur != nil && s.cur.name == "lister" && s.cur.seen.Epoch > 0 {
							f = s.cur.seen
						}
						return page, f, err
					},
					fence: func() (store.Fence, error) {
						if s.cur != nil && s.cur.name == "lister" && s.cur.seen.Epoch > 0 {
							return s.cur.seen, nil
						}
						f, err := o.Fence(background)
						if s.cur != nil {
							s.cur.seen = f
						}
						return f, err
					},
				}, n
			},
		},
		{
			name: "acknowledges-unconfirmed", hazard: "a commit on new is acknowledged although the primary has returned",
			rule: "a commit counts once its copy on old, or a look at the fence, has shown the same epoch", in: back,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return bentOld{oldStore: o, put: func(epoch int64, recs records) error {
					err := o.PutIfNewer(background, epoch, recs...)
					if s.step() == ReadBoth && errors.Is(err, store.ErrFenceMoved) {
						return nil
					}
					return err
				}}, n
			},
		},
		{
			name: "skipped-copy-confirms", hazard: "a write that no copy confirms is acknowledged although the primary has returned",
			rule: "where the copy on old is left to the relay, a look at the fence after the commit confirms", in: skipping,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				seen := map[*actor]store.Fence{}
				return bentOld{oldStore: o,
					get: func(ids []record.ID) (found, store.Fence, error) {
						recs, f, err := o.Get(background, ids...)
						seen[s.cur] = f
						return recs, f, err
					},
					fence: func() (store.Fence, error) {
						if f, ok := seen[s.cur]; ok && s.step() == ReadBoth {
							return f, nil
						}
						return o.Fence(background)
					},
				}, n
			},
		},
		{
			name: "skipped-copy-while-closing", hazard: "a write that no copy confirms is acknowledged after the last drain",
			rule: "where the copy on old is left to the relay, the fence must still be open", in: skipping,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return bentOld{oldStore: o, fence: func() (store.Fence, error) {
					f, err := o.Fence(background)
					if s.step() == ReadBoth {
						f.Closing = false
					}
					return f, err
				}}, n
			},
		},
		{
			name: "closing-counts-as-open", hazard: "an answer given while the primary moves speaks of what the return leaves behind",
			rule: "while the fence is closing, begin nothing and answer nothing", in: back, faults: 1,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				open := func(f store.Fence) store.Fence {
					if s.step() >= ReadBoth {
						f.Closing = false
					}
					return f
				}
				return bentOld{oldStore: o,
					get: func(ids []record.ID) (found, store.Fence, error) {
						recs, f, err := o.Get(background, ids...)
						return recs, open(f), err
					},
					fence: func() (store.Fence, error) {
						f, err := o.Fence(background)
						return open(f), err
					},
				}, n
			},
		},
		{
			name: "begins-while-closing", hazard: "none for data: writes that begin too late end as unknown, or their copy got to old in time",
			rule: "while the fence is closing, begin nothing", in: back, faults: 1, harmless: true,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return bentOld{oldStore: o, get: func(ids []record.ID) (found, store.Fence, error) {
					recs, f, err := o.Get(background, ids...)
					if s.cur != nil && s.step() >= ReadBoth && s.cur.name == "writer" {
						f.Closing = false
					}
					return recs, f, err
				}}, n
			},
		},
		{
			name: "reads-old-first", hazard: "a commit that came after the fence was seen, and that the return leaves behind, is read",
			rule: "a read takes new first, then old and the fence",
			in: scenario{state: stateOf("equal", 2), roles: []role{
				{name: "writer", step: ReadBoth, do: []operation{appends("a")}},
				{name: "tool", do: []operation{returns}},
				{name: "reader", step: ReadBoth, do: []operation{reads("a")}},
			}},
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return oldFirst(s, "reader", o, n)
			},
		},
		{
			name: "writes-old-first", hazard: "late writes build on one another and outrun what the returned primary acknowledges",
			rule: "a write, too, takes new first, then old and the fence",
			in: scenario{state: stateOf("equal", 2), roles: []role{
				{name: "writer", step: ReadBoth, do: []operation{appends("a")}},
				{name: "writer", step: ReadBoth, do: []operation{appends("a")}},
				{name: "tool", do: []operation{returns}},
				{name: "later", step: WriteBoth, apart: true, do: []operation{appends("a")}},
			}},
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return oldFirst(s, "writer", o, n)
			},
		},
	}
}

// oldFirst reads old and the fence before new, for actors of that name.
func oldFirst(s *scene, name string, o oldStore, n newStore) (oldStore, newStore) {
	kept := map[*actor]answer{}
	return bentOld{oldStore: o, get: func(ids []record.ID) (found, store.Fence, error) {
			v, ok := kept[s.cur]
			if !ok {
				return o.Get(background, ids...)
			}
			delete(kept, s.cur)
			return v.recs, v.fence, nil
		}}, bentNew{newStore: n, get: func(ids []record.ID) (found, error) {
			if s.cur != nil && s.cur.name == name {
				recs, f, err := o.Get(background, ids...)
				if err != nil {
					return nil, err
				}
				kept[s.cur] = answer{recs, f}
			}
			return n.Get(background, ids...)
		}}
}
