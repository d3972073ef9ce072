package fire

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// Foreign runs one SQL statement on the old database, in a program of its own,
// and says how many rows it changed. refused: it changed none, for sure. An
// error: nobody knows.
type Foreign func(ctx context.Context, statement string) (rows int, refused bool, err error)

// foreigner is a program that knows nothing of the service. It writes to its
// own records, which the service's clients use as well.
type foreigner struct {
	f     *Fire
	rng   *rand.Rand
	own   []*record
	turns int
}

func (p *foreigner) run(ctx context.Context) {
	const records, think, refusal = 4, 60 * time.Millisecond, 500 * time.Millisecond
	for ctx.Err() == nil {
		p.turns++
		if len(p.own) < records || p.own[0].spent() {
			p.begin()
		}
		wait := time.Duration(p.rng.Int64N(int64(2 * think)))
		if !p.turn(p.own[p.rng.IntN(len(p.own))]) {
			wait = refusal // which goes on for as long as the new database is primary
		}
		pause(ctx, wait)
	}
}

// begin takes up a new record, and leaves a spent one to its fate.
func (p *foreigner) begin() {
	r := &record{id: fmt.Sprintf("foreign-%d", p.turns), assignee: p.f.pool.assignee(), foreign: true}
	if len(p.own) > 0 && p.own[0].spent() {
		p.own = p.own[1:]
	}
	p.own = append(p.own, r)
}

// turn writes to a record, and reports whether it was let. It outlives the end
// of the fire: cut off, it would only leave one more unknown outcome.
func (p *foreigner) turn(r *record) bool {
	text := label("foreign", p.turns)
	req, statement := request{Op: opUpdate, Description: text}, fmt.Sprintf("UPDATE tasks SET description=%s WHERE id=%s", quote(text), quote(r.id))
	fresh := !r.begun() // and nobody else knows of it
	switch n := p.rng.IntN(10); {
	case n < 4 || fresh:
		req, statement = request{Op: opInsert, Description: text},
			fmt.Sprintf("INSERT INTO tasks VALUES(%s,%s,%s,'0')", quote(r.id), quote(r.assignee), quote(text))
	case n == 4:
		req, statement = request{Op: opErase}, "DELETE FROM tasks WHERE id="+quote(r.id)
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.f.cfg.Timeout)
	defer cancel()
	call := p.f.clock()
	rows, refused, err := p.f.cfg.Foreign(ctx, statement)
	ret := p.f.clock()
	a := answer{Status: http.StatusNoContent}
	if err != nil {
		a.Status = unknown
	}
	// A statement that matches no row is no news: the old database may be behind.
	told := !refused && (err != nil || rows > 0)
	p.f.tally.foreign(req.Op, a, told)
	if told {
		r.note(event{"a foreign program", req, a, "", call, ret})
	}
	if told && fresh {
		p.f.pool.adopt(r)
	}
	return !refused
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
