package migration

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/store"
)

// The table of steps in docs/protocol.md says what Decide decides.
func TestTheDocumentedTableIsDecide(t *testing.T) {
	page, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "| step | the fence names old | the fence names new |\n")
	if !ok {
		t.Fatal("docs/protocol.md has no table of steps and fences")
	}
	rows := regexp.MustCompile(`(?m)^\| (\d) \| (.*) \| (.*) \|$`).FindAllStringSubmatch(table, -1)
	if len(rows) != int(RemoveOld) {
		t.Fatalf("%d rows, want one for each of %d steps", len(rows), RemoveOld)
	}
	for n, row := range rows {
		if row[1] != strconv.Itoa(n+1) {
			t.Fatalf("row %d is of step %s", n+1, row[1])
		}
		for column, primary := range []store.Primary{store.PrimaryOld, store.PrimaryNew} {
			want := inWords(Decide(Step(n+1), store.Fence{Epoch: 1, Primary: primary}, 1))
			if got := row[2+column]; got != want {
				t.Errorf("step %d, the fence names %s: the page says %q, the code %q", n+1, primary, got, want)
			}
		}
	}
}

// inWords says a plan as the page does.
func inWords(p Plan) string {
	if p.Refuse {
		return "refuses"
	}
	other := store.PrimaryNew
	if p.Primary == store.PrimaryNew {
		other = store.PrimaryOld
	}
	words := []string{"serves " + string(p.Primary)}
	for _, part := range []struct {
		does bool
		text string
	}{
		{p.Replicate, "replicates to " + string(other)},
		{p.Compare, "compares reads"},
		{p.Advance, "makes new primary before a write"},
		{p.ElseOld, "asks old for what new has not"},
	} {
		if part.does {
			words = append(words, part.text)
		}
	}
	return strings.Join(words, ", ")
}
