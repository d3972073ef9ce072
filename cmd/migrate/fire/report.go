package fire

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Report says what was asked, and whether the answers can be true.
type Report struct {
	Records      int
	Lists        int
	Requests     int
	Ops          map[string]int
	Acknowledged int            // writes
	Refused      int            // without an effect, for sure
	Unknown      int            // writes of unknown outcome
	Kinds        map[string]int // of requests that were not answered
	Lost         int            // records at the end without a write that was acknowledged
	Violations   []string
	Stories      []string // of the records that no order explains
}

const (
	readWait  = 30 * time.Second // for one read after the fire
	judgeWait = 60 * time.Second // for one history
)

// Judge reads every record and every list once more, and judges the answers.
// The fire must be out. An error says that a record can't be read.
func (f *Fire) Judge(ctx context.Context) (Report, error) {
	records := f.pool.rest()
	if err := f.readAll(ctx, records); err != nil {
		return Report{}, err
	}
	rep := f.tally.report()
	rep.Records, rep.Lists = len(records), len(f.lists.all)
	rep.Violations = append(rep.Violations, f.lists.judge(records)...)
	for _, r := range records {
		rep.Acknowledged += r.acknowledged()
		if why := r.lost(); why != "" {
			rep.Lost++
			rep.Violations = append(rep.Violations, why)
		}
	}
	for _, v := range judge(records) {
		rep.Violations = append(rep.Violations, v.what)
		rep.Stories = append(rep.Stories, v.story)
	}
	return rep, nil
}

// readAll gets every record, and lists every assignee's.
func (f *Fire) readAll(ctx context.Context, records []*record) error {
	c := &client{f: f, number: f.cfg.Clients, conn: newConn(f.cfg.Address, f.cfg.Timeout), rng: rand.New(rand.NewPCG(f.cfg.Seed, 1<<33))}
	defer c.conn.close()
	ctx, cancel := context.WithTimeout(ctx, readWait+time.Duration(len(records))*100*time.Millisecond)
	defer cancel()
	listed := map[string]bool{}
	for _, r := range records {
		if r.id == "" {
			continue
		}
		ask := []func() bool{func() bool { return c.ask(r, request{Op: opGet}) }}
		if !listed[r.assignee] {
			listed[r.assignee] = true
			ask = append(ask, func() bool { return c.list(r.assignee, r) })
		}
		for _, ask := range ask {
			for !ask() {
				if pause(ctx, backoff); ctx.Err() != nil {
					return fmt.Errorf("record %s can't be read after the fire: %w", r.id, context.Cause(ctx))
				}
			}
		}
	}
	return nil
}

// acknowledged is how many writes the service said yes to.
func (r *record) acknowledged() (n int) {
	for _, e := range r.events {
		if e.writes() && e.answer.Status >= 200 && e.answer.Status < 300 {
			n++
		}
	}
	return n
}

// lost compares what was acknowledged with the last answer of all, in plain
// words; the search for an order would find it, too.
func (r *record) lost() string {
	s := spanOf(r)
	var last answer
	for _, e := range r.events {
		if e.request.Op == opGet {
			last = e.answer
		}
	}
	switch shown := r.latest().Rev; {
	case last.Status == http.StatusNotFound && s.made < math.MaxInt64 && s.mayGo == math.MaxInt64:
		return fmt.Sprintf("record %s was acknowledged, nobody deleted it, and it is not there", r.id)
	case last.Status == http.StatusOK && last.View.Rev < shown:
		return fmt.Sprintf("record %s was acknowledged at rev %d, and is at rev %d", r.id, shown, last.View.Rev)
	}
	return ""
}

// verdict is about a history that has no explanation.
type verdict struct{ what, story string }

// judge looks for an order of each history, two at a time.
func judge(records []*record) []verdict {
	var (
		mu    sync.Mutex
		found []verdict
		wg    sync.WaitGroup
		work  = make(chan *record)
	)
	for range 2 {
		wg.Go(func() {
			for r := range work {
				result := porcupine.CheckOperationsTimeout(model(r.initial), r.history(), judgeWait)
				if result == porcupine.Ok {
					continue
				}
				what := fmt.Sprintf("record %s: no order of its %d requests explains the answers", r.id, len(r.events))
				if result == porcupine.Unknown {
					what = fmt.Sprintf("record %s: no order of its %d requests was found in %v", r.id, len(r.events), judgeWait)
				}
				mu.Lock()
				found = append(found, verdict{what, r.story()})
				mu.Unlock()
			}
		})
	}
	for _, r := range records {
		work <- r
	}
	close(work)
	wg.Wait()
	return found
}

func (t *tally) report() Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	rep := Report{Ops: map[string]int{}, Refused: t.refused, Unknown: t.unknown, Kinds: maps.Clone(t.kinds), Violations: slices.Clone(t.surprise)}
	for o, n := range t.ops {
		rep.Ops[string(o)] = n
		rep.Requests += n
	}
	return rep
}

func (r Report) String() string {
	return fmt.Sprintf("%d requests on %d records (%s), %d lists\n", r.Requests, r.Records, counts(r.Ops), r.Lists) +
		fmt.Sprintf("not answered: %s\n", counts(r.Kinds)) +
		fmt.Sprintf("acknowledged writes %d, without effect %d, unknown outcomes %d, lost %d, violations %d",
			r.Acknowledged, r.Refused, r.Unknown, r.Lost, len(r.Violations))
}

func counts(m map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(parts, ", ")
}
