package storetest

import (
	"errors"
	"fmt"
	"strings"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/task"
)

func contentCases() []Case[Records] {
	return []Case[Records]{
		{Name: "text comes back byte for byte", Run: textRoundTrip},
		{Name: "large revs and epochs come back", Run: largeNumbers},
		{Name: "a megabyte comes back", Run: megabyte},
		{Name: "what can't be held is refused and leaves no trace", Run: heldOrUnfit},
	}
}

func textRoundTrip(t T, s Records) {
	var want []Record
	for i, text := range []string{
		"", " ", "it's", `"quoted"`, `back\slash`, "a\x00b", "\x00", "tab\tline\r\nfeed\v\f\x1b\x7f", "\uFEFFbom",
		"été", "e\u0301te\u0301", "日本語", "🎉👩‍👩‍👧‍👦", "\U0010FFFF", "\uFFFD\uFFFE\uFFFF", "\u202Eright to left", "$set", "a.b", "%s %d", "?1 :id @x",
		"NULL", "0", "1", "true", "1e400", "0x10", "{\"$gt\":\"\"}", "'; DROP TABLE tasks; --", strings.Repeat("é", 10_000),
	} {
		r := pending(live(fmt.Sprintf("%02d", i), int64(i+1), 1))
		r.Body = body(task.Task{Assignee: text, Description: text, Done: i%2 == 0})
		r.Request = text
		if zero(r) {
			if err := s.CompareAndSwap(t.Context(), r, store.Pair{}); errors.Is(err, store.ErrUnfit) {
				continue
			} else if err != nil {
				t.Fatalf("CompareAndSwap: %v", err)
			}
		} else {
			swap(t, s, r, store.Pair{})
		}
		want = append(want, r)
	}
	holds(t, s, want...)
	for i := range want {
		want[i].Epoch, want[i].Pending = 2, false
	}
	put(t, s, want...)
	holds(t, s, want...)
}

func largeNumbers(t T, s Records) {
	a := live("a", 1<<53+1, 1<<53+3)
	swap(t, s, a, store.Pair{})
	put(t, s, live("a", 1<<53, 1<<62), live("a", 1<<53+1, 1<<53+2))
	holds(t, s, a)
	a.Rev++
	swap(t, s, a, pair(1<<53+1, 1<<53+3))
	holds(t, s, a)
	put(t, s, live("b", 1<<31-1, 1), live("b", 1<<31, 1), live("b", 1<<31+1, 1))
	holds(t, s, a, live("b", 1<<31+1, 1))
}

func megabyte(t T, s Records) {
	a, b := live("a", 1, 1), live("b", 1, 1)
	a = with(a, func(t *task.Task) { t.Description = strings.Repeat("0123456789abcdé", 1<<16) })
	b = with(b, func(t *task.Task) { t.Description = strings.Repeat("z", 1<<20) })
	swap(t, s, a, store.Pair{})
	put(t, s, b)
	holds(t, s, a, b)
	small := live("a", 2, 1)
	swap(t, s, small, a.Pair)
	holds(t, s, small, b)
}

// heldOrUnfit: a database may be unable to hold something, but then it says so
// instead of holding something else.
func heldOrUnfit(t T, s Records) {
	for name, text := range map[string]string{
		"invalid UTF-8": "a\xffb\xc3", "a surrogate": "\xed\xa0\x80", "17 MiB": strings.Repeat("x", 17<<20),
	} {
		base := live("base of "+name, 1, 1)
		put(t, s, base)
		next := live(base.ID.String(), 2, 1)
		next = with(next, func(t *task.Task) { t.Description = text })
		held := base
		switch err := s.CompareAndSwap(t.Context(), next, base.Pair); {
		case err == nil:
			held = next
		default:
			wantErr(t, "swap to "+name, err, store.ErrUnfit)
		}
		last := next
		last.Rev = 3
		switch err := s.PutIfNewer(t.Context(), last); {
		case err == nil:
			held = last
		default:
			wantErr(t, "put of "+name, err, store.ErrUnfit)
			if !strings.Contains(err.Error(), base.ID.String()) {
				t.Errorf("put of %s: %q doesn't say which record", name, clip(err.Error()))
			}
		}
		found, err := s.Get(t.Context(), base.ID)
		if err != nil {
			t.Fatalf("Get: %v", err)
		}
		if found[base.ID] != held {
			t.Errorf("%s: neither held nor refused without a trace", name)
		}
		fresh := next
		fresh.ID = key("fresh " + name)
		err = s.CompareAndSwap(t.Context(), fresh, store.Pair{})
		found, getErr := s.Get(t.Context(), fresh.ID)
		if getErr != nil {
			t.Fatalf("Get: %v", getErr)
		}
		if _, ok := found[fresh.ID]; ok != (err == nil) || err != nil && !errors.Is(err, store.ErrUnfit) {
			t.Errorf("create of %s: there: %v, error: %v", name, ok, err)
		}
	}
}
