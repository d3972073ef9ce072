package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestBatchReturnsIdsInOrder(t *testing.T) {
	c := newClients(serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/tasks/"+r.FormValue("description"))
		w.WriteHeader(http.StatusCreated)
	}), workers)
	defer c.close()
	r, ids, err := c.batch(t.Context(), workers, repeat(50, func(i int) request { return createTask("Bill", fmt.Sprint(i)) }))
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		if id != fmt.Sprint(i) {
			t.Fatalf("id %d is %q", i, id)
		}
	}
	if n := r.count("create"); n != 50 {
		t.Errorf("%d times, want 50", n)
	}
}

// One answer in twenty is wrong: that build must not get a figure.
func TestBatchRefusesFailures(t *testing.T) {
	var n atomic.Int64
	c := newClients(serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1)%20 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}), workers)
	defer c.close()
	_, _, err := c.batch(t.Context(), workers, repeat(40, func(int) request { return getTask("x") }))
	if err == nil || !strings.Contains(err.Error(), "2 of 40") || !strings.Contains(err.Error(), "503") {
		t.Errorf("error %v, want the number of failures and the first", err)
	}
}

// A write that may have arrived is never sent a second time.
func TestWriteIsSentOnce(t *testing.T) {
	var posts atomic.Int64
	c := newClients(serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" && posts.Add(1) > 1 {
			panic(http.ErrAbortHandler) // on a connection that was used before
		}
		w.WriteHeader(http.StatusCreated)
	}), 1)
	defer c.close()
	for range 2 {
		_, _ = c.do(t.Context(), createTask("Bill", "milk"))
	}
	if n := posts.Load(); n != 2 {
		t.Errorf("two creates arrived as %d", n)
	}
}

// While a service stands still, all requests that are due meanwhile are charged
// for it, not only the one that it holds.
func TestPacedChargesForStandstill(t *testing.T) {
	var still sync.RWMutex
	c := newClients(serve(t, func(http.ResponseWriter, *http.Request) {
		still.RLock()
		defer still.RUnlock()
	}), 64)
	defer c.close()
	const due, rate = 40, 200
	sent, release := 0, make(chan struct{})
	still.Lock()
	go func() { <-release; still.Unlock() }()
	r := c.paced(t.Context(), rate, func() (request, bool) {
		if sent == due {
			close(release)
			return request{}, false
		}
		sent++
		return getTask("x"), true
	})
	if n := r.count("get"); n != due {
		t.Errorf("%d requests were measured, want all %d that were due", n, due)
	}
	// The first one waits for as long as the others take to come due.
	if first, median := r.quantile("get", 100), r.quantile("get", 50); first < float64(due-1)/rate*1000 || median < first/4 {
		t.Errorf("worst %v ms, median %v ms: the standstill is hidden", first, median)
	}
}

func TestConsolesAsk(t *testing.T) {
	var configs atomic.Int64
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/config" {
			configs.Add(1)
		}
	})
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	open := openConsoles(ctx, &site{relay: address}, 3)
	if err := open.round(ctx); err != nil {
		t.Fatal(err)
	}
	open.close()
	seen := open.mark()
	if n := seen.count("config"); n < 3 || seen.failures() > 0 || configs.Load() < 3 {
		t.Errorf("3 consoles asked %d times, %d failed", n, seen.failures())
	}
}
