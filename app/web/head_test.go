package web

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// HEAD answers as GET does, without the body. A server takes part, since it and
// not the handler leaves the body out; what is left is read past the header.
func TestHeadAnswersAsGetWithoutTheBody(t *testing.T) {
	tasks := newMapTasks()
	server := httptest.NewServer(newServer(t, tasks, Config{}).Public())
	defer server.Close()
	res, err := http.Post(server.URL+"/tasks", "application/x-www-form-urlencoded", strings.NewReader("assignee=Bill&description=walk"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	for _, target := range []string{res.Header.Get("Location"), "/tasks?assignee=Bill", "/config", "/tasks/none"} {
		get, body := askRaw(t, server, "GET", target)
		head, rest := askRaw(t, server, "HEAD", target)
		if body == "" || rest != "" {
			t.Errorf("%s: after GET's header come %d bytes, after HEAD's %q; want some, and none", target, len(body), rest)
		}
		for _, h := range []*http.Response{get, head} {
			h.Header.Del("Date")
		}
		if diff := cmp.Diff(get.Header, head.Header); head.StatusCode != get.StatusCode || diff != "" {
			t.Errorf("%s: GET answers %s, HEAD %s; their headers differ: %s", target, get.Status, head.Status, diff)
		}
	}
}

// askRaw returns the answer and whatever comes after its header.
func askRaw(t *testing.T, server *httptest.Server, method, target string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, target)
	all, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(all, []byte("\r\n\r\n"))
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(all)), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res, string(rest)
}
