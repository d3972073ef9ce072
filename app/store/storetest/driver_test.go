package storetest_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
	"migrate.invalid/migrate/app/store/storetest"
)

// The driver of docs/driver.md: the page quotes this file, and a test compares.

// Boxes is a [store.New] that keeps each record as one text under one key, as
// a key-value database would. What it keeps about the migration itself it leaves
// to the store in memory.
type Boxes struct {
	store.New // for its NewMeta and Close

	declared record.Declaration
	mu       sync.Mutex
	boxes    map[string]box // by the canonical encoding of the id
}

// box is what is stored of one record.
type box struct {
	pair             store.Pair
	pending, deleted bool
	request          string
	values           []string // the canonical encoding of each
}

// NewBoxes returns an empty store of a declaration.
func NewBoxes(d record.Declaration) *Boxes {
	return &Boxes{New: memory.NewNew(), declared: d, boxes: map[string]box{}}
}

// pack refuses what would not come back: here, text that is not UTF-8.
func (b *Boxes) pack(r store.Record) (box, error) {
	c, ok := b.declared.Collection(r.ID.Collection())
	if !ok {
		return box{}, fmt.Errorf("%w: there is no collection %q", store.ErrUnfit, r.ID.Collection())
	}
	packed := box{pair: r.Pair, pending: r.Pending, deleted: r.Deleted, request: r.Request}
	if r.Deleted {
		return packed, nil
	}
	if err := c.Check(r.ID, r.Body); err != nil {
		return box{}, err
	}
	for n, v := range r.Body.Values() {
		if v.Type() == record.Text && !utf8.ValidString(v.String()) {
			return box{}, fmt.Errorf("%w: collection %s, id %s, field %s: not valid UTF-8", store.ErrUnfit, c.Name, r.ID, c.Body()[n].Name)
		}
		packed.values = append(packed.values, string(v.AppendCanonical(nil)))
	}
	return packed, nil
}

func (b *Boxes) unpack(key string) store.Record {
	packed := b.boxes[key]
	return store.Record{
		ID: record.ID(key), Pair: packed.pair, Pending: packed.pending, Deleted: packed.deleted, Request: packed.request,
		Body: record.Body(strings.Join(packed.values, "")),
	}
}

// Get implements [store.New].
func (b *Boxes) Get(ctx context.Context, ids ...record.ID) (map[record.ID]store.Record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := map[record.ID]store.Record{}
	for _, id := range ids {
		if _, ok := b.boxes[string(id)]; ok {
			found[id] = b.unpack(string(id))
		}
	}
	return found, ctx.Err()
}

// CompareAndSwap implements [store.New].
func (b *Boxes) CompareAndSwap(ctx context.Context, r store.Record, expect store.Pair) error {
	packed, err := b.pack(r)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err // it has had no effect
	}
	if held := b.boxes[string(r.ID)].pair; held != expect {
		return fmt.Errorf("%w: %s is at %v, not %v", store.ErrConflict, r.ID, held, expect)
	}
	b.boxes[string(r.ID)] = packed
	return nil
}

// PutIfNewer implements [store.New].
func (b *Boxes) PutIfNewer(ctx context.Context, recs ...store.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, r := range recs {
		r.Pending = false // a copy is never to be sent on
		packed, err := b.pack(r)
		if err != nil {
			return err
		}
		if r.Newer(b.boxes[string(r.ID)].pair) {
			b.boxes[string(r.ID)] = packed
		}
	}
	return nil
}

// page walks all collections in their one order; the encoding of ids has it.
func (b *Boxes) page(ctx context.Context, after record.ID, limit int, wanted func(store.Record) bool) (store.Page, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var keys []string
	for key := range b.boxes {
		if key > string(after) && wanted(b.unpack(key)) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	limit = max(limit, 1)
	var found []store.Record
	for _, key := range keys[:min(limit, len(keys))] {
		found = append(found, b.unpack(key))
	}
	return store.PageOf(found, limit), ctx.Err()
}

// List implements [store.New].
func (b *Boxes) List(ctx context.Context, f record.Filter, after record.ID, limit int) (store.Page, error) {
	return b.page(ctx, after, limit, func(r store.Record) bool { return !r.Deleted && f.Match(r.ID, r.Body) })
}

// Pending implements [store.New].
func (b *Boxes) Pending(ctx context.Context, after record.ID, limit int) (store.Page, error) {
	return b.page(ctx, after, limit, func(r store.Record) bool { return r.Pending })
}

// Scan implements [store.New].
func (b *Boxes) Scan(ctx context.Context, after record.ID, limit int) (store.Page, error) {
	return b.page(ctx, after, limit, func(store.Record) bool { return true })
}

// CountPending implements [store.New].
func (b *Boxes) CountPending(ctx context.Context) (int64, error) {
	page, err := b.Pending(ctx, "", 1<<30)
	return int64(len(page.Records)), err
}

// Count implements [store.New].
func (b *Boxes) Count(ctx context.Context) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int64(len(b.boxes)), ctx.Err()
}

// ClearPending implements [store.New].
func (b *Boxes) ClearPending(ctx context.Context, marks ...store.Mark) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, m := range marks {
		if packed, ok := b.boxes[string(m.ID)]; ok && packed.pair == m.Pair {
			packed.pending = false
			b.boxes[string(m.ID)] = packed
		}
	}
	return nil
}

func TestBoxes(t *testing.T) {
	storetest.RunNew(t, func(t *testing.T, d record.Declaration) store.New {
		return NewBoxes(d)
	})
}

// What the page shows compiles and passes the suite, because it is a part of this file.
func TestDriverPage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/driver.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("driver_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```go\n")[1:]
	if len(blocks) < 4 {
		t.Fatalf("%d blocks of code were found", len(blocks))
	}
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		if !strings.Contains(string(code), block) {
			t.Errorf("this block is not in driver_test.go:\n%s", block)
		}
	}
	// Every sentinel of the stores is explained.
	for name, sentinel := range map[string]error{
		"ErrConflict": store.ErrConflict, "ErrFenceMoved": store.ErrFenceMoved, "ErrUnavailable": store.ErrUnavailable, "ErrUnknown": store.ErrUnknown,
		"ErrUnfit": store.ErrUnfit, "ErrRule": store.ErrRule, "ErrStranger": store.ErrStranger,
	} {
		if sentinel == nil || !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("the page doesn't say what %s means", name)
		}
	}
}
