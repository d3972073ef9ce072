package web

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// TestWritesFromOurOwnPages: whatever a proxy makes of Host, our pages write
// and those of others don't.
func TestWritesFromOurOwnPages(t *testing.T) {
	const far = "203.0.113.9:4000"
	for _, c := range []struct {
		name    string
		peer    string // 127.0.0.1 when empty
		headers []string
		refused string // what the message says; empty: not refused
	}{
		{"no browser", "", nil, ""},
		{"the browser says so", "", []string{"Sec-Fetch-Site: same-origin", "Origin: https://todo.example"}, ""},
		{"typed by hand", "", []string{"Sec-Fetch-Site: none"}, ""},
		{"Host as it was", "", []string{"Origin: http://example.com"}, ""},
		{"Host rewritten", "", []string{"Origin: http://todo.lan"}, "the page is of http://todo.lan, the request is for example.com"},
		{"what must be passed on", "", []string{"Origin: http://todo.lan"}, "X-Forwarded-Host"},
		{"forwarded", "", []string{"Origin: http://todo.lan", "X-Forwarded-Host: todo.lan"}, ""},
		{"forwarded over IPv6", "[::1]:4000", []string{"Origin: http://todo.lan", "X-Forwarded-Host: todo.lan"}, ""},
		{"another case", "", []string{"Origin: http://todo.lan", "X-Forwarded-Host: ToDo.lan"}, ""},
		{"with a port", "", []string{"Origin: http://todo.lan:8080", "X-Forwarded-Host: todo.lan:8080"}, ""},
		{"the port apart", "", []string{"Origin: http://todo.lan:8080", "X-Forwarded-Host: todo.lan", "X-Forwarded-Port: 8080"}, ""},
		{"the port of a hop within", "", []string{"Origin: https://todo.lan", "X-Forwarded-Host: todo.lan", "X-Forwarded-Port: 5000"}, ""},
		{"the port that is meant", "", []string{"Origin: https://todo.lan", "X-Forwarded-Host: todo.lan:443"}, ""},
		{"IPv6", "", []string{"Origin: http://[2001:db8::1]:81", "X-Forwarded-Host: [2001:db8::1]", "X-Forwarded-Port: 81"}, ""},
		{"two proxies", "", []string{"Origin: http://todo.lan", "X-Forwarded-Host: todo.lan, inner.lan"}, ""},
		{"another port", "", []string{"Origin: http://todo.lan:81", "X-Forwarded-Host: todo.lan"}, "is for todo.lan."},
		{"another host", "", []string{"Origin: http://evil.example", "X-Forwarded-Host: todo.lan"}, "evil.example"},
		{"the second proxy's", "", []string{"Origin: http://inner.lan", "X-Forwarded-Host: todo.lan, inner.lan"}, "inner.lan"},
		{"from afar", far, []string{"Origin: http://todo.lan", "X-Forwarded-Host: todo.lan"}, "todo.lan"},
		{"the browser says no", "", []string{"Sec-Fetch-Site: cross-site", "Origin: http://todo.lan", "X-Forwarded-Host: todo.lan"}, "cross-site"},
		{"a sibling", "", []string{"Sec-Fetch-Site: same-site", "Origin: http://a.lan", "X-Forwarded-Host: b.lan"}, "same-site"},
		{"no origin", "", []string{"Origin: null", "X-Forwarded-Host: null"}, "the page is of null"},
		{"an empty host", "", []string{"Origin: null", "X-Forwarded-Host: "}, "the page is of null"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tasks := newMapTasks()
			r := httptest.NewRequest("POST", "/tasks", strings.NewReader("assignee=Bill&description=x"))
			r.RemoteAddr = "127.0.0.1:4000"
			if c.peer != "" {
				r.RemoteAddr = c.peer
			}
			for _, line := range append(c.headers, form) {
				name, value, _ := strings.Cut(line, ": ")
				r.Header.Add(name, value)
			}
			w := httptest.NewRecorder()
			newServer(t, tasks, Config{}).Public().ServeHTTP(w, r)
			switch {
			case c.refused == "" && (w.Code != 201 || tasks.commits != 1):
				t.Errorf("refused: %d %s", w.Code, w.Body)
			case c.refused != "" && (w.Code != 403 || tasks.commits != 0):
				t.Errorf("not refused: %d %s", w.Code, w.Body)
			case c.refused != "":
				checkError(t, w.Body.String(), "cross_origin", c.refused)
			}
		})
	}
}
