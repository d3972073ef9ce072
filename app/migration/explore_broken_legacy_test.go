package migration

import (
	"slices"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// brokenLegacy are variants of how a legacy database is taken over, and of what one
// of the two can't hold.
func brokenLegacy() []variant {
	return []variant{
		{
			name: "(1,0)-is-not-made-real", hazard: "a write to a record that the protocol does not know yet overwrites it as if there were none",
			rule: "whoever touches a record without a companion first makes (1,0) real, in the same transaction",
			in: scenario{state: stateOf("legacy", 1), legacy: legacy{unknown: true}, roles: []role{
				{name: "writer", step: DeployNew, do: []operation{appends("a")}},
			}},
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return bentOld{oldStore: o,
					get: func(ids []record.ID) (found, store.Fence, error) {
						recs, f, err := o.Get(background, ids...)
						if s.legacy.unknown {
							delete(recs, recordIDs["a"])
						}
						return recs, f, err
					},
					cas: func(epoch int64, rec store.Record, expect store.Pair) error {
						if s.legacy.unknown && rec.ID == recordIDs["a"] && expect == (store.Pair{}) {
							expect = store.Pair{Rev: 1}
						}
						return o.CompareAndSwap(background, epoch, rec, expect)
					},
				}, n
			},
		},
		{
			name: "sends-before-all-is-known", hazard: "a record that a program removes, and that the protocol did not know yet, comes back from new",
			rule: "nothing is sent to new, and the primary does not move, before every record is known",
			in: scenario{state: stateOf("legacy", 1), legacy: legacy{unknown: true}, roles: []role{
				{name: "backfill", do: []operation{backfills(3)}},
				{name: "foreign program", do: []operation{replaced("a")}},
				{name: "flip", step: NewPrimary, do: []operation{flips}},
				{name: "reader", step: NewPrimary, do: []operation{reads("a")}},
			}},
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return bentOld{oldStore: o, filled: func() error { return nil }}, n
			},
		},
		{
			name: "flips-without-a-look-at-the-guards", hazard: "what a program changed after it had rebuilt the table is hidden behind new's copy of the same pair",
			rule: "guards and filling are looked at before every flip, and again in the transaction that makes it; after a gap every record counts as changed",
			in: scenario{state: stateOf("equal", 1), roles: []role{
				{name: "foreign program", do: []operation{unseen("a")}},
				{name: "flip", step: NewPrimary, do: []operation{flips, appends("a")}},
				{name: "reader", step: NewPrimary, do: []operation{reads("a")}},
			}},
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return bentOld{oldStore: o, guarded: func() error { return nil }, move: func(from, to store.Fence) error {
					return act(s, point{db: store.PrimaryOld, op: "MoveFence", writes: true}, to, func() error {
						return s.old.MoveFence(background, from, to)
					})
				}}, n
			},
		},
		{
			name: "decision-by-omission", hazard: "old, primary again, acknowledges a change of a record that it could not take from new; at the next flip new's copy is newer",
			rule: "what old can't hold keeps the primary from returning; only a write through the primary decides on it",
			in: scenario{state: stateOf("equal", 2), legacy: legacy{rules: true}, roles: []role{
				{name: "writer", step: ReadBoth, do: []operation{takes("c", "B")}},
				{name: "tool", do: []operation{returns}},
				{name: "later", step: WriteBoth, apart: true, do: []operation{appends("c")}},
			}},
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return o, bentNew{newStore: n, pending: func(after record.ID, limit int) (recordPage, error) {
					page, err := n.Pending(background, after, limit)
					if s.step() == 0 {
						page.Records = slices.DeleteFunc(page.Records, func(r store.Record) bool { return r.ID == recordIDs["c"] })
					}
					return page, err
				}}
			},
		},
		{
			name: "never-tried-again", hazard: "what followed a deletion, or swapped its value with another record, keeps the primary from returning for good",
			rule: "what old refuses is tried again, together and in one transaction",
			in: scenario{state: stateOf("equal", 2), legacy: legacy{rules: true}, roles: []role{
				{name: "writer", step: ReadBoth, do: []operation{takes("c", "C"), deletes("c"), takes("b", "C")}},
				{name: "relay", step: ReadBoth, do: []operation{relays}},
			}},
			faults: 1,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				refused := map[store.Mark]error{}
				put := func(epoch int64, recs records) error {
					for _, r := range recs {
						if err := refused[r.Mark()]; err != nil {
							return &store.Refusal{ID: r.ID, Err: err}
						}
					}
					err := o.PutIfNewer(background, epoch, recs...)
					if refuses(err) && len(recs) == 1 {
						refused[recs[0].Mark()] = err
					}
					return err
				}
				return bentOld{oldStore: o, put: put, together: put}, n
			},
		},
		{
			name: "a-collection-left-out", hazard: "what was acknowledged in a collection that the tool does not know stays behind in new",
			rule: "every process has the same declaration; the drain goes over all collections",
			in: scenario{state: stateOf("equal", 2), skips: true, roles: []role{
				{name: "writer", step: ReadBoth, do: []operation{appends("b")}},
				{name: "tool", do: []operation{returns}},
				{name: "reader", step: WriteBoth, apart: true, do: []operation{reads("b")}},
			}},
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				return o, bentNew{newStore: n, pending: func(after record.ID, limit int) (recordPage, error) {
					page, err := n.Pending(background, after, limit)
					if s.step() == 0 {
						page.Records = slices.DeleteFunc(page.Records, func(r store.Record) bool { return r.ID.Collection() == "second" })
					}
					return page, err
				}}
			},
		},
	}
}

// brokenEpochs are variants of what a process does about a database that was put
// back, and about somebody's word that it is no more.
func brokenEpochs() []variant {
	word := scenario{state: stateOf("equal", 2), roles: []role{
		{name: "six", step: StopOldWrites, do: []operation{appends("a")}},
		{name: "tool", do: []operation{returnsOnWord}},
		{name: "reader", step: WriteBoth, apart: true, do: []operation{reads("a")}},
	}}
	return []variant{
		{
			name: "believes-a-lower-epoch", hazard: "old, put back from a backup, answers with the past, and takes writes that are gone when the newer file is brought back",
			rule: "no process acts on a fence or a mirror whose epoch is lower than one that it has seen",
			in: scenario{state: stateOf("equal", 2), roles: []role{
				{name: "backup", do: []operation{putsBack, bringsBack}},
				{name: "writer", step: ReadBoth, do: []operation{appends("a"), appends("a")}},
			}},
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				s.credulous = true
				return o, n
			},
		},
		{
			name: "answers-on-an-old-look", hazard: "an instance at step 6 that was declared gone, and wakes, acknowledges a commit that no drain has seen",
			rule: "an answer at steps 6 to 8 needs a look at mirror and registration that is at most a second old, else a new one, after the commit",
			in:   word,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				s.stopped = true
				return o, n
			},
		},
		{
			name: "no-wait-after-somebodys-word", hazard: "the same, by an instance whose look is young: the primary moves before that look is too old",
			rule: "a return that takes a registration away on the operator's word waits for longer than a look counts",
			in:   word,
			apply: func(s *scene, o oldStore, n newStore) (oldStore, newStore) {
				s.hasty = true
				return o, n
			},
		},
	}
}

// The waits of the tool end at once where that rule is switched off.
func (s *scene) hurry(d time.Duration) time.Duration {
	if s.hasty {
		return 0
	}
	return d
}
