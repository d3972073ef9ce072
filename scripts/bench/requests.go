package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// patience is how long a client waits for an answer, as the pages do.
const patience = 20 * time.Second

// request is one request of a client.
type request struct {
	kind   string // in tables
	method string
	path   string
	form   url.Values
	want   int
}

func createTask(assignee, description string) request {
	return request{"create", "POST", "/tasks", url.Values{"assignee": {assignee}, "description": {description}}, http.StatusCreated}
}

func getTask(id string) request {
	return request{"get", "GET", "/tasks/" + url.PathEscape(id), nil, http.StatusOK}
}

func finishTask(id string) request {
	return request{"mark done", "PUT", "/tasks/" + url.PathEscape(id), nil, http.StatusOK}
}

func listTasks(assignee string) request {
	return request{"list", "GET", "/tasks?limit=100&assignee=" + url.QueryEscape(assignee), nil, http.StatusOK}
}

// clients talk to one address on connections that they keep.
type clients struct {
	base string
	http *http.Client
}

func newClients(address string, most int) *clients {
	return &clients{"http://" + address, &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{MaxIdleConnsPerHost: most, DisableCompression: true},
	}}
}

func (c *clients) close() { c.http.CloseIdleConnections() }

// do sends one request and reads the whole answer. It returns the id in the
// answer's Location, if there is one. A write is never repeated.
func (c *clients) do(ctx context.Context, r request) (id string, err error) {
	var body io.Reader
	if r.form != nil {
		body = strings.NewReader(r.form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, r.method, c.base+r.path, body)
	if err != nil {
		return "", err
	}
	req.GetBody = nil // or the transport could send it again
	if r.form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	if resp.StatusCode != r.want {
		return "", fmt.Errorf("%s %s: %d, want %d: %.200s", r.method, r.path, resp.StatusCode, r.want, text)
	}
	if location := resp.Header.Get("Location"); location != "" {
		return url.PathUnescape(path.Base(location))
	}
	return "", nil
}

// result is what clients saw. Times are in microseconds, by kind of request.
type result struct {
	mu      sync.Mutex
	elapsed time.Duration
	times   map[string]*hdrhistogram.Histogram
	failed  map[string]int64
	first   error // of the failures
}

func newResult() *result {
	return &result{times: map[string]*hdrhistogram.Histogram{}, failed: map[string]int64{}}
}

func (r *result) add(kind string, took time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.times[kind] == nil {
		r.times[kind] = hdrhistogram.New(1, time.Hour.Microseconds(), 3)
	}
	_ = r.times[kind].RecordValue(max(1, took.Microseconds())) // fails beyond an hour, which patience does not allow
	if err != nil {
		r.failed[kind]++
		if r.first == nil {
			r.first = err
		}
	}
}

// count is the number of requests of a kind, failed ones too.
func (r *result) count(kind string) int64 {
	if r.times[kind] == nil {
		return 0
	}
	return r.times[kind].TotalCount()
}

// quantile is in milliseconds; 100 is the worst.
func (r *result) quantile(kind string, q float64) float64 {
	if r.times[kind] == nil {
		return 0
	}
	return float64(r.times[kind].ValueAtQuantile(q)) / 1000
}

// failures is the number of requests of all kinds that failed.
func (r *result) failures() (n int64) {
	for _, f := range r.failed {
		n += f
	}
	return n
}

// batch sends the requests by some clients, each of which sends its next one
// when it has its answer. It returns the ids in the answers. A request that
// fails is an error: a build that fails is not to be called fast.
func (c *clients) batch(ctx context.Context, workers int, requests []request) (*result, []string, error) {
	r, ids := newResult(), make([]string, len(requests))
	turns := make(chan int, len(requests))
	for n := range requests {
		turns <- n
	}
	close(turns)
	began := time.Now()
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for n := range turns {
				if ctx.Err() != nil {
					return
				}
				sent := time.Now()
				id, err := c.do(ctx, requests[n])
				r.add(requests[n].kind, time.Since(sent), err)
				ids[n] = id
			}
		})
	}
	working.Wait()
	r.elapsed = time.Since(began)
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	if n := r.failures(); n > 0 {
		return nil, nil, fmt.Errorf("%d of %d requests failed, the first: %w", n, len(requests), r.first)
	}
	return r, ids, nil
}

// paced sends requests at a rate until the context ends or next has no more. A
// request's time begins when it is due, so that a service that stands still is
// charged for all that wait. It returns when all are answered.
func (c *clients) paced(ctx context.Context, perSecond int, next func() (request, bool)) *result {
	r := newResult()
	var waiting sync.WaitGroup
	began := time.Now()
	for n := 0; ; n++ {
		due := began.Add(time.Duration(n) * time.Second / time.Duration(perSecond))
		if !sleep(ctx, time.Until(due)) {
			break
		}
		req, more := next()
		if !more {
			break
		}
		waiting.Go(func() {
			// An answer that is under way when the time is over is still waited for.
			_, err := c.do(context.WithoutCancel(ctx), req)
			r.add(req.kind, time.Since(due), err)
		})
	}
	waiting.Wait()
	r.elapsed = time.Since(began)
	return r
}

// sleep reports whether it lasted as long as was asked.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}
