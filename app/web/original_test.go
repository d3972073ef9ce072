package web

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"migrate.invalid/migrate/app/task"
)

// TestRequestsOfTheOriginal sends what the original's pages send, to the letter.
func TestRequestsOfTheOriginal(t *testing.T) {
	tasks := newMapTasks()
	tasks.put("a", task.Task{Assignee: "Bill", Description: "walk"}, 1)
	tasks.put("b", task.Task{Assignee: "Bill", Description: "rest", Done: true}, 1)
	tasks.put("c", task.Task{Assignee: "A;B", Description: "share"}, 1)
	h := newServer(t, tasks, Config{}).Public()

	res, body := ask(t, h, "GET", "/tasks?done=False&assignee=Bill", "")
	if want := `[{"id":"a","assignee":"Bill","description":"walk","done":false}]` + "\n"; res.StatusCode != 200 || body != want {
		t.Errorf("%d %s, want %s", res.StatusCode, body, want)
	}
	// encodeURI leaves a semicolon as it is.
	if _, body = ask(t, h, "GET", "/tasks?done=False&assignee=A;B", ""); !slices.Equal(idsOf(t, body), []string{"c"}) {
		t.Errorf("the tasks of A;B are %s", body)
	}
	res, body = ask(t, h, "PUT", "/tasks/a", `{"timeout":1000}`, "Content-Type: application/json;charset=utf-8")
	if want := `{"id":"a","assignee":"Bill","description":"walk","done":true}` + "\n"; res.StatusCode != 200 || body != want {
		t.Errorf("%d %s, want %s", res.StatusCode, body, want)
	}
	if res, body = ask(t, h, "PUT", "/tasks/c", ""); res.StatusCode != 200 {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	// Its form serializer leaves these as they are, too.
	res, body = ask(t, h, "POST", "/tasks", "assignee=A;B&description=milk;+eggs,+a@b:c+$5", form)
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(body), &made); err != nil || res.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s: %v", res.StatusCode, body, err)
	}
	if got, want := tasks.recs[made.ID].Body, (task.Task{Assignee: "A;B", Description: "milk; eggs, a@b:c $5"}); got != want {
		t.Errorf("%+v was made, want %+v", got, want)
	}
}

// TestListsAskForWhatIsWritten: no way to write a query finds more than it says.
func TestListsAskForWhatIsWritten(t *testing.T) {
	tasks := newMapTasks()
	for id, task := range map[string]task.Task{
		"bill": {Assignee: "Bill"}, "bill-done": {Assignee: "Bill", Done: true}, "nobody": {}, "nobody-done": {Done: true},
		"odd": {Assignee: "A;B"}, "percent": {Assignee: "100%"}, "plus": {Assignee: "a+b c"}, "accent": {Assignee: "Žofie"},
	} {
		tasks.put(id, task, 1)
	}
	h := newServer(t, tasks, Config{}).Public()
	for query, want := range map[string][]string{
		"":                           {"accent", "bill", "nobody", "odd", "percent", "plus"},
		"?":                          {"accent", "bill", "nobody", "odd", "percent", "plus"},
		"?assignee=Bill":             {"bill"},
		"?assignee=bill":             {},
		"?assignee=Bill&done=True":   {"bill-done"},
		"?assignee=Bill&done=1":      {"bill-done"},
		"?assignee=Bill&done=0":      {"bill"},
		"?assignee=Bill&done=FALSE":  {"bill"},
		"?assignee=Bill&done=ALL":    {"bill", "bill-done"},
		"?assignee=":                 {"nobody"},
		"?assignee":                  {"nobody"},
		"?assignee=&done=all":        {"nobody", "nobody-done"},
		"?done=true":                 {"bill-done", "nobody-done"},
		"?assignee=A;B":              {"odd"},
		"?assignee=A%3BB":            {"odd"},
		"?assignee=100%25":           {"percent"},
		"?assignee=a%2Bb+c":          {"plus"},
		"?assignee=Žofie":            {"accent"},
		"?assignee=Bill&after=bill":  {},
		"?assignee=Bill&after=a;":    {"bill"},
		"?assignee=Bill&limit=1&_=5": {"bill"},
	} {
		res, body := ask(t, h, "GET", "/tasks"+query, "")
		if res.StatusCode != 200 {
			t.Errorf("%s: %d %s", query, res.StatusCode, body)
		} else if got := idsOf(t, body); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
}

func idsOf(t *testing.T, body string) []string {
	t.Helper()
	var list []view
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	ids := []string{}
	for _, v := range list {
		ids = append(ids, v.ID)
	}
	return ids
}

func TestFormerConsoleLeadsToOurs(t *testing.T) {
	h := newServer(t, newMapTasks(), Config{}).Public()
	for target, want := range map[string]string{
		"/static/userConsole.html": "/", "/static/userConsole.html?assignee=Bill": "/?assignee=Bill",
	} {
		res, _ := ask(t, h, "GET", target, "")
		if res.StatusCode != http.StatusFound || res.Header.Get("Location") != want {
			t.Errorf("%s: %d to %q, want %s", target, res.StatusCode, res.Header.Get("Location"), want)
		}
	}
}
