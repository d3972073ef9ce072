package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/task"
)

const (
	form  = "Content-Type: application/x-www-form-urlencoded"
	asDoc = "Content-Type: application/json"
)

func TestEveryAnswer(t *testing.T) {
	long := strings.Repeat("é", task.MaxDescription+1)
	cases := []struct {
		name, method, target, body string
		headers                    []string
		status                     int
		code, says                 string // of the error; or what the body holds, or how the ETag begins
	}{
		{"form", "POST", "/tasks", "assignee=Bill&description=%F0%9F%98%80+%3Cb%3E", []string{form}, 201, "", `{"id":"`},
		{"multipart", "POST", "/tasks", "--x\r\nContent-Disposition: form-data; name=\"assignee\"\r\n\r\nBill\r\n--x\r\nContent-Disposition: form-data; name=\"description\"\r\n\r\nwalk\r\n--x--\r\n", []string{"Content-Type: multipart/form-data; boundary=x"}, 201, "", `{"id":"`},
		{"JSON", "POST", "/tasks", `{"assignee":"Bill","description":"walk"}`, []string{asDoc + "; charset=utf-8"}, 201, "", `{"id":"`},
		{"no type", "POST", "/tasks", "assignee=Bill&description=x", nil, 415, "unsupported_media_type", "form or application/json"},
		{"wrong type", "POST", "/tasks", "<a/>", []string{"Content-Type: text/xml"}, 415, "unsupported_media_type", "send a form or application/json"},
		{"compressed", "POST", "/tasks", "assignee=Bill", []string{form, "Content-Encoding: gzip"}, 415, "unsupported_media_type", "encoded"},
		{"too large", "POST", "/tasks", "description=" + strings.Repeat("x", maxBody), []string{form}, 413, "too_large", "262144"},
		{"broken form", "POST", "/tasks", "assignee=%zz", []string{form}, 400, "malformed", "form"},
		{"broken multipart", "POST", "/tasks", "--y", []string{"Content-Type: multipart/form-data; boundary=x"}, 400, "malformed", "form"},
		{"broken JSON", "POST", "/tasks", `{"assignee":`, []string{asDoc}, 400, "malformed", "JSON object"},
		{"empty JSON", "POST", "/tasks", ``, []string{asDoc}, 400, "malformed", "JSON object"},
		{"semicolon in a form", "POST", "/tasks", "assignee=Bill&description=milk;+eggs", []string{form}, 201, "", `{"id":"`},
		{"form with an odd parameter", "POST", "/tasks?;=%", "assignee=Bill&description=x", []string{form + "; charset"}, 201, "", `{"id":"`},
		{"multipart beside a broken query", "POST", "/tasks?a=%", "--x\r\nContent-Disposition: form-data; name=\"assignee\"\r\n\r\nB\r\n--x\r\nContent-Disposition: form-data; name=\"description\"\r\n\r\nd\r\n--x--\r\n", []string{"Content-Type: multipart/form-data; boundary=x"}, 201, "", `{"id":"`},
		{"percent in a form", "POST", "/tasks", "assignee=Bill&description=100%", []string{form}, 400, "malformed", "invalid URL escape"},
		{"twice in a form", "POST", "/tasks", "assignee=Bill&description=x&assignee=Jane", []string{form}, 422, "invalid_field", "assignee is given twice"},
		{"twice in JSON", "POST", "/tasks", `{"assignee":"Bill","description":"x","assignee":"Jane"}`, []string{asDoc}, 422, "invalid_field", "assignee is given twice"},
		{"another case", "POST", "/tasks", `{"assignee":"Bill","Description":"x"}`, []string{asDoc}, 422, "invalid_field", `unknown field "Description"`},
		{"half a character", "POST", "/tasks", `{"assignee":"Bill","description":"\ud83d"}`, []string{asDoc}, 422, "invalid_field", "half of a surrogate pair"},
		{"a whole one", "POST", "/tasks", `{"assignee":"\ufffd\uFFFD\\ufffd","description":"\ud83d\ude00 \uFFFD"}`, []string{asDoc}, 201, "", `{"id":"`},
		{"two objects", "POST", "/tasks", `{} {}`, []string{asDoc}, 400, "malformed", "JSON object"},
		{"an array", "POST", "/tasks", `[]`, []string{asDoc}, 400, "malformed", "JSON object"},
		{"not UTF-8", "POST", "/tasks", "{\"assignee\":\"\xff\"}", []string{asDoc}, 400, "malformed", "UTF-8"},
		{"form not UTF-8", "POST", "/tasks", "assignee=%ff&description=x", []string{form}, 422, "invalid_field", "assignee is not valid UTF-8"},
		{"no assignee", "POST", "/tasks", `{"description":"x"}`, []string{asDoc}, 422, "invalid_field", "assignee is required"},
		{"no description", "POST", "/tasks", "assignee=Bill", []string{form}, 422, "invalid_field", "description is required"},
		{"long description", "POST", "/tasks", "assignee=Bill&description=" + url.QueryEscape(long), []string{form}, 422, "invalid_field", "10000 characters"},
		{"long assignee", "POST", "/tasks", "description=x&assignee=" + strings.Repeat("a", 201), []string{form}, 422, "invalid_field", "200 characters"},
		{"number", "POST", "/tasks", `{"assignee":1,"description":"x"}`, []string{asDoc}, 422, "invalid_field", "assignee is no string"},
		{"unknown field", "POST", "/tasks", `{"assignee":"a","descripton":"x"}`, []string{asDoc}, 422, "invalid_field", "descripton"},
		{"long key", "POST", "/tasks", "assignee=a&description=x", []string{form, "Idempotency-Key: " + strings.Repeat("k", 256)}, 400, "malformed", "Idempotency-Key"},
		{"two keys", "POST", "/tasks", "assignee=a&description=x", []string{form, "Idempotency-Key: a", "Idempotency-Key: b"}, 400, "malformed", "Idempotency-Key"},

		{"get", "GET", "/tasks/a", "", nil, 200, "", `{"id":"a","assignee":"Bill","description":"walk","done":false}` + "\n"},
		{"get none", "GET", "/tasks/zz", "", nil, 404, "not_found", "no task zz"},
		{"get deleted", "GET", "/tasks/gone", "", nil, 404, "not_found", "no task gone"},
		{"get odd id", "GET", "/tasks/a%2Fb%20c%3F", "", nil, 200, "", `"id":"a/b c?"`},
		{"get dots", "GET", "/tasks/..", "", nil, 200, "", `"id":".."`},
		{"get no text", "GET", "/tasks/%ff", "", nil, 404, "not_found", "no task \uFFFD"},
		{"get known", "GET", "/tasks/a", "", []string{`If-None-Match: "1-1", W/"3-a6be2fffd0a882e1eeb2e487cc6f53f9"`}, 304, "", ""},
		{"get newer", "GET", "/tasks/a", "", []string{`If-None-Match: "2-1"`}, 200, "", `ETag "3-`},

		{"put", "PUT", "/tasks/a", "", nil, 200, "", `ETag "4-`},
		{"put empty", "PUT", "/tasks/a", "{}", []string{asDoc}, 200, "", `"done":true`},
		{"put done", "PUT", "/tasks/done", "", nil, 200, "", `ETag "2-`},
		{"put the original's options", "PUT", "/tasks/a", `{"timeout":1000}`, []string{asDoc}, 200, "", `"done":true`},
		{"put a form", "PUT", "/tasks/a", "done=False", []string{form}, 200, "", `"done":true`},
		{"put no JSON", "PUT", "/tasks/a", "{{", []string{asDoc, "Content-Encoding: br"}, 200, "", `"done":true`},
		{"put too much", "PUT", "/tasks/a", strings.Repeat("x", maxBody+1), nil, 413, "too_large", "262144"},
		{"put none", "PUT", "/tasks/zz", "", nil, 404, "not_found", "no task zz"},
		{"put deleted", "PUT", "/tasks/gone", "", nil, 404, "not_found", "no task gone"},
		{"put huge legacy", "PUT", "/tasks/huge", "", nil, 200, "", `"done":true`},

		{"patch", "PATCH", "/tasks/a", `{"description":"run","done":true}`, []string{asDoc}, 200, "", `ETag "4-`},
		{"patch nothing", "PATCH", "/tasks/a", `{}`, []string{asDoc}, 200, "", `ETag "3-`},
		{"patch same", "PATCH", "/tasks/a", `{"assignee":"Bill"}`, []string{asDoc}, 200, "", `ETag "3-`},
		{"patch null", "PATCH", "/tasks/a", `{"description":null}`, []string{asDoc}, 422, "invalid_field", "description is no string"},
		{"patch wrong done", "PATCH", "/tasks/a", `{"done":"yes"}`, []string{asDoc}, 422, "invalid_field", "done is no bool"},
		{"patch empty", "PATCH", "/tasks/a", `{"description":""}`, []string{asDoc}, 422, "invalid_field", "description is required"},
		{"patch long", "PATCH", "/tasks/a", `{"description":"` + long + `"}`, []string{asDoc}, 422, "invalid_field", "10000"},
		{"patch id", "PATCH", "/tasks/a", `{"id":"b"}`, []string{asDoc}, 422, "invalid_field", "id"},
		{"patch form", "PATCH", "/tasks/a", `done=true`, []string{form}, 415, "unsupported_media_type", "send application/json"},
		{"patch none", "PATCH", "/tasks/zz", `{"done":true}`, []string{asDoc}, 404, "not_found", "no task zz"},
		{"patch match", "PATCH", "/tasks/a", `{"done":true}`, []string{asDoc, `If-Match: "3-a6be2fffd0a882e1eeb2e487cc6f53f9"`}, 200, "", `ETag "4-`},
		{"patch any", "PATCH", "/tasks/a", `{"done":true}`, []string{asDoc, `If-Match: *`}, 200, "", `ETag "4-`},
		{"patch no match", "PATCH", "/tasks/a", `{"done":true}`, []string{asDoc, `If-Match: "2-1"`}, 412, "precondition_failed", `3-a6be2fffd0a882e1eeb2e487cc6f53f9`},
		{"patch weak match", "PATCH", "/tasks/a", `{"done":true}`, []string{asDoc, `If-Match: W/"3-a6be2fffd0a882e1eeb2e487cc6f53f9"`}, 412, "precondition_failed", "the task is at \"3-a6be2fffd0a882e1eeb2e487cc6f53f9\" now"},

		{"delete", "DELETE", "/tasks/a", "", nil, 204, "", ""},
		{"delete no match", "DELETE", "/tasks/a", "", []string{`If-Match: "1-1"`}, 412, "precondition_failed", "the task is at \"3-a6be2fffd0a882e1eeb2e487cc6f53f9\" now"},
		{"delete again", "DELETE", "/tasks/gone", "", nil, 204, "", ""},
		{"delete none", "DELETE", "/tasks/zz", "", nil, 404, "not_found", "no task zz"},

		{"bad done", "GET", "/tasks?done=maybe", "", nil, 400, "malformed", "done"},
		{"empty done", "GET", "/tasks?done=", "", nil, 400, "malformed", "done"},
		{"percent", "GET", "/tasks?assignee=100%", "", nil, 400, "malformed", "%25"},
		{"percent elsewhere", "GET", "/tasks?assignee=Bill&done=all%zz", "", nil, 400, "malformed", "invalid URL escape"},
		{"assignee twice", "GET", "/tasks?assignee=Bill&assignee=Jane", "", nil, 400, "malformed", "assignee is given twice"},
		{"after twice", "GET", "/tasks?after=a&after=b", "", nil, 400, "malformed", "after is given twice"},
		{"no such parameter", "GET", "/tasks?asignee=Bill", "", nil, 400, "malformed", `no parameter "asignee"`},
		{"no UTF-8", "GET", "/tasks?assignee=%ff", "", nil, 400, "malformed", "not UTF-8"},
		{"odd limit", "GET", "/tasks?limit=1;", "", nil, 400, "malformed", "limit"},
		{"against caches", "GET", "/tasks?assignee=Nobody&_=1480000000", "", nil, 200, "", "[]"},
		{"bad limit", "GET", "/tasks?limit=0", "", nil, 400, "malformed", "limit"},
		{"no list", "GET", "/tasks?assignee=Nobody", "", nil, 200, "", "[]"},
		{"no method", "PUT", "/tasks", "", nil, 405, "method_not_allowed", "GET, HEAD, OPTIONS, POST"},
		{"no method on a task", "POST", "/tasks/a", "", nil, 405, "method_not_allowed", "DELETE"},
		{"options", "OPTIONS", "/tasks", "", nil, 204, "", ""},
		{"no path", "GET", "/nothing", "", nil, 404, "not_found", "nothing at this path"},
		{"no id", "GET", "/tasks/", "", nil, 404, "not_found", "nothing at this path"},
		{"no page", "GET", "/static/nothing.html", "", nil, 404, "not_found", "nothing at this path"},
		{"no folder", "GET", "/static/", "", nil, 404, "not_found", "nothing at this path"},
		{"other origin", "POST", "/tasks", "assignee=a&description=x", []string{form, "Sec-Fetch-Site: cross-site"}, 403, "cross_origin", "the browser says that this one is cross-site"},
		{"other origin's read", "GET", "/tasks/a", "", []string{"Sec-Fetch-Site: cross-site"}, 200, "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tasks := newMapTasks()
			tasks.put("a", task.Task{Assignee: "Bill", Description: "walk"}, 3)
			tasks.put("a/b c?", task.Task{Assignee: "Bill", Description: "odd"}, 1)
			tasks.put("..", task.Task{Assignee: "Bill", Description: "dots"}, 1)
			tasks.put("done", task.Task{Assignee: "Jane", Description: "rest", Done: true}, 2)
			tasks.put("huge", task.Task{Description: strings.Repeat("x", 1<<20)}, 1)
			tasks.recs["gone"] = record{ID: "gone", Rev: 2, Deleted: true}
			res, body := ask(t, newServer(t, tasks, Config{}).Public(), c.method, c.target, c.body, c.headers...)
			if res.StatusCode != c.status {
				t.Fatalf("status %d, want %d: %s", res.StatusCode, c.status, body)
			}
			if c.status >= 400 {
				if tasks.commits != 0 {
					t.Error("an error was answered, yet something was committed")
				}
				checkError(t, body, c.code, c.says)
				return
			}
			if tag, ok := strings.CutPrefix(c.says, "ETag "); ok {
				if got := res.Header.Get("ETag"); !strings.HasPrefix(got, tag) {
					t.Errorf("ETag %s, want %s…", got, tag)
				}
			} else if !strings.Contains(body, c.says) {
				t.Errorf("body %s lacks %s", body, c.says)
			}
			if (c.status == 204 || c.status == 304) && body != "" {
				t.Errorf("body %q", body)
			}
		})
	}
}

// checkError wants this code, and a message that holds says, which may not be
// empty: every message is there to tell people something.
func checkError(t *testing.T, body, code, says string) {
	t.Helper()
	if says == "" {
		t.Errorf("the test doesn't say what the message of %s tells: %s", code, body)
	}
	var e struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if e.Error.Code != code || !strings.Contains(e.Error.Message, says) {
		t.Errorf("error %+v, want code %s with %q", e.Error, code, says)
	}
}

func TestCreatedTaskIsTheOneThatWasSent(t *testing.T) {
	tasks := newMapTasks()
	h := newServer(t, tasks, Config{}).Public()
	res, body := ask(t, h, "POST", "/tasks", "assignee=Bill&description=%F0%9F%98%80+%3Cb%3E%27%22", form)
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(body), &made); err != nil {
		t.Fatal(err)
	}
	if want := "/tasks/" + made.ID; res.Header.Get("Location") != want {
		t.Errorf("Location %q, want %q", res.Header.Get("Location"), want)
	}
	if made.ID[14] != '7' {
		t.Errorf("%s is no UUIDv7", made.ID)
	}
	if got, want := tasks.recs[made.ID].Body, (task.Task{Assignee: "Bill", Description: `😀 <b>'"`}); got != want {
		t.Errorf("stored %+v, want %+v", got, want)
	}
	res, _ = ask(t, h, "GET", "/tasks/"+made.ID, "")
	if tag := res.Header.Get("ETag"); !strings.HasPrefix(tag, `"1-`) {
		t.Errorf("ETag %s", tag)
	}
}

func TestIdempotencyKey(t *testing.T) {
	tasks := newMapTasks()
	h := newServer(t, tasks, Config{}).Public()
	post := func(body, contentType string) (int, string) {
		res, answer := ask(t, h, "POST", "/tasks", body, contentType, "Idempotency-Key: k1")
		return res.StatusCode, answer
	}
	status, first := post("assignee=Bill&description=walk", form)
	if status != 201 {
		t.Fatal(status, first)
	}
	id := keyID("k1").String()
	if !strings.Contains(first, id) || id[14] != '8' {
		t.Errorf("%s, want the UUIDv8 %s", first, id)
	}
	// The same fields, sent otherwise, are the same request.
	if status, again := post(`{"description":"walk", "assignee":"Bill"}`, asDoc); status != 200 || again != first {
		t.Errorf("repeat: %d %s", status, again)
	}
	if status, answer := post("assignee=Bill&description=run", form); status != 422 {
		t.Errorf("other body: %d %s", status, answer)
	} else {
		checkError(t, answer, "idempotency_key_reuse", "used for another request")
	}
	// A later change of the task doesn't make the repeat another request.
	ask(t, h, "PATCH", "/tasks/"+id, `{"description":"swim"}`, asDoc)
	ask(t, h, "DELETE", "/tasks/"+id, "")
	commits := tasks.commits
	if status, again := post("assignee=Bill&description=walk", form); status != 200 || again != first {
		t.Errorf("repeat after deletion: %d %s", status, again)
	}
	if tasks.commits != commits || !tasks.recs[id].Deleted {
		t.Error("the repeat brought the task back")
	}
}

func TestLists(t *testing.T) {
	tasks := newMapTasks()
	const n = 2*chunk + 7 // more than the store is asked for at once
	for i := range n {
		tasks.put(fmt.Sprintf("b%04d", i), task.Task{Assignee: "Bill", Description: "x"}, 1)
	}
	tasks.put("j1", task.Task{Assignee: "Jane", Description: "x"}, 1)
	tasks.put("j2", task.Task{Assignee: "Jane", Description: "x", Done: true}, 1)
	h := newServer(t, tasks, Config{}).Public()
	list := func(target string) ([]view, *http.Response) {
		t.Helper()
		res, body := ask(t, h, "GET", target, "")
		var out []view
		if err := json.Unmarshal([]byte(body), &out); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		return out, res
	}
	for target, want := range map[string]int{
		"/tasks?assignee=Bill": n, "/tasks?assignee=Jane": 1, "/tasks?assignee=Jane&done=true": 1,
		"/tasks?assignee=Jane&done=all": 2, "/tasks": n + 1, "/tasks?done=all&after=j1": 1, "/tasks?limit=99999": maxPage,
	} {
		if got, _ := list(target); len(got) != want {
			t.Errorf("%s: %d tasks, want %d", target, len(got), want)
		}
	}
	seen, target := 0, "/tasks?assignee=Bill&limit=300"
	for target != "" {
		page, res := list(target)
		for _, v := range page {
			if want := fmt.Sprintf("b%04d", seen); v.ID != want {
				t.Fatalf("%s instead of %s", v.ID, want)
			}
			seen++
		}
		link := res.Header.Get("Link")
		target, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), ">")
		if link != "" && !strings.HasSuffix(link, `; rel="next"`) {
			t.Fatalf("Link %s", link)
		}
	}
	if seen != n {
		t.Errorf("pages held %d tasks, want %d", seen, n)
	}
	if _, res := list(fmt.Sprintf("/tasks?assignee=Bill&limit=%d&after=b%04d", chunk, n-chunk-1)); res.Header.Get("Link") != "" {
		t.Error("a last page that is full links to a next one")
	}
}

// The tag is the rev and the content: another content under the same rev has
// another one. The epoch, which a backfill raises, is not seen here.
func TestTheTagIsTheRevAndTheContent(t *testing.T) {
	rec := record{ID: "a", Rev: 3, Body: task.Task{Assignee: "Bill", Description: "walk"}}
	other := rec
	other.Body.Done = true
	// The first half of the SHA-256 of 0x01 and the length and bytes of each text,
	// then 0x05 and eight bytes that are 0.
	if want := `"3-a6be2fffd0a882e1eeb2e487cc6f53f9"`; etag(rec) != want {
		t.Errorf("the tag is %s, want %s", etag(rec), want)
	}
	if etag(other) == etag(rec) {
		t.Error("another content has the same tag")
	}
}
