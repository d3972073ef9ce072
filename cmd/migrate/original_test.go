package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"migrate.invalid/migrate/nginx/nginxtest"
	"migrate.invalid/migrate/static/browsertest"
)

// wire sends a request byte by byte as it is written, and returns the status
// and the body of the answer.
func wire(t *testing.T, address, head, body string) (int, string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "%s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", strings.ReplaceAll(head, "\n", "\r\n"), len(body), body); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, strings.TrimSpace(string(answer))
}

// TestClientsOfTheOriginal: what the original's pages send goes through nginx
// as it is and means what it meant. A proxy in front that rewrites Host, as
// nginx does unless it is told otherwise, shuts our own pages out neither when
// the browser says where they are from nor when the proxy says what was asked
// for.
func TestClientsOfTheOriginal(t *testing.T) {
	s := up(t)
	const json, form = "\nContent-Type: application/json;charset=utf-8", "\nContent-Type: application/x-www-form-urlencoded"
	address := strings.TrimPrefix(s.url(), "http://")
	ask := func(line, headers, body string, status int, want string) {
		t.Helper()
		got, answer := wire(t, address, line+" HTTP/1.1\nHost: "+address+headers, body)
		if got != status || !strings.Contains(answer, want) {
			t.Errorf("%s: %d %s, want %d with %s", line, got, answer, status, want)
		}
	}
	ask("GET /tasks?done=False&assignee=Ann", "", "", 200, `[{"id":"l-1","assignee":"Ann","description":"first","done":false}]`)
	ask("PUT /tasks/l-1", json, `{"timeout":1000}`, 200, `{"id":"l-1","assignee":"Ann","description":"first","done":true}`)
	ask("POST /tasks", form, "assignee=A;B&description=milk;+eggs", 201, `{"id":"`)
	ask("GET /tasks?done=False&assignee=A;B", "", "", 200, `"assignee":"A;B","description":"milk; eggs","done":false}]`)
	ask("GET /tasks?assignee=100%", "", "", 400, `"malformed"`)

	port := s.first + 38
	silent := nginxtest.StartPlain(t, port)
	telling := nginxtest.StartPlain(t, port, `proxy_set_header X-Forwarded-Host $http_host;`)

	// This machine by its address: the browser says that the page is the service's.
	tab := browsertest.New(t)
	addTask(tab, "http://"+silent.Listen, "by the browser's word")

	// By a name, without TLS: the browser says nothing, the proxy must.
	_, far, _ := net.SplitHostPort(telling.Listen)
	named := browsertest.New(t, chromedp.Flag("host-resolver-rules", "MAP todo.example 127.0.0.1"))
	addTask(named, "http://todo.example:"+far, "by the proxy's word")
	_, mute, _ := net.SplitHostPort(silent.Listen)
	named.Open("http://todo.example:" + mute)
	named.Wait(`document.querySelector("#new input")`)
	browsertest.Eval[bool](named, `(document.querySelector("#new input").select(), true)`)
	named.Keys("by nobody's\r")
	named.Text(`#message[data-kind="bad"]`, "must pass on the Host that the browser sent")
}

func addTask(tab *browsertest.Tab, page, description string) {
	tab.Open(page)
	tab.Wait(`document.querySelector("#new input")`)
	browsertest.Eval[bool](tab, `(document.querySelector("#new input").select(), true)`)
	tab.Keys(description + "\r")
	tab.Text("#message", "Added for Bill: "+description)
}
