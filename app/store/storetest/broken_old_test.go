package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
)

// alteredOld is an old database in memory with some of its calls replaced.
type alteredOld struct {
	Old
	swap     func(ctx context.Context, epoch int64, r Record, expect store.Pair) error
	put      func(ctx context.Context, epoch int64, recs ...Record) error
	move     func(ctx context.Context, from, to store.Fence) error
	scanned  func(store.Fence) store.Fence // the fence that Scan returns
	isolate  func(ctx context.Context, epoch int64, m store.Mark, reason string) error
	together func(ctx context.Context, epoch int64, recs ...Record) error
}

func (a *alteredOld) CompareAndSwap(ctx context.Context, epoch int64, r Record, expect store.Pair) error {
	if a.swap != nil {
		return a.swap(ctx, epoch, r, expect)
	}
	return a.Old.CompareAndSwap(ctx, epoch, r, expect)
}

func (a *alteredOld) PutIfNewer(ctx context.Context, epoch int64, recs ...Record) error {
	if a.put != nil {
		return a.put(ctx, epoch, recs...)
	}
	return a.Old.PutIfNewer(ctx, epoch, recs...)
}

func (a *alteredOld) MoveFence(ctx context.Context, from, to store.Fence) error {
	if a.move != nil {
		return a.move(ctx, from, to)
	}
	return a.Old.MoveFence(ctx, from, to)
}

func (a *alteredOld) Scan(ctx context.Context, after record.ID, limit int) (Page, store.Fence, error) {
	recs, f, err := a.Old.Scan(ctx, after, limit)
	if a.scanned != nil {
		f = a.scanned(f)
	}
	return recs, f, err
}

func (a *alteredOld) Isolate(ctx context.Context, epoch int64, m store.Mark, reason string) error {
	if a.isolate != nil {
		return a.isolate(ctx, epoch, m, reason)
	}
	return a.Old.Isolate(ctx, epoch, m, reason)
}

func (a *alteredOld) PutTogether(ctx context.Context, epoch int64, recs ...Record) error {
	if a.together != nil {
		return a.together(ctx, epoch, recs...)
	}
	return a.Old.PutTogether(ctx, epoch, recs...)
}

// Unwrap lets what else the database in memory offers be found.
func (a *alteredOld) Unwrap() store.Old { return a.Old }

// Unique implements [Ruler].
func (a *alteredOld) Unique(_ T, collection, field string) {
	a.Old.(*memory.Old).Enforce(func(records map[record.ID]Record) error {
		seen := map[string]record.ID{}
		for id, r := range records {
			if r.Deleted || id.Collection() != collection {
				continue
			}
			text := taskOf(r).Assignee // the only field that the suite names
			if _, taken := seen[text]; taken {
				return fmt.Errorf("%s %q is there twice", field, text)
			}
			seen[text] = id
		}
		return nil
	})
}

func (a *alteredOld) now(ctx context.Context) store.Fence {
	f, _ := a.Old.Fence(ctx)
	return f
}

// anyEpoch makes the writes accept each epoch that ok accepts.
func (a *alteredOld) anyEpoch(ok func(ctx context.Context, epoch int64) bool) {
	under := func(ctx context.Context, epoch int64) int64 {
		if ok(ctx, epoch) {
			return a.now(ctx).Epoch
		}
		return epoch
	}
	a.swap = func(ctx context.Context, epoch int64, r Record, expect store.Pair) error {
		return a.Old.CompareAndSwap(ctx, under(ctx, epoch), r, expect)
	}
	a.put = func(ctx context.Context, epoch int64, recs ...Record) error {
		return a.Old.PutIfNewer(ctx, under(ctx, epoch), recs...)
	}
}

func brokenOlds() map[string]func(*alteredOld) {
	return map[string]func(*alteredOld){
		"no fence": func(a *alteredOld) {
			a.anyEpoch(func(context.Context, int64) bool { return true })
		},
		"the fence is checked by its primary": func(a *alteredOld) {
			// In this suite odd epochs name old, even ones new.
			a.anyEpoch(func(ctx context.Context, epoch int64) bool {
				return epoch%2 == 1 == (a.now(ctx).Primary == store.PrimaryOld)
			})
		},
		"an earlier epoch will do": func(a *alteredOld) {
			a.anyEpoch(func(ctx context.Context, epoch int64) bool { return epoch < a.now(ctx).Epoch })
		},
		"a later epoch will do": func(a *alteredOld) {
			a.anyEpoch(func(ctx context.Context, epoch int64) bool { return epoch > a.now(ctx).Epoch })
		},
		"the fence is checked before the transaction": func(a *alteredOld) {
			a.swap = func(ctx context.Context, epoch int64, r Record, expect store.Pair) error {
				if a.now(ctx).Epoch != epoch {
					return store.ErrFenceMoved
				}
				dawdle()
				if err := a.Old.CompareAndSwap(ctx, a.now(ctx).Epoch, r, expect); err != nil {
					return err
				}
				return nil
			}
		},
		"PutIfNewer is not fenced": func(a *alteredOld) {
			a.put = func(ctx context.Context, _ int64, recs ...Record) error {
				return a.Old.PutIfNewer(ctx, a.now(ctx).Epoch, recs...)
			}
		},
		"closing refuses replication": func(a *alteredOld) {
			a.put = func(ctx context.Context, epoch int64, recs ...Record) error {
				if a.now(ctx).Closing {
					return store.ErrFenceMoved
				}
				return a.Old.PutIfNewer(ctx, epoch, recs...)
			}
		},
		"MoveFence compares the epoch alone": func(a *alteredOld) {
			a.move = func(ctx context.Context, from, to store.Fence) error {
				if now := a.now(ctx); now.Epoch == from.Epoch {
					from = now
				}
				return a.Old.MoveFence(ctx, from, to)
			}
		},
		"MoveFence ignores the token": func(a *alteredOld) {
			a.move = func(ctx context.Context, from, to store.Fence) error {
				from.Token = a.now(ctx).Token
				return a.Old.MoveFence(ctx, from, to)
			}
		},
		"MoveFence compares, then moves": func(a *alteredOld) {
			a.move = func(ctx context.Context, from, to store.Fence) error {
				if now := a.now(ctx); now.Epoch != from.Epoch || now.Primary != from.Primary || now.Closing != from.Closing || now.Token != from.Token {
					return store.ErrFenceMoved
				}
				dawdle()
				for a.Old.MoveFence(ctx, a.now(ctx), to) != nil {
				}
				return nil
			}
		},
		"MoveFence forgets the deadline": func(a *alteredOld) {
			a.move = func(ctx context.Context, from, to store.Fence) error {
				to.Deadline = store.Fence{}.Deadline
				return a.Old.MoveFence(ctx, from, to)
			}
		},
		"a page comes with the fence of before": func(a *alteredOld) {
			a.scanned = func(f store.Fence) store.Fence {
				f.Epoch = 1
				return f
			}
		},
		"Isolate takes another copy": func(a *alteredOld) {
			a.isolate = func(ctx context.Context, epoch int64, m store.Mark, reason string) error {
				found, _, _ := a.Old.Get(ctx, m.ID)
				if held, ok := found[m.ID]; ok {
					m = held.Mark()
				}
				return a.Old.Isolate(ctx, epoch, m, reason)
			}
		},
		"Isolate changes the pair": func(a *alteredOld) {
			a.isolate = func(ctx context.Context, epoch int64, m store.Mark, reason string) error {
				found, _, _ := a.Old.Get(ctx, m.ID)
				if r, ok := found[m.ID]; ok && r.Pair == m.Pair {
					r.Rev++
					_ = a.Old.CompareAndSwap(ctx, epoch, r, m.Pair)
					m = r.Mark()
				}
				return a.Old.Isolate(ctx, epoch, m, reason)
			}
		},
		"Isolate leaves a tombstone": func(a *alteredOld) {
			a.isolate = func(ctx context.Context, epoch int64, m store.Mark, _ string) error {
				r := Record{ID: m.ID, Pair: pair(m.Rev+1, epoch), Deleted: true, Pending: true}
				return a.Old.CompareAndSwap(ctx, epoch, r, m.Pair)
			}
		},
		"Isolate marks nothing": func(a *alteredOld) {
			a.isolate = func(ctx context.Context, epoch int64, m store.Mark, _ string) error {
				found, f, _ := a.Old.Get(ctx, m.ID)
				if r, ok := found[m.ID]; !ok || r.Pair != m.Pair || f.Epoch != epoch {
					return store.ErrConflict
				}
				return a.Old.ClearPending(ctx, m)
			}
		},
		"Isolate is not fenced": func(a *alteredOld) {
			a.isolate = func(ctx context.Context, _ int64, m store.Mark, reason string) error {
				return a.Old.Isolate(ctx, a.now(ctx).Epoch, m, reason)
			}
		},
		"a rule is a value that does not fit": func(a *alteredOld) {
			a.put = func(ctx context.Context, epoch int64, recs ...Record) error {
				err := a.Old.PutIfNewer(ctx, epoch, recs...)
				if errors.Is(err, store.ErrRule) {
					return store.ErrUnfit
				}
				return err
			}
		},
		"PutTogether puts in one by one": func(a *alteredOld) {
			a.together = func(ctx context.Context, epoch int64, recs ...Record) error {
				for _, r := range recs {
					if err := a.Old.PutIfNewer(ctx, epoch, r); err != nil {
						return &store.Refusal{ID: r.ID, Err: err}
					}
				}
				return nil
			}
		},
		"PutTogether leaves the good ones behind": func(a *alteredOld) {
			a.together = func(ctx context.Context, epoch int64, recs ...Record) error {
				err := a.Old.PutTogether(ctx, epoch, recs...)
				if errors.Is(err, store.ErrRule) {
					_ = a.Old.PutIfNewer(ctx, epoch, recs[0])
				}
				return err
			}
		},
		"PutTogether overwrites what is newer": func(a *alteredOld) {
			a.together = func(ctx context.Context, epoch int64, recs ...Record) error {
				for _, r := range recs {
					found, _, _ := a.Old.Get(ctx, r.ID)
					if held := found[r.ID]; held.Newer(r.Pair) {
						_ = a.Old.CompareAndSwap(ctx, epoch, r, held.Pair)
					}
				}
				return a.Old.PutTogether(ctx, epoch, recs...)
			}
		},
		"PutTogether is not fenced": func(a *alteredOld) {
			a.together = func(ctx context.Context, _ int64, recs ...Record) error {
				return a.Old.PutTogether(ctx, a.now(ctx).Epoch, recs...)
			}
		},
	}
}

func TestBrokenOldIsCaught(t *testing.T) {
	for name, breakIt := range brokenOlds() {
		t.Run(name, func(t *testing.T) {
			for _, c := range OldCases() {
				broken := &alteredOld{Old: memory.NewOld(migrationID)}
				breakIt(broken)
				if found := fails[Old](t.Context(), c, broken); len(found) > 0 {
					t.Logf("caught by %q: %.200s", c.Name, found[0])
					return
				}
			}
			t.Errorf("no case of the suite caught it")
		})
	}
}

// The wrapper itself must not be what is caught.
func TestUnalteredOldPasses(t *testing.T) {
	RunOld(t, func(*testing.T, record.Declaration) Old { return &alteredOld{Old: memory.NewOld(migrationID)} })
}
