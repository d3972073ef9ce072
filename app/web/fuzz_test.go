package web

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"testing"

	"migrate.invalid/migrate/app/task"
)

// Whatever is sent, the answer is one that the pages name, and what is stored
// is acceptable.
func FuzzBodies(f *testing.F) {
	for _, body := range []string{
		`{"assignee":"Bill","description":"walk"}`, "assignee=Bill&description=walk", `{"done":true}`, `{}`, ` `, `{"a":`, `[1]`,
		"--x\r\nContent-Disposition: form-data; name=\"assignee\"\r\n\r\nBill\r\n--x--\r\n", "assignee=%00&description=%ff", `{"description":"\ud800"}`,
	} {
		for _, contentType := range []string{"application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "a/b; c"} {
			f.Add("POST", contentType, body)
			f.Add("PATCH", contentType, body)
			f.Add("PUT", contentType, body)
		}
	}
	f.Fuzz(func(t *testing.T, method, contentType, body string) {
		target := "/tasks/a"
		switch method {
		case "POST":
			target = "/tasks"
		case "PATCH", "PUT":
		default:
			t.Skip()
		}
		tasks := newMapTasks()
		tasks.put("a", task.Task{Assignee: "Bill", Description: "walk"}, 1)
		res, answer := ask(t, newServer(t, tasks, Config{}).Public(), method, target, body, "Content-Type: "+contentType)
		if !slices.Contains([]int{200, 201, 400, 413, 415, 422}, res.StatusCode) {
			t.Fatalf("%d %s", res.StatusCode, answer)
		}
		for _, rec := range tasks.recs {
			if err := task.ValidateAssignee(rec.Body.Assignee); err != nil {
				t.Error(err)
			}
			if err := task.ValidateDescription(rec.Body.Description); err != nil {
				t.Error(err)
			}
		}
		if res.StatusCode == 201 && len(tasks.recs) != 2 || res.StatusCode >= 400 && tasks.commits != 0 {
			t.Errorf("%d was answered with %d tasks and %d commits", res.StatusCode, len(tasks.recs), tasks.commits)
		}
	})
}

// asksForOne is a query that names an assignee, however it goes on.
var asksForOne = regexp.MustCompile(`(^|&)assignee(=|&|$)`)

// Whatever a query is, it is understood or refused, and one that names an
// assignee never lists the tasks of two.
func FuzzQueries(f *testing.F) {
	for _, query := range []string{
		"", "assignee=Bill", "assignee=A;B", "assignee=100%", "assignee=%ff", "assignee", "assignee=&done=all", "done=True&assignee=Bill",
		"assignee=Bill&done=all%", "assignee=Bill&assignee=Jane", "%61ssignee=Bill", "assignee=Bill&limit=1;x=1", "a&b;assignee=Bill", "&&assignee=Jane&&_=1",
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		tasks := newMapTasks()
		for i, assignee := range []string{"Bill", "Jane", "", "A;B"} {
			tasks.put(string(rune('a'+2*i)), task.Task{Assignee: assignee}, 1)
			tasks.put(string(rune('b'+2*i)), task.Task{Assignee: assignee, Done: true}, 1)
		}
		r := httptest.NewRequest("GET", "/tasks", nil)
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		newServer(t, tasks, Config{}).Public().ServeHTTP(w, r)
		switch w.Code {
		case http.StatusBadRequest:
			return
		case http.StatusOK:
		default:
			t.Fatalf("%q: %d %s", query, w.Code, w.Body)
		}
		var list []view
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
			t.Fatalf("%q: %v", query, err)
		}
		for _, v := range list {
			if asksForOne.MatchString(query) && v.Assignee != list[0].Assignee {
				t.Errorf("%q lists the tasks of %q and of %q", query, list[0].Assignee, v.Assignee)
			}
		}
	})
}
