package fire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// client makes one request at a time, on whatever record the pool gives it.
type client struct {
	f      *Fire
	number int
	conn   *conn
	rng    *rand.Rand
	turns  int
}

// backoff is how long a client waits after an answer that is none: a service
// that is down would spend every record on unknown outcomes.
const backoff = 100 * time.Millisecond

func (c *client) name() string { return fmt.Sprintf("client %d", c.number) }

func (c *client) run(ctx context.Context) {
	defer c.conn.close()
	for ctx.Err() == nil {
		c.turns++
		if !c.turn(ctx) {
			pause(ctx, backoff)
		}
		pause(ctx, time.Duration(c.rng.Int64N(int64(c.f.cfg.Think))))
	}
}

// turn reports whether the service answered.
func (c *client) turn(ctx context.Context) bool {
	r, add := c.f.pool.take(c.rng)
	switch {
	case add:
		return c.make(ctx)
	case r == nil:
		return true
	}
	defer c.f.pool.give(r)
	if c.rng.IntN(16) == 0 {
		return c.list(r.assignee, r)
	}
	return c.use(r)
}

// use makes one request on a record.
func (c *client) use(r *record) bool {
	text := label(c.name(), c.turns)
	switch n := c.rng.IntN(100); {
	case n < 40:
		return c.ask(r, request{Op: opGet})
	case n < 80:
		return c.ask(r, request{Op: opPatch, Description: text})
	case n < 88:
		last, tag := r.named()
		return c.ask(r, request{Op: opPatch, Description: text, If: last, Tag: tag})
	case n < 92:
		return c.ask(r, request{Op: opDone})
	case n < 97 && r.key != "":
		return c.ask(r, request{Op: opCreate, Description: r.body})
	case n < 98 && r.key != "":
		return c.ask(r, request{Op: opCreate, Description: text})
	case n < 99:
		return c.ask(r, request{Op: opDelete})
	}
	return c.ask(r, request{Op: opGet})
}

// make makes a record. With an Idempotency-Key it is tried again until some
// answer tells its id; without, an unknown outcome is the end of it.
func (c *client) make(ctx context.Context) bool {
	r := &record{assignee: c.f.pool.assignee(), body: label(c.name(), c.turns)}
	if c.rng.IntN(3) > 0 {
		r.key = label(fmt.Sprint("key ", c.f.cfg.Seed), c.number) + label("", c.turns)
	}
	for {
		ok := c.ask(r, request{Op: opCreate, Description: r.body})
		if ok || r.key == "" || r.spent() || ctx.Err() != nil {
			c.f.pool.add(r)
			return ok
		}
		pause(ctx, backoff)
	}
}

// ask sends one request and notes what came of it. It reports whether the
// service answered.
func (c *client) ask(r *record, req request) bool {
	method, path, header, body := wire(r, req)
	call := c.f.clock()
	status, tag, text, err := c.conn.do(method, path, header, body)
	ret := c.f.clock()
	a, told := understand(req, status, tag, text, err)
	if id := idOf(text); req.Op == opCreate && id != "" && a.Status != unknown {
		if r.id == "" { // only whoever makes the record can meet it without
			r.id = id
		}
		if id != r.id {
			a.View.Description = "another id: " + id
		}
	}
	c.f.tally.count(req.Op, a, told, status, text, err)
	if !told || req.Op == opGet && a.Status == unknown {
		return false
	}
	r.note(event{c.name(), req, a, tag, call, ret})
	return a.Status != unknown
}

// wire says a request in HTTP's words.
func wire(r *record, req request) (method, path string, header http.Header, body string) {
	path, header = "/tasks/"+url.PathEscape(r.id), http.Header{}
	object := func(m map[string]string) string {
		header.Set("Content-Type", "application/json")
		b, _ := json.Marshal(m) // strings always can be
		return string(b)
	}
	if req.Tag != "" {
		header.Set("If-Match", req.Tag)
	}
	switch req.Op {
	case opCreate:
		if r.key != "" {
			header.Set("Idempotency-Key", r.key)
		}
		return http.MethodPost, "/tasks", header, object(map[string]string{"assignee": r.assignee, "description": req.Description})
	case opPatch:
		return http.MethodPatch, path, header, object(map[string]string{"description": req.Description})
	case opDone:
		return http.MethodPut, path, header, ""
	case opDelete:
		return http.MethodDelete, path, header, ""
	}
	return http.MethodGet, path, header, ""
}

// understand reads an answer; the rev is in its tag. told is false if the request had no effect, for
// sure: it never left, or the service says so.
func understand(req request, status int, tag string, text []byte, err error) (a answer, told bool) {
	switch {
	case errors.Is(err, errNotSent):
		return answer{}, false
	case err != nil:
		return answer{}, true
	case status == http.StatusConflict:
		return answer{}, false
	case status >= 500:
		code := codeOf(text)
		return answer{}, status != http.StatusServiceUnavailable || code != "unavailable" && code != "refused"
	}
	a.Status = status
	if status == http.StatusOK && req.Op != opCreate {
		_, untagged := fmt.Sscanf(tag, `"%d-`, &a.View.Rev)
		if json.Unmarshal(text, &a.View) != nil || untagged != nil {
			a.View.Description = fmt.Sprintf("not a task: %.80s, tagged %s", text, tag)
		}
	}
	return a, true
}

func codeOf(text []byte) string {
	var e struct{ Error struct{ Code string } }
	_ = json.Unmarshal(text, &e) // what is no error object has no code
	return e.Error.Code
}

func idOf(text []byte) string {
	var made struct{ ID string }
	_ = json.Unmarshal(text, &made) // without an id nobody can work on it
	return made.ID
}

// tally counts what was asked and how it was answered.
type tally struct {
	answered atomic.Int64
	written  atomic.Int64 // acknowledged

	mu       sync.Mutex
	ops      map[op]int
	unknown  int
	refused  int            // no effect, for sure
	kinds    map[string]int // of answers that are none
	surprise []string       // answers that no request can get
}

// count takes in one request and its answer.
func (t *tally) count(o op, a answer, told bool, status int, text []byte, err error) {
	if told && a.Status != unknown {
		t.answered.Add(1)
		if o == opPatch && a.Status == http.StatusOK { // what can only be had from the primary
			t.written.Add(1)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enter(o, a, told)
	switch {
	case err != nil:
		t.kinds[kindOf(err)]++
	case a.Status == unknown:
		t.kinds[fmt.Sprintf("%d %s", status, codeOf(text))]++
	}
	if err == nil && !expected(status, codeOf(text)) && len(t.surprise) < 10 {
		t.surprise = append(t.surprise, fmt.Sprintf("a %s was answered %d: %.200s", o, status, text))
	}
}

// foreign takes in a statement of a foreign program.
func (t *tally) foreign(o op, a answer, told bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.enter(o, a, told)
	switch {
	case !told:
		t.kinds["SQL without effect"]++
	case a.Status == unknown:
		t.kinds["SQL error"]++
	}
}

func (t *tally) enter(o op, a answer, told bool) {
	if t.ops == nil {
		t.ops, t.kinds = map[op]int{}, map[string]int{}
	}
	t.ops[o]++
	switch {
	case !told:
		t.refused++
	case a.Status == unknown && o != opGet && o != opList:
		t.unknown++
	}
}

// expected reports whether a service may answer so, whatever befalls it.
func expected(status int, code string) bool {
	switch status {
	case 200, 201, 204, 404, 409, 412:
		return true
	case 422:
		return code == "idempotency_key_reuse"
	case 503:
		return code == "unavailable" || code == "refused" || code == "outcome_unknown"
	}
	return false
}

func kindOf(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, errNotSent):
		return "no connection"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "time-out"
	}
	return "connection lost"
}
