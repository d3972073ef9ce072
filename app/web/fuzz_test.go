package web

import (
	"slices"
	"testing"

	"migrate/app/task"
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
