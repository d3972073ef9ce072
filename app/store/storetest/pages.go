package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/task"
)

func pageCases() []Case[Records] {
	return []Case[Records]{
		{Name: "List leaves tombstones out, Scan does not", Run: listTombstones},
		{Name: "List filters", Run: listFilters},
		{Name: "pages follow the bytes of ids", Run: pageOrder},
		{Name: "pages that are full, short and empty", Run: pageSizes},
		{Name: "Count is about right", Run: countAbout},
	}
}

func listTombstones(t T, s Records) {
	a, gone, c := live("a", 1, 1), tombstone("b", 2, 1), pending(live("c", 1, 1))
	put(t, s, a, gone)
	swap(t, s, c, pair(0, 0))
	holds(t, s, a, gone, c)
	got, err := listAll(t.Context(), s, task.Filter{})
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	same(t, "List", got, []Record{a, c})
	// A tombstone's empty body must not match a filter either.
	no := false
	page, err := s.List(t.Context(), selected(task.Filter{Done: &no}), key("a"), 1)
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	same(t, "List of undone ones", page.Records, []Record{c})
}

// anybody stands for a filter without an assignee.
const anybody = "anybody"

func listFilters(t T, s Records) {
	yes, no := true, false
	var all []Record
	for i, who := range []string{"bill", "Bill", "jane", "O'Brien; --", "été 🎉", "bill ", "jane\x00", ""} {
		for j, done := range []bool{false, true} {
			r := live(fmt.Sprintf("%02d-%d", i, j), 1, 1)
			r = with(r, func(t *task.Task) { t.Assignee, t.Done = who, done })
			if held(t, s, r) {
				all = append(all, r)
			}
		}
	}
	for _, who := range []string{anybody, "", "bill", "Bill", "BILL", "jane", "O'Brien; --", "été 🎉", "jane\x00", "nobody"} {
		for _, done := range []*bool{nil, &yes, &no} {
			f := task.Filter{Assignee: &who, Done: done}
			if who == anybody {
				f.Assignee = nil
			}
			want := slices.DeleteFunc(slices.Clone(all), func(r Record) bool { return !f.Match(taskOf(r)) })
			got, err := listAll(t.Context(), s, f)
			if err != nil {
				t.Fatalf("List: %v", err)
			}
			same(t, fmt.Sprintf("List of %q", who), got, want)
			if len(want) < 2 {
				continue
			}
			page, err := s.List(t.Context(), selected(f), want[0].ID, 1)
			if err != nil {
				t.Fatalf("List: %v", err)
			}
			same(t, fmt.Sprintf("List of %q, second page of one", who), page.Records, want[1:2])
		}
	}
}

// mixedIDs are ids that sort differently by bytes than by words, by UTF-16
// code units, without case, or as numbers.
func mixedIDs() []string {
	return []string{
		"0", "10", "9", "09", "A", "a", "B2", "Z", "z", "zz", "_", "~", " ", "a b", "a-b", "a.b", "a/b", "$a", "null", "\x00", "a\x00", "a\x00b",
		"\x7f", "é", "e\u0301", "ß", "ss", "ﬀ", "Ω", "日本", "\uE000", "\uFFFD", "\uFFFF", "\U00010000", "😀", "\U0010FFFF",
		`"`, `\`, `'; DROP TABLE tasks; --`, "%", "*", "{}", "0198c5a2-7d1e-7c3b-8f00-1234567890ab", "0198C5A2-7D1E-7C3B-8F00-1234567890AB",
		strings.Repeat("long", 200), strings.Repeat("long", 200) + "er", strings.Repeat("😀", 100),
	}
}

func pageOrder(t T, s Records) {
	ids := slices.DeleteFunc(mixedIDs(), func(id string) bool { return !held(t, s, live(id, 1, 1)) })
	slices.Sort(ids)
	var want []Record
	for _, id := range ids {
		want = append(want, live(id, 1, 1))
	}
	holds(t, s, want...)
	for _, limit := range []int{1, 7, len(ids)} {
		for name, next := range map[string]func(after record.ID) (Page, error){
			"List": func(after record.ID) (Page, error) { return s.List(t.Context(), selected(task.Filter{}), after, limit) },
			"Scan": func(after record.ID) (Page, error) { return s.Scan(t.Context(), after, limit) },
		} {
			sameIDs(t, fmt.Sprintf("%s by %d", name, limit), walk(t, "", limit, len(ids), next), ids...)
		}
	}
	// After an id that isn't there.
	for _, after := range []string{"AA", "a\x00a", "\uFFFF\uFFFF", "\U0010FFFF\U0010FFFF", "lonG"} {
		i, _ := slices.BinarySearch(ids, after)
		got := walk(t, key(after), 1000, len(ids), func(after record.ID) (Page, error) { return s.Scan(t.Context(), after, 1000) })
		sameIDs(t, fmt.Sprintf("Scan after %q", after), got, ids[i:]...)
	}
}

// scanAll returns all records, tombstones too.
func scanAll(ctx context.Context, s Records) ([]Record, error) {
	return follow("", 10_000, 10_000, func(after record.ID) (Page, error) { return s.Scan(ctx, after, 10_000) })
}

// listAll returns all records that match.
func listAll(ctx context.Context, s Records, f task.Filter) ([]Record, error) {
	return follow("", 10_000, 10_000, func(after record.ID) (Page, error) { return s.List(ctx, selected(f), after, 10_000) })
}

// walk is follow, and fails the test.
func walk(t T, after record.ID, limit, most int, next func(after record.ID) (Page, error)) []Record {
	t.Helper()
	all, err := follow(after, limit, most, next)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return all
}

// follow reads page after page from an id to the end, which a page says and not
// its length: at most limit records a page, and most in all.
func follow(after record.ID, limit, most int, next func(after record.ID) (Page, error)) ([]Record, error) {
	var all []Record
	for {
		page, err := next(after)
		if err != nil {
			return nil, fmt.Errorf("after %q: %w", after, err)
		}
		found := page.Records
		all = append(all, found...)
		switch {
		case len(found) > limit || len(all) > most:
			return nil, fmt.Errorf("after %q: a page of %d, %d in all; want at most %d and %d", after, len(found), len(all), limit, most)
		case page.End:
			return all, nil
		case len(found) == 0:
			return nil, fmt.Errorf("after %q: a page that is not the end holds nothing", after)
		case page.Next < found[len(found)-1].ID:
			return nil, fmt.Errorf("after %q: the page ends with %q, and the next one is to begin after %q", after, found[len(found)-1].ID, page.Next)
		}
		after = page.Next
	}
}

func pageSizes(t T, s Records) {
	var want []Record
	for i := range 250 {
		want = append(want, live(fmt.Sprintf("%04d", i), 1, 1))
	}
	put(t, s, want...)
	for _, limit := range []int{1, 100, 125, 249, 250, 251} {
		for name, next := range map[string]func(after record.ID) (Page, error){
			"Scan": func(after record.ID) (Page, error) { return s.Scan(t.Context(), after, limit) },
			"List": func(after record.ID) (Page, error) { return s.List(t.Context(), selected(task.Filter{}), after, limit) },
		} {
			same(t, fmt.Sprintf("%s by %d", name, limit), walk(t, "", limit, len(want), next), want)
		}
	}
	// A limit below 1 counts as 1: a page makes way.
	for _, limit := range []int{0, -1} {
		got, err := s.Scan(t.Context(), "", limit)
		if err != nil || got.End {
			t.Errorf("Scan of %d: end %v, %v", limit, got.End, err)
		}
		same(t, fmt.Sprintf("Scan of %d", limit), got.Records, want[:1])
	}
	got, err := s.Scan(t.Context(), key("0249"), 10)
	if err != nil || len(got.Records) != 0 || !got.End {
		t.Errorf("Scan after the last: %v, end %v, %v", idsOf(got.Records), got.End, err)
	}
}

// countAbout allows for an estimate, but not for one that misleads.
func countAbout(t T, s Records) {
	n, err := s.Count(t.Context())
	if err != nil || n != 0 {
		t.Errorf("Count of nothing: %d, %v", n, err)
	}
	for i := range 40 {
		put(t, s, live(fmt.Sprint(i), 1, 1), tombstone(fmt.Sprint(i), 2, int64(i%2)))
	}
	n, err = s.Count(t.Context())
	if err != nil || n < 20 || n > 80 {
		t.Errorf("Count of 40: %d, %v", n, err)
	}
}
