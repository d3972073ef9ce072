package fire

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/anishathalye/porcupine"
)

// event is a request and what became of it.
type event struct {
	by      string
	request request
	answer  answer
	tag     string // of the answer
	call    int64
	ret     int64 // math.MaxInt64 if the outcome is unknown
}

// writes reports whether it can have changed the record.
func (e event) writes() bool { return e.request.Op != opGet && e.request.Op != opListed }

// record is one task and its history.
type record struct {
	id       string // empty until an answer has told it
	key      string // Idempotency-Key it was made with; empty: none
	body     string // and the description
	assignee string
	initial  state
	foreign  bool // a foreign program writes to it, too

	mu       sync.Mutex
	events   []event
	unknowns int
	last     view   // as some answer showed it
	lastTag  string // by which the service named it
	gone     int    // requests since it was deleted

	busy int // requests under way; the pool's
}

// note enters an event into the history. A request that had no effect, for
// sure, tells nothing and is left out.
func (r *record) note(e event) {
	if e.answer.Status == unknown {
		e.ret = math.MaxInt64
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	if e.answer.Status == unknown {
		r.unknowns++
	}
	if e.answer.View.Rev > r.last.Rev {
		r.last, r.lastTag = e.answer.View, e.tag
	}
	if r.gone > 0 || e.answer.Status == 204 && (e.request.Op == opDelete || e.request.Op == opErase) {
		r.gone++
	}
}

func (r *record) latest() view {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// named is the latest one and its tag. Both are zero until an answer has told
// a tag.
func (r *record) named() (view, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lastTag == "" {
		return view{}, ""
	}
	return r.last, r.lastTag
}

func (r *record) begun() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events) > 0
}

// spent reports whether the history is as long as a checker can take.
func (r *record) spent() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events) >= maxOps || r.unknowns >= maxUnknown || r.gone > afterDelete && !r.foreign
}

// history is what porcupine takes.
func (r *record) history() []porcupine.Operation {
	ops := make([]porcupine.Operation, len(r.events))
	for i, e := range r.events {
		ops[i] = porcupine.Operation{Input: e.request, Call: e.call, Output: e.answer, Return: e.ret}
	}
	return ops
}

// story tells the history to people.
func (r *record) story() string {
	events := slices.Clone(r.events)
	slices.SortStableFunc(events, func(a, b event) int { return int(a.call - b.call) })
	var b strings.Builder
	fmt.Fprintf(&b, "record %s of %s, which began %+v\n", r.id, r.assignee, r.initial)
	for _, e := range events {
		ret := "      never"
		if e.ret != math.MaxInt64 {
			ret = fmt.Sprintf("%11.6f", float64(e.ret)/1e9)
		}
		fmt.Fprintf(&b, "  %11.6f %s  %-10s %v -> %v\n", float64(e.call)/1e9, ret, e.by, e.request, e.answer)
	}
	return b.String()
}

// pool is all records: those that are worked on, and those that are retired.
type pool struct {
	mu     sync.Mutex
	cfg    Config
	active []*record
	all    []*record
	legacy []Legacy // not worked on yet
	making int      // records that some client is about to add
	made   int
}

func newPool(cfg Config) *pool { return &pool{cfg: cfg, legacy: slices.Clone(cfg.Legacy)} }

// take chooses a record for one request, which give returns. Without one, the
// caller is to add a record, or all have as many clients as they may.
func (p *pool) take(rng *rand.Rand) (r *record, add bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active = slices.DeleteFunc(p.active, (*record).spent)
	if len(p.active)+p.making < p.cfg.Active {
		if len(p.legacy) > 0 && rng.IntN(3) == 0 {
			p.enter(legacyRecord(p.legacy[0]))
			p.legacy = p.legacy[1:]
		} else {
			p.making++
			return nil, true
		}
	}
	for range 2 * len(p.active) {
		// The first ones are chosen more often, so that they have many clients at once.
		r := p.active[min(rng.IntN(len(p.active)), rng.IntN(len(p.active)))]
		if r.busy < maxAtOnce {
			r.busy++
			return r, false
		}
	}
	return nil, false
}

func (p *pool) give(r *record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.busy--
}

// enter adds a record that clients may work on. The lock is held.
func (p *pool) enter(r *record) {
	p.all = append(p.all, r)
	p.active = append(p.active, r)
}

// add ends the making of a record; one without an id is kept, but nobody can
// work on it.
func (p *pool) add(r *record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.making--
	if r.id == "" {
		p.all = append(p.all, r)
		return
	}
	p.enter(r)
}

// adopt adds a foreign program's record.
func (p *pool) adopt(r *record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.enter(r)
}

// assignee is whose the next record is: few share one, so that lists are short.
func (p *pool) assignee() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made++
	return fmt.Sprintf("group %d", p.made/groupSize)
}

func legacyRecord(l Legacy) *record {
	v := view{Rev: 1, Description: l.Description}
	return &record{id: l.ID, assignee: l.Assignee, initial: state{live, v, "\x00"}, last: v}
}

// rest adds the legacy records that nobody has worked on: they must be there
// at the end all the same.
func (p *pool) rest() []*record {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.legacy {
		p.all = append(p.all, legacyRecord(l))
	}
	p.legacy, p.active = nil, nil
	return p.all
}
