package migration

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// choice is who goes on and how its call goes; who is an actor's letter, or a
// digit for a ghost.
type choice struct {
	who byte
	how manner
}

func (c choice) String() string {
	if c.how == goes {
		return string(c.who)
	}
	return string(c.who) + string(c.how)
}

// bounds limit a search.
type bounds struct {
	faults      int // calls that fail, go unknown, come late, or callers that die
	preemptions int // how often an actor is left that could have gone on; -1: any number
	runs        int // give up after so many
}

// path is a schedule, shared with those that begin alike.
type path struct {
	before *path
	last   choice
	len    int
}

func (p *path) choices() []choice {
	if p == nil {
		return nil
	}
	out := make([]choice, p.len)
	for ; p != nil; p = p.before {
		out[p.len-1] = p.last
	}
	return out
}

func (p *path) then(c choice) *path {
	n := 1
	if p != nil {
		n += p.len
	}
	return &path{p, c, n}
}

func format(cs []choice) string {
	var b strings.Builder
	for _, c := range cs {
		b.WriteString(c.String())
	}
	return b.String()
}

func parse(schedule string) []choice {
	var cs []choice
	for _, r := range []byte(schedule) {
		switch m := manner(r); {
		case (m == fails || m == unknown || m == late || m == dies) && len(cs) > 0:
			cs[len(cs)-1].how = m
		case r > ' ':
			cs = append(cs, choice{who: r})
		}
	}
	return cs
}

// finding is a violation and the schedule that leads to it.
type finding struct {
	fault    string
	schedule string
}

// result is what a search did.
type result struct {
	runs     int  // schedules begun at the root, those that joined an explored state included
	states   int  // distinct states
	complete bool // every order within the bounds was explored, up to equal states
	found    *finding
}

// run is one run that is under way.
type run struct {
	*scene
	faults, preempted int
	last              byte
}

// options are the choices at hand, the present actor first.
func (r *run) options(b bounds) []choice {
	var out []choice
	busy := false
	for _, a := range r.actors {
		if !a.done && a.letter == r.last {
			busy = true
			out = r.manners(out, a, b)
		}
	}
	for i := range r.ghosts {
		out = append(out, choice{who: byte('0' + i)})
	}
	for _, a := range r.actors {
		if a.done || a.letter == r.last || busy && !a.free && b.preemptions >= 0 && r.preempted >= b.preemptions {
			continue
		}
		out = r.manners(out, a, b)
	}
	return out
}

func (r *run) manners(out []choice, a *actor, b bounds) []choice {
	out = append(out, choice{a.letter, goes})
	if r.faults >= b.faults || a.free {
		return out
	}
	out = append(out, choice{a.letter, fails}, choice{a.letter, dies})
	if a.at.writes && a.at.op != "foreign SQL" {
		out = append(out, choice{a.letter, unknown})
		if a.at.db == "new" {
			out = append(out, choice{a.letter, late})
		}
	}
	return out
}

// take follows a choice; false if it can't be followed.
func (r *run) take(c choice) bool {
	if c.who >= '0' && c.who <= '9' {
		i := int(c.who - '0')
		if i >= len(r.ghosts) {
			return false
		}
		g := r.ghosts[i]
		r.ghosts = append(r.ghosts[:i:i], r.ghosts[i+1:]...)
		r.tell("late: %s takes effect", g.what)
		g.run()
		r.dirty = true
		return true
	}
	for _, a := range r.actors {
		if a.letter != c.who || a.done {
			continue
		}
		if c.how != goes {
			r.faults++
		}
		for _, l := range r.actors {
			if l.letter == r.last && l != a && !l.done && !a.free {
				r.preempted++
			}
		}
		if !a.free {
			r.last = c.who
		}
		r.wake(a, c.how)
		return true
	}
	return false
}

func (r *run) over() bool {
	for _, a := range r.actors {
		if !a.done {
			return false
		}
	}
	return true
}

// key is the state with what the bounds still allow.
func (r *run) key(b bounds) uint64 {
	h := mix(r.state(), uint64(r.faults))
	if b.preemptions >= 0 {
		h = mix(h, uint64(r.preempted)<<8|uint64(r.last))
	}
	return h
}

// finish concludes a run whose actors have ended. What is still late takes
// effect after the end of the migration.
func (r *run) finish() {
	r.tell("everybody has finished")
	r.conclude()
	for len(r.ghosts) > 0 && r.judge.fault == "" {
		r.take(choice{who: '0'})
		r.readAll(RemoveOld, "at step 8, after what came late")
	}
}

// explore goes through every schedule of a scenario within the bounds, depth
// first. A state that was met before is not explored again: a state is the
// databases, every actor's answers within its operation, what the processes
// keep, the ghosts and what was answered so far; a Go stack can't be copied, so
// each run is replayed from the root.
func explore(sc scenario, b bounds) result {
	var res result
	seen := map[uint64]struct{}{}
	todo := []*path{nil}
	for len(todo) > 0 {
		if res.runs >= b.runs {
			return res
		}
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		res.runs++
		r := &run{scene: sc.open(false)}
		for _, c := range p.choices() {
			r.take(c)
		}
		for {
			k := r.key(b)
			if _, met := seen[k]; met && r.judge.fault == "" {
				break
			}
			seen[k] = struct{}{}
			opts := r.options(b)
			over := r.over()
			if over && r.judge.fault == "" {
				r.finish()
			}
			if r.judge.fault != "" {
				res.found = &finding{r.judge.fault, format(p.choices())}
				r.end()
				res.states = len(seen)
				return res
			}
			if over {
				for _, c := range opts { // what is late may also come before the end
					todo = append(todo, p.then(c))
				}
				break
			}
			for _, c := range opts[1:] {
				todo = append(todo, p.then(c))
			}
			p = p.then(opts[0])
			r.take(opts[0])
		}
		r.end()
		res.states = len(seen)
	}
	res.complete = true
	return res
}

// wander tries schedules at random.
func wander(sc scenario, b bounds, rng *rand.Rand) *finding {
	r := &run{scene: sc.open(false)}
	defer r.end()
	var p *path
	for r.judge.fault == "" && !r.over() {
		opts := r.options(b)
		c := opts[rng.IntN(len(opts))]
		if c.how != goes && rng.IntN(4) > 0 {
			c.how = goes
		}
		p = p.then(c)
		r.take(c)
	}
	for len(r.ghosts) > 0 && r.judge.fault == "" && rng.IntN(2) == 0 {
		c := choice{who: byte('0' + rng.IntN(len(r.ghosts)))}
		p = p.then(c)
		r.take(c)
	}
	if r.judge.fault == "" {
		r.finish()
	}
	if r.judge.fault == "" {
		return nil
	}
	return &finding{r.judge.fault, format(p.choices())}
}

// replay tells the story of one schedule.
func replay(sc scenario, schedule string) (story, fault string, err error) {
	r := &run{scene: sc.open(true)}
	defer r.end()
	for i, c := range parse(schedule) {
		if !r.take(c) {
			return r.story.String(), r.judge.fault, fmt.Errorf("choice %d (%v) can't be followed", i, c)
		}
	}
	if r.judge.fault == "" && r.over() {
		r.finish()
	}
	return r.story.String(), r.judge.fault, nil
}
