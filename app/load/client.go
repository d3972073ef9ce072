package load

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"time"
)

// client is one of Bill's or Jane's browsers. It owns some tasks, which nobody
// else changes, and does one thing at a time.
type client struct {
	g      *Generator
	name   string
	person string
	conn   *conn
	rng    *rand.Rand
	quota  int // tasks to own, about
	turns  int

	tasks   map[string]state // owned, as last acknowledged; those in doubt are given up
	ids     []string         // keys of tasks, to choose from
	strange []string         // owned, but not looked at yet
	gone    []string         // the last few that were deleted
}

// run makes requests until ctx ends. The error says that the ledger failed.
func (c *client) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if c.g.pace.Wait(ctx) != nil {
			return nil // the end comes before the next turn
		}
		if think := c.g.cfg.Think; think > 0 && !pause(ctx, time.Duration(c.rng.Int64N(int64(think)))) {
			return nil
		}
		c.turns++
		ok, err := c.turn()
		if err != nil {
			c.g.meter.broke(err)
			return err
		}
		if !ok { // a service that is down is not to be hammered
			pause(ctx, 10*time.Millisecond)
		}
	}
	return nil
}

// pause reports whether it lasted as long as was asked.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// turn makes one request. ok says that it was answered as expected.
func (c *client) turn() (ok bool, err error) {
	mix := c.g.cfg.Mix
	have := len(c.ids) + len(c.strange)
	n := c.rng.IntN(mix.sum())
	less := func(weight int) bool {
		n -= weight
		return n < 0
	}
	switch {
	case less(mix.List):
		return c.list()
	case less(mix.Create), less(mix.Delete):
		if c.grow(have) {
			return c.create()
		}
		return c.onSome(c.delete)
	case less(mix.Done):
		return c.onSome(c.finish)
	case less(mix.Get):
		if len(c.gone) > 0 && c.rng.IntN(8) == 0 {
			return c.getGone()
		}
		return c.onSome(c.get)
	}
	return c.onSome(c.patch)
}

// grow chooses between a create and a deletion by how many tasks there are;
// a mix that has only one of the two gets only that.
func (c *client) grow(have int) bool {
	switch mix := c.g.cfg.Mix; {
	case mix.Delete == 0:
		return true
	case mix.Create == 0, have >= c.quota:
		return false
	}
	return have < c.quota*3/4 || c.rng.IntN(2) == 0
}

// onSome does something to one of the tasks: by chance to one that was there
// before us, which is looked at first; a client without tasks makes one.
func (c *client) onSome(do func(id string, was state) (bool, error)) (bool, error) {
	have := len(c.ids) + len(c.strange)
	if have == 0 {
		return c.create()
	}
	if i := c.rng.IntN(have) - len(c.ids); i >= 0 {
		id := c.strange[i]
		c.strange = slices.Delete(c.strange, i, i+1)
		return c.adopt(id)
	}
	id := c.ids[c.rng.IntN(len(c.ids))]
	return do(id, c.tasks[id])
}

// ask sends one request and counts it.
func (c *client) ask(method, path, contentType, body string, want ...int) (answer, bool, error) {
	begin := time.Now()
	a, err := c.conn.do(method, path, contentType, body)
	c.g.meter.request(time.Since(begin))
	ok := err == nil && slices.Contains(want, a.status)
	if !ok {
		c.g.meter.failed(kindOf(a, err))
	}
	return a, ok, err
}

func taskPath(id string) string { return "/tasks/" + url.PathEscape(id) }

// remark makes text that no two operations share, with what escaping could break.
func (c *client) remark() string {
	things := [...]string{"buy milk", "call \"Mum\"", "pay 5 € for <b>tea</b>", "water the 🌱", "it's Bob's", `C:\temp & more`, "ärzte; DROP TABLE tasks"}
	return fmt.Sprintf("%s #%d %s", c.name, c.turns, things[c.rng.IntN(len(things))])
}

func (c *client) create() (bool, error) {
	want := state{Rev: 1, Assignee: c.person, Description: c.remark()}
	contentType, body := "application/x-www-form-urlencoded",
		url.Values{"assignee": {want.Assignee}, "description": {want.Description}}.Encode()
	if c.rng.IntN(2) == 0 {
		contentType, body = "application/json", object("assignee", want.Assignee, "description", want.Description)
	}
	a, ok, err := c.ask("POST", "/tasks", contentType, body, 201)
	if !ok {
		return false, c.record("create", "", want, a, err)
	}
	var made struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(a.body, &made) != nil || made.ID == "" {
		c.g.meter.stale("%s: a create was answered without an id: %.80s", c.name, a.body)
		return false, nil
	}
	if _, taken := c.tasks[made.ID]; taken || slices.Contains(c.gone, made.ID) {
		c.g.meter.stale("%s: a create was answered with id %s, which is in use", c.name, made.ID)
		return false, nil
	}
	c.own(made.ID, want)
	return true, c.acknowledge("create", made.ID, want)
}

// object makes a JSON object of names and values.
func object(pairs ...any) string {
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	body, _ := json.Marshal(m) // strings and booleans always can be
	return string(body)
}

func (c *client) patch(id string, was state) (bool, error) {
	want := was
	want.Rev++
	var body string
	switch n := c.rng.IntN(10); {
	case n < 6:
		want.Description = c.remark()
		body = object("description", want.Description)
	case n < 9:
		want.Done = !was.Done
		body = object("done", want.Done)
	default: // to the other one's list
		want.Assignee, want.Description = "Bill", c.remark()
		if was.Assignee == "Bill" {
			want.Assignee = "Jane"
		}
		body = object("assignee", want.Assignee, "description", want.Description)
	}
	return c.update("patch", id, want, body)
}

func (c *client) finish(id string, was state) (bool, error) {
	want := was
	if !was.Done {
		want.Done = true
		want.Rev++
	}
	return c.update("done", id, want, "")
}

func (c *client) update(op, id string, want state, body string) (bool, error) {
	method, contentType := "PATCH", "application/json"
	if op == "done" {
		method, contentType = "PUT", ""
	}
	a, ok, err := c.ask(method, taskPath(id), contentType, body, 200)
	if !ok {
		return false, c.failed(op, id, want, a, err)
	}
	if err := c.acknowledge(op, id, want); err != nil {
		return false, err
	}
	c.tasks[id] = want
	return c.compare(op, id, want, a), nil
}

func (c *client) delete(id string, was state) (bool, error) {
	want := state{Rev: was.Rev + 1, Deleted: true}
	a, ok, err := c.ask("DELETE", taskPath(id), "", "", 204)
	if !ok {
		return false, c.failed("delete", id, want, a, err)
	}
	c.disown(id)
	c.gone = append(c.gone, id)
	if len(c.gone) > 64 {
		c.gone = c.gone[1:]
	}
	return true, c.acknowledge("delete", id, want)
}

func (c *client) get(id string, was state) (bool, error) {
	a, ok, err := c.ask("GET", taskPath(id), "", "", 200)
	if ok {
		return c.compare("get", id, was, a), nil
	}
	if err == nil && a.status == 404 {
		c.g.meter.lost("%s: %s is missing; it was %v", c.name, id, was)
		c.disown(id)
	}
	return false, nil
}

func (c *client) getGone() (bool, error) {
	id := c.gone[c.rng.IntN(len(c.gone))]
	a, ok, err := c.ask("GET", taskPath(id), "", "", 404)
	if err == nil && a.status == 200 {
		c.g.meter.lost("%s: %s is back after its deletion", c.name, id)
	}
	return ok, nil
}

// adopt looks for the first time at a task that was there before.
func (c *client) adopt(id string) (bool, error) {
	a, ok, err := c.ask("GET", taskPath(id), "", "", 200)
	if !ok {
		if err == nil && a.status == 404 {
			c.g.meter.lost("%s: %s, which was there before, is missing", c.name, id)
		} else {
			c.strange = append(c.strange, id) // another time
		}
		return false, nil
	}
	_, found, err := decodeTask(a)
	if err != nil {
		c.g.meter.stale("%s: %s is answered as %.80s", c.name, id, a.body)
		return false, nil
	}
	c.own(id, found)
	return true, c.g.ledger.append(Entry{Client: c.name, Op: "adopt", Outcome: seen, ID: id, state: found})
}

// list compares a whole list with what this client owns.
func (c *client) list() (bool, error) {
	a, ok, _ := c.ask("GET", "/tasks?assignee="+c.person, "", "", 200)
	if !ok {
		return false, nil
	}
	listed, err := decodeList(a.body)
	if err != nil {
		c.g.meter.stale("%s: list: %v", c.name, err)
		return false, nil
	}
	for _, id := range slices.Sorted(maps.Keys(c.tasks)) {
		want := c.tasks[id]
		got, there := listed[id]
		switch belongs := want.Assignee == c.person && !want.Done; {
		case belongs && !there:
			c.g.meter.lost("%s: %s is missing in the list; it was %v", c.name, id, want)
		case there && !got.same(want):
			c.g.meter.stale("%s: %s is listed as %v, but was %v", c.name, id, got, want)
		}
	}
	for _, id := range c.gone {
		if _, there := listed[id]; there {
			c.g.meter.lost("%s: %s is listed after its deletion", c.name, id)
		}
	}
	return true, nil
}

// compare judges a task as it was answered. One that is wrong is given up, so
// that it counts once.
func (c *client) compare(op, id string, want state, a answer) bool {
	gotID, got, err := decodeTask(a)
	if err == nil && gotID == id && got == want {
		return true
	}
	c.g.meter.stale("%s: %s answers %s as %v, but it is %v", c.name, op, cmp.Or(gotID, id), got, want)
	c.disown(id)
	return false
}

// failed records a write that was not answered as expected, and gives the task
// up unless nothing can have changed.
func (c *client) failed(op, id string, want state, a answer, err error) error {
	if err == nil && a.status == 404 {
		c.g.meter.lost("%s: %s finds no %s", c.name, op, id)
	}
	if !certainlyNot(a, err) || err == nil && a.status == 404 {
		c.disown(id)
	}
	return c.record(op, id, want, a, err)
}

// record enters a failed write.
func (c *client) record(op, id string, want state, a answer, err error) error {
	outcome := refused
	if !certainlyNot(a, err) {
		outcome = unknown
		c.g.meter.unknown()
	}
	return c.g.ledger.append(Entry{Client: c.name, Op: op, Outcome: outcome, ID: id, state: want, Why: kindOf(a, err)})
}

func (c *client) acknowledge(op, id string, now state) error {
	c.g.meter.acknowledged()
	return c.g.ledger.append(Entry{Client: c.name, Op: op, Outcome: acked, ID: id, state: now})
}

func (c *client) own(id string, s state) {
	c.tasks[id] = s
	c.ids = append(c.ids, id)
}

func (c *client) disown(id string) {
	delete(c.tasks, id)
	if i := slices.Index(c.ids, id); i >= 0 {
		c.ids[i] = c.ids[len(c.ids)-1]
		c.ids = c.ids[:len(c.ids)-1]
	}
}
