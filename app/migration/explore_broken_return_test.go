package migration

import (
	"errors"
	"slices"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// brokenReturn are variants of the return of the primary.
func brokenReturn() []variant {
	stray := scenario{state: stateOf("equal", 2), roles: []role{
		{name: "tool", do: []operation{returns}},
		{name: "stray", step: StopOldWrites, apart: true, do: []operation{starts, appends("a")}},
	}}
	writer := scenario{state: stateOf("equal", 2), roles: []role{
		{name: "writer", step: ReadBoth, do: []operation{appends("a")}},
		{name: "tool", do: []operation{returns}},
	}}
	reopened := scenario{state: stateOf("equal", 2), roles: []role{
		{name: "writer", step: ReadBoth, do: []operation{appends("a")}},
		{name: "tool", do: []operation{returns}},
		{name: "clock", free: true, do: []operation{ticks}},
	}}
	return []variant{
		{
			name: "mirror-before-registration", hazard: "an instance at step 6 commits on new after the primary has returned",
			rule: "register first, then read the mirror", in: stray,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return o, bentNew{newStore: n,
					register: func(store.Registration) error { return nil },
					mirror: func() (store.Mirror, error) {
						m, err := n.Mirror(background)
						if err == nil && s.step() >= StopOldWrites {
							err = n.Register(background, store.Registration{Instance: s.cur.in.name})
						}
						return m, err
					},
				}
			},
		},
		{
			name: "registrations-not-read-again", hazard: "an instance that registered during the return commits on new",
			rule: "read the registrations once more after the mirror has moved", in: stray,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				moved := false
				return o, bentNew{newStore: n,
					raise: func(m store.Mirror) error {
						moved = moved || m.Primary == store.PrimaryOld
						return n.RaiseMirror(background, m)
					},
					registrations: func() ([]store.Registration, error) {
						if moved {
							return nil, nil
						}
						return n.Registrations(background)
					},
				}
			},
		},
		{
			name: "mirror-after-fence", hazard: "an instance at step 6 starts on a mirror that the fence has left",
			rule: "the mirror moves before the primary returns", in: stray,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				var owed store.Mirror
				return bentOld{oldStore: o, move: func(from, to store.Fence) error {
						err := o.MoveFence(background, from, to)
						if err == nil && to.Primary == store.PrimaryOld {
							err = n.RaiseMirror(background, owed)
						}
						return err
					}}, bentNew{newStore: n, raise: func(m store.Mirror) error {
						if m.Primary == store.PrimaryOld {
							owed = m
							return nil
						}
						return n.RaiseMirror(background, m)
					}}
			},
		},
		{
			name: "step-six-reads-the-fence", hazard: "a step 6 that takes old's fence for the mirror commits after the return",
			rule: "steps 6 to 8 act on the mirror, never on old's fence", in: stray,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return o, bentNew{newStore: n, mirror: func() (store.Mirror, error) {
					if s.step() < StopOldWrites {
						return n.Mirror(background)
					}
					f, err := o.Fence(background)
					return store.Mirror{Migration: f.Migration, Epoch: f.Epoch, Primary: f.Primary}, err
				}}
			},
		},
		{
			name: "no-drain-after-the-last-look", hazard: "what an instance wrote that registered and ended during the return is left behind",
			rule: "drain once more after the registrations were read again", in: stray,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				moved := false
				return o, bentNew{newStore: n,
					raise: func(m store.Mirror) error {
						moved = moved || m.Primary == store.PrimaryOld
						return n.RaiseMirror(background, m)
					},
					pending: func(after record.ID, limit int) (recordPage, error) {
						if moved && s.cur != nil && s.cur.name == "tool" {
							return recordPage{End: true}, nil
						}
						return n.Pending(background, after, limit)
					},
				}
			},
		},
		{
			name: "no-closing", hazard: "a write is acknowledged between the drain and the return, and left behind",
			rule: "the fence closes before the drain", in: writer, faults: 1,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return bentOld{oldStore: o, move: func(from, to store.Fence) error {
					if to.Closing {
						return nil
					}
					return o.MoveFence(background, reopenedFence(from), to)
				}}, n
			},
		},
		{
			name: "no-drain-while-closing", hazard: "a write whose copy on old failed is left behind",
			rule: "drain until a read that began after the closing finds nothing", in: writer, faults: 1,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return o, bentNew{newStore: n, pending: func(after record.ID, limit int) (recordPage, error) {
					if f, _ := s.old.Fence(background); f.Closing {
						return recordPage{End: true}, nil
					}
					return n.Pending(background, after, limit)
				}}
			},
		},
		{
			name: "last-move-without-token", hazard: "a tool that was given up returns the primary after others have written again",
			rule: "the last move is a compare-and-swap on the token", in: reopened, faults: 1,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return bentOld{oldStore: o, move: func(from, to store.Fence) error {
					if to.Primary != store.PrimaryOld {
						return o.MoveFence(background, from, to)
					}
					return act(s, point{db: store.PrimaryOld, op: "MoveFence", writes: true}, to, func() error {
						now, _ := s.old.Fence(background)
						return s.old.MoveFence(background, now, to)
					})
				}}, n
			},
		},
		{
			name: "step-six-leaves-nothing-pending", hazard: "the way back doesn't know what to send",
			rule: "at steps 6 to 8 pending stays set",
			in: scenario{state: stateOf("equal", 2), roles: []role{
				{name: "writer", step: StopOldWrites, do: []operation{appends("a")}},
			}},
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return o, bentNew{newStore: n, cas: func(rec store.Record, expect store.Pair) error {
					rec.Pending = rec.Pending && s.step() < StopOldWrites
					return n.CompareAndSwap(background, rec, expect)
				}}
			},
		},
	}
}

func reopenedFence(f store.Fence) store.Fence {
	f.Closing, f.Token = false, ""
	return f
}

// brokenCopies are variants of the relay, the backfill and the outbox.
func brokenCopies() []variant {
	relayed := scenario{state: stateOf("final", 2), roles: []role{
		{name: "relay", step: ReadBoth, do: []operation{relays}},
	}}
	return []variant{
		{
			name: "cleared-too-early", hazard: "a relay that dies between has forgotten what it was to send",
			rule: "pending is cleared once the other database has it", in: relayed, faults: 1,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return bentOld{oldStore: o, put: func(epoch int64, recs records) error {
					if err := n.ClearPending(background, marks(recs)...); err != nil {
						return err
					}
					return o.PutIfNewer(background, epoch, recs...)
				}}, n
			},
		},
		{
			name: "falls-through", hazard: "a write of unknown outcome is made in the other database too, and forks",
			rule: "an unknown outcome is not a failure: never fall through", faults: 1,
			in: scenario{state: stateOf("equal", 2), roles: []role{
				{name: "writer", step: ReadBoth, do: []operation{appends("a")}},
				{name: "writer", step: ReadBoth, do: []operation{appends("a")}},
			}},
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return o, bentNew{newStore: n, cas: func(rec store.Record, expect store.Pair) error {
					err := n.CompareAndSwap(background, rec, expect)
					if !errors.Is(err, store.ErrUnknown) {
						return err
					}
					held, f, gerr := o.Get(background, rec.ID)
					if gerr != nil {
						return err
					}
					return o.CompareAndSwap(background, f.Epoch, rec, held[rec.ID].Pair)
				}}
			},
		},
		{
			name: "page-under-another-epoch", hazard: "an old page, stamped final, hides a write that old still took",
			rule: "a page is stamped with the epoch it was read under",
			in: scenario{state: stateOf("equal", 1), roles: []role{
				{name: "foreign program", do: []operation{foreign("a")}},
				{name: "backfill", do: []operation{backfills(3)}},
				{name: "flip", step: NewPrimary, do: []operation{flips}},
				{name: "reader", step: NewPrimary, do: []operation{reads("a")}},
			}},
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				early := map[*actor]recordPage{}
				return bentOld{oldStore: o,
					fence: func() (store.Fence, error) { // read before the fence, not with it
						if s.cur != nil && s.cur.name == "backfill" {
							early[s.cur], _, _ = o.Scan(background, "", 3)
						}
						return o.Fence(background)
					},
					scan: func(after record.ID, limit int) (recordPage, store.Fence, error) {
						page, early := early[s.cur], s.cur != nil
						if !early {
							return o.Scan(background, after, limit)
						}
						f, err := o.Fence(background)
						page.Records = slices.Clone(page.Records)
						return page, f, err
					},
				}, n
			},
		},
		{
			name: "mark-without-its-last-page", hazard: "step 8 lacks what only the last page had",
			rule: "the completion mark follows the last page",
			in: scenario{state: stateOf("only-old", 2), roles: []role{
				{name: "backfill", do: []operation{backfills(3)}},
				{name: "reader", step: Backfill, apart: true, do: []operation{starts, reads("a")}},
			}},
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return bentOld{oldStore: o, scan: func(after record.ID, limit int) (recordPage, store.Fence, error) {
					page, f, err := o.Scan(background, after, limit)
					if page.End {
						page.Records = nil
					}
					return page, f, err
				}}, n
			},
		},
		{
			name: "mark-of-another-epoch", hazard: "a mark from before the primary returned hides what old has taken since",
			rule: "the completion mark counts for its epoch alone",
			in: scenario{state: stateOf("late-copy", 4), roles: []role{
				{name: "reader", step: StopOldWrites, do: []operation{reads("a"), appends("a")}},
			}},
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return o, bentNew{newStore: n, progress: func(epoch int64) (store.Progress, error) {
					p, err := n.Progress(background, epoch)
					if epoch == 4 {
						p.Complete = true // of epoch 2
					}
					return p, err
				}}
			},
		},
		{
			name: "mark-read-after-new", hazard: "an absence that was read before the last page came is taken for final",
			rule: "the completion mark is read before new",
			in: scenario{state: stateOf("only-old", 2), roles: []role{
				{name: "reader", step: StopOldWrites, do: []operation{reads("a")}},
				{name: "backfill", do: []operation{backfills(2)}},
			}},
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				final := map[*actor]bool{}
				return bentOld{oldStore: o, get: func(ids []record.ID) (found, store.Fence, error) {
						if final[s.cur] {
							f, _ := s.old.Fence(background)
							return found{}, f, nil
						}
						return o.Get(background, ids...)
					}}, bentNew{newStore: n, get: func(ids []record.ID) (found, error) {
						recs, err := n.Get(background, ids...)
						if err == nil && s.step() == StopOldWrites {
							p, _ := n.Progress(background, s.epoch())
							final[s.cur] = p.Complete
						}
						return recs, err
					}}
			},
		},
	}
}

func variants() []variant {
	all := append(brokenOrder(), brokenFence()...)
	all = append(append(all, brokenReturn()...), brokenCopies()...)
	return append(append(all, brokenLegacy()...), brokenEpochs()...)
}
