package storetest

import (
	"fmt"
	"slices"
	"strings"

	"migrate/app/task"
)

func pageCases() []Case[Records] {
	return []Case[Records]{
		{"List leaves tombstones out, Scan does not", listTombstones},
		{"List filters", listFilters},
		{"pages follow the bytes of ids", pageOrder},
		{"pages that are full, short and empty", pageSizes},
		{"Count is about right", countAbout},
	}
}

func listTombstones(t T, s Records) {
	a, gone, c := record("a", 1, 1), tombstone("b", 2, 1), pending(record("c", 1, 1))
	put(t, s, a, gone)
	swap(t, s, c, pair(0, 0))
	holds(t, s, a, gone, c)
	got, err := s.List(t.Context(), task.Filter{}, "", 10)
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	same(t, "List", got, []Record{a, c})
	// A tombstone's empty body must not match a filter either.
	no := false
	got, err = s.List(t.Context(), task.Filter{Done: &no}, "a", 1)
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	same(t, "List of undone ones", got, []Record{c})
}

// anybody stands for a filter without an assignee.
const anybody = "anybody"

func listFilters(t T, s Records) {
	yes, no := true, false
	var all []Record
	for i, who := range []string{"bill", "Bill", "jane", "O'Brien; --", "été 🎉", "bill ", "jane\x00", ""} {
		for j, done := range []bool{false, true} {
			r := record(fmt.Sprintf("%02d-%d", i, j), 1, 1)
			r.Body.Assignee, r.Body.Done = who, done
			all = append(all, r)
		}
	}
	put(t, s, all...)
	for _, who := range []string{anybody, "", "bill", "Bill", "BILL", "jane", "O'Brien; --", "été 🎉", "jane\x00", "nobody"} {
		for _, done := range []*bool{nil, &yes, &no} {
			f := task.Filter{Assignee: &who, Done: done}
			if who == anybody {
				f.Assignee = nil
			}
			want := slices.DeleteFunc(slices.Clone(all), func(r Record) bool { return !f.Match(r.Body) })
			got, err := s.List(t.Context(), f, "", 1000)
			if err != nil {
				t.Fatalf("List: %v", err)
			}
			same(t, fmt.Sprintf("List of %q", who), got, want)
			if len(want) < 2 {
				continue
			}
			got, err = s.List(t.Context(), f, want[0].ID, 1)
			if err != nil {
				t.Fatalf("List: %v", err)
			}
			same(t, fmt.Sprintf("List of %q, second page of one", who), got, want[1:2])
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
	ids := mixedIDs()
	for _, id := range ids {
		put(t, s, record(id, 1, 1))
	}
	slices.Sort(ids)
	var want []Record
	for _, id := range ids {
		want = append(want, record(id, 1, 1))
	}
	holds(t, s, want...)
	for _, limit := range []int{1, 7, len(ids)} {
		for name, next := range map[string]func(after string) ([]Record, error){
			"List": func(after string) ([]Record, error) { return s.List(t.Context(), task.Filter{}, after, limit) },
			"Scan": func(after string) ([]Record, error) { return s.Scan(t.Context(), after, limit) },
		} {
			sameIDs(t, fmt.Sprintf("%s by %d", name, limit), walk(t, next, limit, len(ids)), ids...)
		}
	}
	// After an id that isn't there.
	for _, after := range []string{"AA", "a\x00a", "\uFFFF\uFFFF", "\U0010FFFF\U0010FFFF", "lonG"} {
		i, _ := slices.BinarySearch(ids, after)
		got, err := s.Scan(t.Context(), after, 1000)
		if err != nil {
			t.Fatalf("Scan: %v", err)
		}
		sameIDs(t, fmt.Sprintf("Scan after %q", after), got, ids[i:]...)
	}
}

// walk reads page after page to the end.
func walk(t T, next func(after string) ([]Record, error), limit, most int) []Record {
	t.Helper()
	var all []Record
	after := ""
	for {
		page, err := next(after)
		if err != nil {
			t.Fatalf("after %q: %v", after, err)
		}
		all = append(all, page...)
		if len(page) > limit || len(all) > most {
			t.Fatalf("after %q: a page of %d, %d in all; want at most %d and %d", after, len(page), len(all), limit, most)
		}
		if len(page) < limit {
			return all
		}
		after = page[len(page)-1].ID
	}
}

func pageSizes(t T, s Records) {
	var want []Record
	for i := range 250 {
		want = append(want, record(fmt.Sprintf("%04d", i), 1, 1))
	}
	put(t, s, want...)
	for _, limit := range []int{0, 1, 100, 101, 102, 250, 251} {
		n := min(limit, 250)
		got, err := s.Scan(t.Context(), "", limit)
		if err != nil {
			t.Fatalf("Scan: %v", err)
		}
		same(t, fmt.Sprintf("Scan of %d", limit), got, want[:n])
		got, err = s.List(t.Context(), task.Filter{}, "", limit)
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		same(t, fmt.Sprintf("List of %d", limit), got, want[:n])
	}
	got, err := s.Scan(t.Context(), "0249", 10)
	if err != nil || len(got) != 0 {
		t.Errorf("Scan after the last: %v, %v", idsOf(got), err)
	}
}

// countAbout allows for an estimate, but not for one that misleads.
func countAbout(t T, s Records) {
	n, err := s.Count(t.Context())
	if err != nil || n != 0 {
		t.Errorf("Count of nothing: %d, %v", n, err)
	}
	for i := range 40 {
		put(t, s, record(fmt.Sprint(i), 1, 1), tombstone(fmt.Sprint(i), 2, int64(i%2)))
	}
	n, err = s.Count(t.Context())
	if err != nil || n < 20 || n > 80 {
		t.Errorf("Count of 40: %d, %v", n, err)
	}
}
