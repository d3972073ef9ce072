package storetest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
	"migrate.invalid/migrate/app/task"
)

func brokenNews() map[string]func(*altered) {
	return map[string]func(*altered){
		"PutIfNewer compares rev alone": func(a *altered) {
			a.put = a.putWhen(func(r, held Record) bool { return r.Rev > held.Rev })
		},
		"PutIfNewer compares epoch first": func(a *altered) {
			a.put = a.putWhen(func(r, held Record) bool {
				return held.ID == "" || r.Epoch > held.Epoch || r.Epoch == held.Epoch && r.Rev > held.Rev
			})
		},
		"PutIfNewer applies what is equal": func(a *altered) {
			a.put = a.putWhen(func(r, held Record) bool { return !held.Newer(r.Pair) })
		},
		"PutIfNewer takes a tombstone for absence": func(a *altered) {
			a.put = a.putWhen(func(r, held Record) bool { return held.Deleted || r.Newer(held.Pair) })
		},
		"PutIfNewer only ever inserts": func(a *altered) {
			a.put = a.putWhen(func(_, held Record) bool { return held.ID == "" })
		},
		"PutIfNewer copies pending": func(a *altered) {
			a.put = func(ctx context.Context, r Record) error {
				if r.Newer(a.held(ctx, r.ID).Pair) {
					return a.force(ctx, r)
				}
				return ctx.Err()
			}
		},
		"PutIfNewer keeps the pending of what it replaces": func(a *altered) {
			a.put = func(ctx context.Context, r Record) error {
				held := a.held(ctx, r.ID)
				if r.Newer(held.Pair) {
					r.Pending = held.Pending
					return a.force(ctx, r)
				}
				return ctx.Err()
			}
		},
		"PutIfNewer reads, then writes": func(a *altered) {
			a.put = func(ctx context.Context, r Record) error {
				newer := r.Newer(a.held(ctx, r.ID).Pair)
				dawdle()
				if newer {
					r.Pending = false
					return a.forceUnchecked(ctx, r)
				}
				return ctx.Err()
			}
		},
		"CompareAndSwap ignores the epoch": func(a *altered) {
			a.swap = func(ctx context.Context, r Record, expect store.Pair) error {
				if held := a.held(ctx, r.ID); held.Rev == expect.Rev {
					expect = held.Pair
				}
				return a.New.CompareAndSwap(ctx, r, expect)
			}
		},
		"CompareAndSwap takes a tombstone for absence": func(a *altered) {
			a.swap = func(ctx context.Context, r Record, expect store.Pair) error {
				if held := a.held(ctx, r.ID); held.Deleted && expect == (store.Pair{}) {
					expect = held.Pair
				}
				return a.New.CompareAndSwap(ctx, r, expect)
			}
		},
		"CompareAndSwap compares, then swaps": func(a *altered) {
			a.swap = func(ctx context.Context, r Record, expect store.Pair) error {
				if err := ctx.Err(); err != nil {
					return err
				}
				if a.held(ctx, r.ID).Pair != expect {
					return store.ErrConflict
				}
				dawdle()
				return a.forceUnchecked(ctx, r)
			}
		},
		"CompareAndSwap cannot unset pending": func(a *altered) {
			a.swap = func(ctx context.Context, r Record, expect store.Pair) error {
				r.Pending = r.Pending || a.held(ctx, r.ID).Pending
				return a.New.CompareAndSwap(ctx, r, expect)
			}
		},
		"a conflict that swaps all the same": func(a *altered) {
			a.swap = func(ctx context.Context, r Record, expect store.Pair) error {
				err := a.New.CompareAndSwap(ctx, r, expect)
				if err != nil && ctx.Err() == nil {
					_ = a.force(ctx, r)
				}
				return err
			}
		},
		"tombstones forget the request": func(a *altered) {
			a.swap = func(ctx context.Context, r Record, expect store.Pair) error {
				if r.Deleted {
					r.Request = ""
				}
				return a.New.CompareAndSwap(ctx, r, expect)
			}
		},
		"Get hides tombstones": func(a *altered) {
			a.get = func(ctx context.Context, ids ...record.ID) (map[record.ID]Record, error) {
				found, err := a.New.Get(ctx, ids...)
				for id, r := range found {
					if r.Deleted {
						delete(found, id)
					}
				}
				return found, err
			}
		},
		"an ended context is ignored": func(a *altered) {
			a.swap = func(ctx context.Context, r Record, expect store.Pair) error {
				return a.New.CompareAndSwap(context.WithoutCancel(ctx), r, expect)
			}
		},
		"Scan hides tombstones": func(a *altered) {
			a.scan = func(ctx context.Context, after record.ID, limit int) (Page, error) {
				return a.New.List(ctx, record.Filter{}, after, limit)
			}
		},
		"List shows tombstones": func(a *altered) {
			a.list = func(ctx context.Context, f record.Filter, after record.ID, limit int) (Page, error) {
				page, err := a.New.Scan(ctx, after, 1<<20)
				recs := slices.DeleteFunc(page.Records, func(r Record) bool { return !f.Match(r.ID, r.Body) })
				return store.PageOf(recs[:min(limit, len(recs))], limit), err
			}
		},
		"List filters after it has cut the page": func(a *altered) {
			a.list = func(ctx context.Context, f record.Filter, after record.ID, limit int) (Page, error) {
				page, err := a.New.Scan(ctx, after, limit)
				page.Records = slices.DeleteFunc(page.Records, func(r Record) bool { return r.Deleted || !f.Match(r.ID, r.Body) })
				return page, err
			}
		},
		"List matches assignees without case": func(a *altered) {
			a.list = func(ctx context.Context, f record.Filter, after record.ID, limit int) (Page, error) {
				page, err := a.New.List(ctx, selected(task.Filter{}), after, 1<<20)
				recs := slices.DeleteFunc(page.Records, func(r Record) bool {
					return slices.ContainsFunc(f.Equals(), func(e record.Equals) bool {
						if e.Field == "done" {
							return e.Value.Bool() != taskOf(r).Done
						}
						return !strings.EqualFold(e.Value.String(), taskOf(r).Assignee)
					})
				})
				return store.PageOf(recs[:min(limit, len(recs))], limit), err
			}
		},
		"pages by words, without case": func(a *altered) {
			a.reordered(func(x, y string) int { return strings.Compare(strings.ToLower(x), strings.ToLower(y)) })
		},
		"pages by UTF-16": func(a *altered) {
			a.reordered(func(x, y string) int { return slices.Compare(utf16.Encode([]rune(x)), utf16.Encode([]rune(y))) })
		},
		"no limit is no limit": func(a *altered) {
			a.scan = func(ctx context.Context, after record.ID, limit int) (Page, error) {
				if limit == 0 {
					limit = 1 << 20
				}
				return a.New.Scan(ctx, after, limit)
			}
		},
		"a page that was cut says that it is the end": func(a *altered) {
			a.page = func(p Page) Page {
				if len(p.Records) > 101 {
					p = Page{Records: p.Records[:101], End: true}
				}
				return p
			}
		},
		"a page that was cut leaves out what was cut off": func(a *altered) {
			a.page = func(p Page) Page { p.Records = p.Records[:min(101, len(p.Records))]; return p }
		},
		"the last page does not say so": func(a *altered) {
			a.page = func(p Page) Page {
				if p.End {
					p.End = false
					if n := len(p.Records); n > 0 {
						p.Next = p.Records[n-1].ID
					}
				}
				return p
			}
		},
		"the next page begins before the end of this one": func(a *altered) {
			a.page = func(p Page) Page {
				if n := len(p.Records); !p.End && n > 1 {
					p.Next = p.Records[n-2].ID
				}
				return p
			}
		},
		"text ends at a NUL": func(a *altered) {
			a.alterText(func(s string) string { s, _, _ = strings.Cut(s, "\x00"); return s })
		},
		"invalid UTF-8 is mended": func(a *altered) {
			a.alterText(func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") })
		},
		"large bodies are cut": func(a *altered) {
			a.alterText(func(s string) string { return s[:min(1<<19, len(s))] })
		},
		"numbers are floats": func(a *altered) {
			a.swap = func(ctx context.Context, r Record, expect store.Pair) error {
				r.Rev, r.Epoch = int64(float64(r.Rev)), int64(float64(r.Epoch))
				return a.New.CompareAndSwap(ctx, r, expect)
			}
		},
		"ClearPending ignores the pair": func(a *altered) {
			a.clear = func(ctx context.Context, m store.Mark) error {
				return a.New.ClearPending(ctx, a.held(ctx, m.ID).Mark())
			}
		},
		"ClearPending ignores the epoch": func(a *altered) {
			a.clear = func(ctx context.Context, m store.Mark) error {
				if held := a.held(ctx, m.ID); held.Rev == m.Rev {
					m = held.Mark()
				}
				return a.New.ClearPending(ctx, m)
			}
		},
		"the mirror can fall": func(a *altered) {
			var last store.Mirror
			a.raise = func(ctx context.Context, m store.Mirror) error {
				err := a.New.RaiseMirror(ctx, m)
				if err == nil {
					last = m
				}
				return err
			}
			a.mirror = func() store.Mirror { return last }
		},
		"the mirror takes what is equal": func(a *altered) {
			var last store.Mirror
			a.raise = func(ctx context.Context, m store.Mirror) error {
				err := a.New.RaiseMirror(ctx, m)
				if err == nil && m.Epoch >= last.Epoch {
					last = m
				}
				return err
			}
			a.mirror = func() store.Mirror { return last }
		},
		"strangers are let in": func(a *altered) {
			a.prepare = func(ctx context.Context, migration string) error {
				_ = a.New.Prepare(ctx, migration)
				return nil
			}
		},
		"progress outlives its epoch": func(a *altered) { a.epoch = func(int64) int64 { return 1 } },
		"what was compared adds up": func(a *altered) {
			a.compared = func(ctx context.Context, epoch int64, instance string, c map[string]store.Compared) error {
				p, err := a.New.Progress(ctx, epoch)
				if err != nil {
					return err
				}
				sum := maps.Clone(c)
				for name, counts := range p.Compared {
					counts.Equal += c[name].Equal
					sum[name] = counts
				}
				return a.New.SaveCompared(ctx, epoch, instance, sum)
			}
		},
		"the probe's record is seen": func(a *altered) {
			a.probe = func(ctx context.Context) error { return a.New.PutIfNewer(ctx, live("probe", 1, 1)) }
		},
	}
}

func TestBrokenNewIsCaught(t *testing.T) {
	all := brokenNews()
	maps.Copy(all, brokenShops())
	for name, breakIt := range all {
		t.Run(name, func(t *testing.T) {
			for _, c := range NewCases() {
				broken := &altered{New: memory.NewNew()}
				breakIt(broken)
				if found := fails[New](t.Context(), c, broken); len(found) > 0 {
					t.Logf("caught by %q: %.200s", c.Name, found[0])
					return
				}
			}
			t.Errorf("no case of the suite caught it")
		})
	}
}

// The wrapper itself must not be what is caught.
func TestUnalteredPasses(t *testing.T) {
	RunNew(t, func(*testing.T, record.Declaration) New { return &altered{New: memory.NewNew()} })
}

// Pages that break anywhere are as good as full ones.
func TestShortPagesPass(t *testing.T) {
	RunNew(t, func(*testing.T, record.Declaration) New {
		n := 0
		short := &altered{New: memory.NewNew()}
		short.page = func(p Page) Page {
			n++
			if size := 1 + n%3; len(p.Records) > size {
				p = Page{Records: p.Records[:size], Next: p.Records[size-1].ID}
			}
			return p
		}
		return short
	})
}
