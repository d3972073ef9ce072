package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"migrate.invalid/migrate/nginx/nginxtest"
)

const (
	longest  = 3 * time.Second       // that a client idles between an answer and the next request
	oneWay   = 10 * time.Millisecond // to nginx, for those that idle
	patience = time.Minute           // of a client, for one request
)

// crowd is many clients, each on a connection that it keeps, which repeat
// nothing: bytes on a socket, no HTTP client that could mend what a switch breaks.
// They do what a careful client can: when a connection ends while it is idle, the
// next request goes on another one. What fails then no client could avoid.
type crowd struct {
	t       *testing.T
	stop    context.CancelFunc
	clients sync.WaitGroup
	done    atomic.Int64 // requests
	failed  atomic.Int64
	ended   atomic.Int64 // connections, by nginx and without a word, while they were idle

	mu    sync.Mutex
	began time.Time
	worst time.Duration     // that an answer took
	first error             // of the failures
	told  map[string]string // description by id, of what was acknowledged
}

// gather starts the clients: some that are busy, and some that are far away and idle.
// Of each four requests one creates a task, if they update; else all do.
func gather(t *testing.T, base string, busy, idle int, think time.Duration, updates bool) *crowd {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	c := &crowd{t: t, stop: stop, began: time.Now(), told: map[string]string{}}
	near := strings.TrimPrefix(base, "http://")
	far := nginxtest.Relay(t, near, oneWay)
	for n := range busy + idle {
		v := &visitor{crowd: c, name: fmt.Sprint("client ", n), address: near, updates: updates}
		v.think = func() time.Duration { return rand.N(think) }
		if n >= busy {
			v.address, v.think = far, pause
		}
		c.clients.Go(func() { v.run(ctx) })
	}
	t.Cleanup(c.end) // before its relay's
	return c
}

func (c *crowd) end() {
	c.stop()
	c.clients.Wait()
}

// String says what they saw, once they have ended.
func (c *crowd) String() string {
	return fmt.Sprintf("%d requests in %.1f s, the slowest %d ms; %d failed, %d idle connections ended",
		c.done.Load(), time.Since(c.began).Seconds(), c.worst.Milliseconds(), c.failed.Load(), c.ended.Load())
}

func (c *crowd) fail(err error) {
	c.failed.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first = cmp.Or(c.first, err)
}

// more waits until n more requests are answered, or have failed.
func (c *crowd) more(n int64) {
	c.t.Helper()
	seen := func() int64 { return c.done.Load() + c.failed.Load() }
	deadline := time.Now().Add(2 * patience)
	for want := seen() + n; seen() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatal("the clients stand still")
		}
	}
}

// unharmed wants no request to have failed, no connection to have ended without
// a word, and all that was acknowledged to be there.
func (c *crowd) unharmed(base string) {
	c.t.Helper()
	if n := c.failed.Load(); n > 0 {
		c.t.Errorf("%d requests failed, the first: %v", n, c.first)
	}
	if n := c.ended.Load(); n > 0 {
		c.t.Errorf("%d connections were ended while they were idle", n)
	}
	var list []struct{ ID, Description string }
	b := &browser{c.t, base, nil}
	if err := json.Unmarshal(b.do("GET", "/tasks?assignee=Bill", nil, 200), &list); err != nil {
		c.t.Fatal(err)
	}
	there := map[string]string{}
	for _, task := range list {
		there[task.ID] = task.Description
	}
	lost := 0
	for id, description := range c.told {
		if there[id] != description {
			lost++
		}
	}
	if lost > 0 || len(there) != len(c.told) {
		c.t.Errorf("of %d tasks %d are not as they were acknowledged; %d are listed", len(c.told), lost, len(there))
	}
}

// visitor is one of the clients.
type visitor struct {
	*crowd
	name, address string
	think         func() time.Duration
	updates       bool
	turns         int
	own           string // the id of the task that it made last
	conn          net.Conn
	answers       *bufio.Reader
}

// pause is a person's: of each length as likely as one of ten times it, so that
// there are always some who come back soon to a connection that they have just used.
func pause() time.Duration {
	return time.Duration(float64(longest) * math.Pow(10, -2*rand.Float64()))
}

func (v *visitor) run(ctx context.Context) {
	defer v.hangUp()
	for v.idle(ctx) {
		if err := v.ask(); err != nil {
			v.fail(fmt.Errorf("%s: %w", v.name, err))
			v.hangUp()
		} else {
			v.done.Add(1)
		}
	}
}

func (v *visitor) hangUp() {
	if v.conn != nil {
		v.conn.Close()
		v.conn = nil
	}
}

// idle waits, and watches the connection meanwhile. It reports whether to go on.
func (v *visitor) idle(ctx context.Context) bool {
	due := time.Now().Add(v.think())
	if conn := v.conn; conn != nil {
		conn.SetDeadline(due)
		undisturbed := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
		_, err := v.answers.Peek(1)
		if !undisturbed() {
			return false
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			if err == nil {
				v.fail(fmt.Errorf("%s: bytes that nobody asked for", v.name))
			}
			v.ended.Add(1)
			v.hangUp()
		}
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Until(due)):
		return true
	}
}

// ask sends one request and reads its answer.
func (v *visitor) ask() error {
	v.turns++
	description := fmt.Sprintf("%s, turn %d", v.name, v.turns)
	method, path, mediaType, want := "POST", "/tasks", "application/x-www-form-urlencoded", http.StatusCreated
	body := url.Values{"assignee": {"Bill"}, "description": {description}}.Encode()
	if v.updates && v.turns%4 != 1 && v.own != "" {
		method, path, mediaType, want = "PATCH", "/tasks/"+v.own, "application/json", http.StatusOK
		body = fmt.Sprintf(`{"description":%q}`, description)
	}
	asked := time.Now()
	if v.conn == nil {
		conn, err := net.DialTimeout("tcp", v.address, patience)
		if err != nil {
			return err
		}
		v.conn, v.answers = conn, bufio.NewReader(conn)
	}
	v.conn.SetDeadline(asked.Add(patience))
	if _, err := fmt.Fprintf(v.conn, "%s %s HTTP/1.1\r\nHost: test\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		method, path, mediaType, len(body), body); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	resp, err := http.ReadResponse(v.answers, nil)
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("receive body: %w", err)
	}
	var made struct{ ID, Description string }
	if resp.StatusCode != want || json.Unmarshal(answer, &made) != nil || made.ID == "" {
		return fmt.Errorf("%s: got %d %s", method, resp.StatusCode, answer)
	}
	v.own = made.ID
	v.mu.Lock()
	v.told[v.own] = description
	v.worst = max(v.worst, time.Since(asked))
	v.mu.Unlock()
	if resp.Close {
		v.hangUp()
	}
	return nil
}

// round moves traffic to a new instance at the same step. It returns its port
// and that of the one before, which stands by.
func (s *site) round(c *crowd, step int) (port, previous int) {
	s.t.Helper()
	var spawned struct {
		Instance struct{ Port int }
		Retired  []int
	}
	s.json(&spawned, "spawn", "--step", fmt.Sprint(step))
	if len(spawned.Retired) != 1 {
		s.t.Errorf("spawn ended %v, want the one that stood by", spawned.Retired)
	}
	c.more(32)
	var moved struct {
		Port, Previous, Fallback, Cut int
		Drained                       bool
	}
	s.json(&moved, "switch")
	if moved.Port != spawned.Instance.Port || moved.Fallback != moved.Previous || !moved.Drained || moved.Cut != 0 {
		s.t.Errorf("%+v after %+v", moved, spawned)
	}
	c.more(32)
	return moved.Port, moved.Previous
}

// The built program moves traffic forty times, with as many instances started
// and ended, and no request fails, of clients that are busy and of such as are
// far away and idle, on whom a reload closes the connection. The same load
// sees what plain reloads lose, so it would see ours.
func TestSwitchLosesNothing(t *testing.T) {
	const busy, idle, rounds = 64, 256, 40
	const think = 200 * time.Millisecond
	s := newSite(t)
	s.env = append(s.env, "MIGRATE_CREATE=true")
	s.must("nginx", "start")
	for range 2 { // the first round is to find one that stands by
		s.must("spawn", "--step", "1")
		s.must("switch")
	}
	c := gather(t, s.url(), busy, idle, think, false)
	var ports [2]int
	for range rounds {
		ports[0], ports[1] = s.round(c, 1)
	}
	c.end()
	t.Logf("%d switches: %v", rounds, c)
	c.unharmed(s.url())

	plain := nginxtest.StartPlain(t, ports[0])
	serves := func(port int) {
		t.Helper()
		deadline := time.Now().Add(patience)
		for !plainServes(t, plain, port) {
			if time.Now().After(deadline) {
				t.Fatalf("the plain nginx does not serve port %d", port)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	serves(ports[0])
	c = gather(t, "http://"+plain.Listen, busy, idle, think, false)
	for n := range rounds {
		c.more(64)
		plain.Move(t, ports[(n+1)%2])
		serves(ports[(n+1)%2])
	}
	c.end()
	t.Logf("%d plain reloads: %v: %v", rounds, c, c.first)
	if c.failed.Load() <= 10 {
		t.Error("plain reloads lost next to nothing: this load would not see a loss of ours either")
	}
}

// plainServes asks on a new connection.
func plainServes(t *testing.T, plain *nginxtest.Plain, port int) bool {
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+plain.Listen+"/config", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	var c struct{ Port int }
	return json.NewDecoder(resp.Body).Decode(&c) == nil && c.Port == port
}

// The same at step 4 under a new primary, with updates. The clients are fewer
// and slower: the embedded server takes one command at a time.
func TestSwitchLosesNothingUnderTheNewPrimary(t *testing.T) {
	const busy, idle, rounds = 16, 32, 10
	const think = time.Second
	s := newSite(t)
	s.env = append(s.env, "MIGRATE_CREATE=true")
	s.must("mongo", "start")
	s.must("nginx", "start")
	s.must("advance", "--until", "5", "--backfill")
	s.must("rollback")
	c := gather(t, s.url(), busy, idle, think, true)
	for range rounds {
		s.round(c, 4)
	}
	var st struct {
		Live      int
		Instances []struct {
			Port, Step int
			Told       struct{ Primary string } `json:"status"`
		}
	}
	s.json(&st, "status")
	under := ""
	for _, i := range st.Instances {
		if i.Port == st.Live && i.Step == 4 {
			under = i.Told.Primary
		}
	}
	if under != "new" {
		t.Errorf("%+v, want step 4 under the new primary", st)
	}
	c.end()
	t.Logf("%d switches: %v", rounds, c)
	c.unharmed(s.url())
}
