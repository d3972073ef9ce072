package app

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"migrate.invalid/migrate/app/task"
)

// row is what a foreign program binds: nil, int64, float64, string or []byte each.
type row struct{ id, assignee, description, done any }

// anyText is Unicode of all kinds and sizes, and sometimes not even that.
func anyText() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.String(),
		rapid.SampledFrom([]string{"", "a\x00b", "\uFEFF", "\U0010FFFF", "é", "e\u0301", "\u202Eabc", "👩‍👩‍👧", "'; DROP TABLE tasks; --", `$where`, `{"$ne":1}`, `\`, `"`, "\r\n", "NULL", "null", "5.0", "\uFFFD", "\uFFFF"}),
		rapid.SampledFrom([]string{"\xff", "\xed\xa0\x80", "ok\xc3", "\xf8\x88\x80\x80\x80"}), // no UTF-8
		rapid.Custom(func(t *rapid.T) string {
			return strings.Repeat(rapid.SampledFrom([]string{"x", "ž", "🌱"}).Draw(t, "rune"), rapid.IntRange(1, 1<<14).Draw(t, "times"))
		}),
	)
}

// anyValue is whatever SQLite stores in a column that is declared as text.
func anyValue() *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		switch rapid.IntRange(0, 9).Draw(t, "type") {
		case 0:
			return nil
		case 1:
			return rapid.Int64().Draw(t, "integer")
		case 2:
			return float64(rapid.IntRange(-1000, 1000).Draw(t, "real")) + 0.5
		case 3:
			return []byte(anyText().Draw(t, "blob"))
		}
		return anyText().Draw(t, "text")
	})
}

// dones says which stored values of done the original program lists as undone.
var dones = []struct {
	value any
	done  bool
}{{int64(0), false}, {int64(1), true}, {nil, true}, {"true", true}, {"0", false}, {"1", true}, {0.0, false}, {int64(-1), true}, {"", true}, {[]byte("0"), true}, {"false", true}, {0.5, true}}

func anyRow(ids *rapid.Generator[any]) *rapid.Generator[row] {
	return rapid.Custom(func(t *rapid.T) row {
		return row{ids.Draw(t, "id"), anyValue().Draw(t, "assignee"), anyValue().Draw(t, "description"), rapid.SampledFrom(dones).Draw(t, "done").value}
	})
}

// asText is a value as text, as the original program's language prints it.
func asText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []byte:
		return string(v)
	}
	return v.(string)
}

func (r row) body() task.Task {
	t := task.Task{Assignee: asText(r.assignee), Description: asText(r.description)}
	for _, d := range dones {
		if cmp.Equal(d.value, r.done) {
			t.Done = d.done
		}
	}
	return t
}

// unfit says why the row can't be a record; "" if it can.
func (r row) unfit() string {
	switch r.id.(type) {
	case nil:
		return "null id"
	case []byte:
		return "blob id"
	}
	switch {
	case !utf8.ValidString(asText(r.id)):
		return "id is not valid UTF-8"
	case !utf8.ValidString(asText(r.assignee)):
		return "assignee is not valid UTF-8"
	case !utf8.ValidString(asText(r.description)):
		return "description is not valid UTF-8"
	}
	return ""
}

// judge says what becomes of the rows: the records, and for the others why not.
func judge(rows []row) (records map[string]task.Task, reasons []string) {
	records, taken := map[string]task.Task{}, map[string]bool{}
	reasons = make([]string, len(rows))
	for i, r := range rows {
		reason, id := r.unfit(), asText(r.id)
		switch reason {
		case "blob id": // of which the index of the ids holds one, too
			if id = "blob " + id; taken[id] {
				reason = "repeated id"
			}
			taken[id] = true
			fallthrough
		case "null id":
			reasons[i] = reason
			continue
		}
		switch {
		case taken[id]:
			reasons[i] = "repeated id"
		case reason != "":
			reasons[i] = reason
		default:
			records[id] = r.body()
		}
		taken[id] = true
	}
	return records, reasons
}

// later takes a row into account that was granted after first contact: it is a
// record, or goes to quarantine when the copy meets it. A record under the id
// of a row that was set aside decides on that row.
func later(rows []row, reasons []string, records map[string]task.Task, r row) ([]row, []string) {
	reason, id := r.unfit(), asText(r.id)
	if reason == "" {
		records[id] = r.body()
		for i := range rows {
			if !slices.Contains([]string{"repeated id", "blob id", "null id"}, reasons[i]) && asText(rows[i].id) == id {
				reasons[i] = ""
			}
		}
	}
	if _, text := strings.CutSuffix(reason, "not valid UTF-8"); text {
		reason = "not valid UTF-8" // in the words of the store that could not hold it
	}
	return append(rows, r), append(reasons, reason)
}
