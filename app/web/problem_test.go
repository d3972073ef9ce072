package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
)

func TestErrorsOfTheStore(t *testing.T) {
	cases := []struct {
		err        error
		status     int
		code, says string
	}{
		{store.ErrUnknown, 503, "outcome_unknown", "read before repeating it"},
		{fmt.Errorf("%w: %w", context.DeadlineExceeded, store.ErrUnknown), 503, "outcome_unknown", "read before repeating it"},
		{fmt.Errorf("%w after %w", store.ErrUnavailable, store.ErrUnknown), 503, "outcome_unknown", "read before repeating it"},
		{store.ErrUnavailable, 503, "unavailable", "can't be reached; nothing has changed"},
		{context.DeadlineExceeded, 503, "unavailable", "not answer in time; nothing has changed"},
		{context.Canceled, 503, "unavailable", "not answer in time; nothing has changed"},
		{migration.ErrRefused, 503, "refused", "may not serve"},
		{store.ErrFenceMoved, 503, "refused", "may not serve"},
		{store.ErrServer, 503, "refused", "may not serve"},
		{store.ErrConflict, 409, "conflict", "others changed the task"},
		{store.ErrUnfit, 422, "invalid_field", "can't be held exactly"},
		{store.ErrRule, 409, "conflict", "a rule of the database refuses"},
		{store.ErrQuarantined, 409, "quarantined", "set all its fields, or delete it"},
		{errors.New("password hunter2"), 500, "internal", "internal error"},
		{store.ErrStranger, 500, "internal", "internal error"},
	}
	requests := []struct{ method, target, body, contentType string }{
		{"GET", "/tasks", "", form}, {"GET", "/tasks/a", "", form}, {"POST", "/tasks", "assignee=a&description=b", form},
		{"PUT", "/tasks/a", "", form}, {"PATCH", "/tasks/a", "{}", asDoc}, {"DELETE", "/tasks/a", "", form},
	}
	for _, c := range cases {
		for _, q := range requests {
			tasks := newMapTasks()
			tasks.err = fmt.Errorf("old: %w", c.err)
			res, body := ask(t, newServer(t, tasks, Config{}).Public(), q.method, q.target, q.body, q.contentType)
			if res.StatusCode != c.status {
				t.Errorf("%v, %s %s: %d, want %d", c.err, q.method, q.target, res.StatusCode, c.status)
			}
			checkError(t, body, c.code, c.says)
			if after := res.Header.Get("Retry-After"); (after == "1") != (c.status == 503) {
				t.Errorf("%v: Retry-After %q", c.err, after)
			}
			if strings.Contains(body, "hunter2") {
				t.Error("an internal error is shown to clients")
			}
		}
	}
}

// Every code that the source can answer is asked for in a test of this package,
// and explained in the reference, unless operators alone meet it.
func TestEveryCodeIsTested(t *testing.T) {
	reference, err := os.ReadFile("../../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	sources, tests := "", ""
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(e.Name(), "_test.go") {
			tests += string(text)
		} else {
			sources += string(text)
		}
	}
	found := regexp.MustCompile(`(?:problem\{http\.Status\w+, |code: )"(\w+)"`).FindAllStringSubmatch(sources, -1)
	if len(found) < 12 {
		t.Fatalf("only %d codes were found in the source: look at the expression", len(found))
	}
	for _, m := range found {
		if !strings.Contains(tests, `"`+m[1]+`"`) {
			t.Errorf("no test asks for code %s", m[1])
		}
		if m[1] != "stranger" && !strings.Contains(string(reference), "| `"+m[1]+"` |") {
			t.Errorf("docs/http.md has no row for code %s", m[1])
		}
	}
}

func TestWriteOutlivesItsClient(t *testing.T) {
	s := newServer(t, newMapTasks(), Config{})
	ctx, gone := context.WithCancel(t.Context())
	gone()
	r, err := http.NewRequestWithContext(ctx, "PUT", "/tasks/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	writing, cancel := s.writing(r)
	defer cancel()
	if writing.Err() != nil {
		t.Error("a write ends with its client: its outcome would be unknown for nothing")
	}
	if _, ok := writing.Deadline(); !ok {
		t.Error("a write has no bound")
	}
}
