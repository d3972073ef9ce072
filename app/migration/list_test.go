package migration

import (
	"fmt"
	"slices"
	"testing"

	"migrate/app/store"
)

// More records than a page of either store holds, some in one of them alone,
// some deleted in the other: every list shows each once and in order, whatever
// its limit and wherever it begins.
func TestListsLongerThanAPage(t *testing.T) {
	for _, step := range []Step{ReadBoth, NewPrimary, StopOldWrites, Backfill} {
		w := raisedTo(t, StopOldWrites, 0)
		var want []string
		// More than twice the greatest page, so that a list of 1,000 needs several.
		for i := range 2*pageSize + 4*leastPage {
			id := fmt.Sprintf("r-%04d", i)
			switch {
			case i < pageSize+5 && i%4 == 0: // less is left of new's pages than was asked for
				w.put(t, store.PrimaryNew, copyOf(id, 1, 1, "deleted before"))
				w.put(t, store.PrimaryOld, copyOf(id, 2, 1, ""))
				continue
			case i < pageSize+5: // new has a full page before old lists a record
				w.put(t, store.PrimaryNew, copyOf(id, 1, 2, "new"))
			case i%5 == 0:
				w.put(t, store.PrimaryNew, copyOf(id, 2, 2, ""))
				w.put(t, store.PrimaryOld, copyOf(id, 1, 1, "deleted since"))
				continue
			case i%5 == 1:
				w.put(t, store.PrimaryOld, copyOf(id, 2, 1, ""))
				w.put(t, store.PrimaryNew, copyOf(id, 1, 1, "deleted before"))
				continue
			case i%5 == 2:
				w.put(t, store.PrimaryNew, copyOf(id, 1, 2, "new"))
			default: // and then old has full pages where new has few
				w.put(t, store.PrimaryOld, copyOf(id, 1, 1, "old"))
			}
			want = append(want, id)
		}
		s := w.at(t, step)
		for _, limit := range []int{1, leastPage - 1, leastPage, leastPage + 1, len(want), 1000} {
			for _, from := range []int{0, 1, leastPage, len(want) - 1, len(want)} {
				after := ""
				if from > 0 {
					after = want[from-1]
				}
				page, err := s.List(t.Context(), any_{}, after, limit)
				must(t, err)
				var got []string
				for _, r := range page.Records {
					got = append(got, r.ID)
				}
				if left := want[from:]; !slices.Equal(got, left[:min(limit, len(left))]) {
					t.Fatalf("step %d, %d after %q: %v", step, limit, after, got)
				}
				if more := from+limit < len(want); more && page.End || from+limit > len(want) && !page.End {
					t.Fatalf("step %d, %d after %q: end %v; there are more: %v", step, limit, after, page.End, more)
				}
			}
		}
	}
}
