package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/task"
	"migrate.invalid/migrate/app/todo"
)

// pagedTasks is many tasks that no memory holds: a page is made when it is
// asked for.
type pagedTasks struct {
	*mapTasks
	pages int
	slow  time.Duration // how long a page takes
	err   error         // instead of the last page
	asked int
}

func (p *pagedTasks) List(ctx context.Context, _ task.Filter, after *string, limit int) (page todo.Page, err error) {
	var n int
	if after != nil {
		if _, err := fmt.Sscanf(*after, "%d", &n); err != nil {
			return page, err
		}
	}
	p.asked++
	time.Sleep(p.slow)
	if n == (p.pages-1)*limit {
		limit, page.End = limit/2, true
		if p.err != nil {
			return page, p.err
		}
	}
	page.Records = make([]record, limit)
	for i := range page.Records {
		n++
		page.Next = fmt.Sprintf("%08d", n)
		page.Records[i] = record{ID: fmt.Sprintf("%08d", n), Body: task.Task{Assignee: "Bill", Description: strings.Repeat("x", 100)}}
	}
	return page, ctx.Err()
}

// serveLists answers with short limits for whole requests.
func serveLists(t *testing.T, tasks *pagedTasks) *httptest.Server {
	t.Helper()
	s, err := New(Config{Step: 4}, tasks)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(s.Public())
	server.Config.ReadTimeout, server.Config.WriteTimeout = time.Second, time.Second
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// TestLongListOutlastsTheLimitOfARequest: a list of many pages takes as long as
// it takes, if only each page comes in time.
func TestLongListOutlastsTheLimitOfARequest(t *testing.T) {
	tasks := &pagedTasks{mapTasks: newMapTasks(), pages: 20, slow: 120 * time.Millisecond}
	res, err := http.Get(serveLists(t, tasks).URL + "/tasks?done=all")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var list []view
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	if want := 19*chunk + chunk/2; len(list) != want || list[want-1].ID != fmt.Sprintf("%08d", want) {
		t.Errorf("%d tasks, want %d", len(list), want)
	}
}

// TestBrokenListIsNoWholeList: what fails in the middle can't be taken for the
// whole, neither by its transfer nor as JSON.
func TestBrokenListIsNoWholeList(t *testing.T) {
	tasks := &pagedTasks{mapTasks: newMapTasks(), pages: 3, err: fmt.Errorf("old: %w", store.ErrUnavailable)}
	server := serveLists(t, tasks)
	res, err := http.Get(server.URL + "/tasks?done=all")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the transfer ended as a whole one does: %v", err)
	}
	if json.Valid(body) || len(body) == 0 {
		t.Errorf("%d bytes that are JSON: %v", len(body), json.Valid(body))
	}
	metrics, err := http.Get(server.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer metrics.Body.Close()
	text, err := io.ReadAll(metrics.Body)
	if err != nil || !strings.Contains(string(text), `migrate_http_requests_total{code="500",method="GET",route="/tasks"} 1`) {
		t.Errorf("the metrics don't count it as an error: %v", err)
	}
	// The first page decides on the status.
	tasks.pages = 1
	first, err := http.Get(server.URL + "/tasks?done=all")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Body.Close()
	if first.StatusCode != http.StatusServiceUnavailable || first.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %v", first.Status, first.Header)
	}
}

// TestListIsReadNoFurtherThanItIsWanted: by nobody for a HEAD, and for a client
// that goes away no page more.
func TestListIsReadNoFurtherThanItIsWanted(t *testing.T) {
	tasks := &pagedTasks{mapTasks: newMapTasks(), pages: 1 << 20}
	server := serveLists(t, tasks)
	res, err := http.Head(server.URL + "/tasks?done=all")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 || tasks.asked != 1 {
		t.Errorf("%s after %d pages", res.Status, tasks.asked)
	}
	res, err = http.Get(server.URL + "/tasks?done=all")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, res.Body, 1<<20); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	server.Close() // returns once the handler has ended
	if tasks.asked > 1<<15 {
		t.Errorf("%d pages were read for a client that wanted a few", tasks.asked)
	}
}
