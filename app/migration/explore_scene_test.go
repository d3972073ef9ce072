package migration

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/memory"
)

// The explorer runs the shipped code, on memory stores, in every order of its
// store calls. Each actor (a client's requests, a relay, the tool) is a
// coroutine that stops before each call on a store; whoever searches says who
// goes on and how the call goes. Nothing sleeps, no clock is read, no goroutine
// runs beside: the same choices always give the same run.

// manner is how a call on a store goes.
type manner byte

const (
	goes    manner = 0   // it takes effect and says so
	fails   manner = '-' // no effect, and says so
	unknown manner = '?' // it takes effect and reports a failure
	late    manner = '>' // it reports a failure and takes effect later, or never
	dies    manner = '!' // its caller dies before it
)

// point is a call that is about to be made.
type point struct {
	db     store.Primary
	op     string
	writes bool
}

// scene is one run: both databases, who acts on them, what they answered.
type scene struct {
	old *memory.Old
	new *memory.New

	forOld oldStore // what the services and the tool hold: a tap, perhaps with a broken rule before it
	forNew newStore

	actors    []*actor
	cur       *actor // nil: calls go straight through
	ghosts    []ghost
	instances []*instance
	clock     time.Time
	judge     judge
	telling   bool
	skips     bool // see scenario
	legacy    legacy
	backup    memory.Saved  // of old, from before the last move of the primary
	newest    *memory.Saved // of old, while its backup is in its place
	credulous bool          // instances believe a fence and a mirror that went back
	hasty     bool          // the tool does not wait
	stopped   bool          // the clocks of instances at steps 6 to 8 stand still
	story     strings.Builder
	stored    [2]uint64 // digests of the databases, as of the last write
	dirty     bool
}

// ghost is a command that reached new and takes effect after its caller has
// been told that its outcome is unknown.
type ghost struct {
	id   uint64
	what string
	run  func()
}

// instance is a service and the actors in its process.
type instance struct {
	svc    *service
	name   string
	actors []*actor
}

// alive: at least one of its actors has neither finished nor died.
func (i *instance) alive() bool {
	for _, a := range i.actors {
		if !a.done {
			return true
		}
	}
	return false
}

// actor is one thread of calls.
type actor struct {
	letter byte
	name   string
	in     *instance // nil: the tool, a foreign program
	free   bool      // going to it is no preemption

	resume func() (point, bool)
	stop   func()
	yield  func(point) bool
	at     point
	done   bool
	dead   bool
	how    manner
	past   uint64   // digest of the answers within the present operation
	ops    uint64   // operations begun
	floor  []string // what had been answered when the present operation began
	seen   store.Fence
}

var errGone = errors.New("the caller has died")
var errLost = fmt.Errorf("%w: no answer", store.ErrUnknown)

func (s *scene) enter(a *actor, body func()) {
	a.resume, a.stop = iter.Pull(func(yield func(point) bool) {
		a.yield = yield
		body()
	})
	s.actors = append(s.actors, a)
	s.wake(a, goes)
}

// wake lets an actor make the call it stands before and go on to its next.
func (s *scene) wake(a *actor, how manner) {
	before := s.cur
	s.cur = a
	a.how = how
	a.past = mix(a.past, s.shared(a))
	if how == dies {
		s.tell("%c %s dies before %s.%s", a.letter, a.name, a.at.db, a.at.op)
		a.stop()
		a.done, a.dead = true, true
	} else if at, more := a.resume(); more {
		a.at = at
	} else {
		a.done = true
	}
	if a.done {
		a.past, a.floor = 0, nil
	}
	s.cur = before
}

// end frees the coroutines that a search leaves half way.
func (s *scene) end() {
	for _, a := range s.actors {
		s.cur = a
		a.dead = true
		a.stop()
	}
}

// call is a scheduling point: the actor stops here until it is woken.
func call[T any](s *scene, p point, args any, do func() (T, error)) (T, error) {
	var none T
	a := s.cur
	if a == nil {
		s.dirty = s.dirty || p.writes
		return do()
	}
	if a.dead || !a.yield(p) {
		a.dead = true
		return none, errGone
	}
	var (
		v   T
		err error
	)
	switch a.how {
	case fails:
		err = errDown
	case unknown:
		_, _ = do()
		err = errLost
	case late:
		s.ghosts = append(s.ghosts, ghost{mix(a.past, uint64(a.letter)<<32|a.ops), fmt.Sprintf("%s.%s %v", p.db, p.op, args), func() { _, _ = do() }})
		err = errLost
	default:
		v, err = do()
	}
	s.dirty = s.dirty || p.writes
	a.past = mix(mix(a.past, digest(v)), kind(err))
	if s.telling {
		s.tell("%c %s: %s.%s %v = %s", a.letter, a.name, p.db, p.op, show(args), outcome(v, err, a.how))
	}
	return v, err
}

func (s *scene) tell(format string, args ...any) {
	if s.telling {
		fmt.Fprintf(&s.story, "  "+format+"\n", args...)
	}
}

// begin marks the start of an operation: from here on, what the actor did
// before matters only through the databases and what was answered.
func (s *scene) begin(what string, floor ...string) {
	a := s.cur
	if a == nil || a.dead {
		return
	}
	a.ops++
	a.past, a.floor = mix(0, a.ops), floor
	s.tell("%c %s: begins %s", a.letter, a.name, what)
}

// shared is the digest of what an actor's process keeps between requests.
func (s *scene) shared(a *actor) uint64 {
	h := uint64(s.clock.Unix())
	if a.in == nil {
		return h
	}
	return mix(h, memoryOf(a.in.svc))
}

func memoryOf(svc *service) uint64 {
	h := mix(uint64(svc.started.Load()), uint64(svc.complete.Load()))
	if m := svc.adopted.Load(); m != nil {
		h = mix(h, uint64(m.Epoch))
		h = mix(mixString(h, string(m.Primary)), uint64(m.at.Unix()))
	}
	if at := svc.answeredAt.Load(); at != nil {
		h = mix(h, uint64(at.Unix()))
	}
	h = mix(h, mix(uint64(svc.epochs.fence.epoch.Load()), uint64(svc.epochs.mirror.epoch.Load())))
	h = mix(h, uint64(svc.newBreaker.failures))
	h = mix(h, uint64(svc.oldBreaker.failures))
	if svc.wasNew.Load() {
		h++
	}
	if svc.isPrepared() {
		h = mix(h, 5)
	}
	if svc.filled.Load() {
		h = mix(h, 6)
	}
	if svc.newWentBack.Load() != nil || svc.oldWentBack.Load() != nil {
		h = mix(h, 7)
	}
	for _, r := range svc.relay.refused.list() {
		h = mix(mixString(h, r.ID), mix(uint64(r.Pair.Rev), uint64(r.Pair.Epoch)))
	}
	return mix(h, 1)
}

// state is the digest of everything that the rest of the run depends on: the
// databases, each actor's answers within its present operation, what the
// processes keep, ghosts, and what the judge knows.
func (s *scene) state() uint64 {
	if s.dirty {
		s.stored = [2]uint64{s.digestOld(), s.digestNew()}
		s.dirty = false
	}
	h := mix(s.stored[0], s.stored[1])
	for _, a := range s.actors {
		h = mix(h, mix(a.past, a.ops))
		if a.done {
			h = mix(h, 7)
		}
		for _, f := range a.floor {
			h = mixString(h, f)
		}
		h = mix(h, mix(uint64(a.seen.Epoch), digest(a.seen)))
	}
	for _, i := range s.instances {
		h = mix(h, memoryOf(i.svc))
	}
	var g uint64 // the order in which ghosts came about is no matter
	for _, ghost := range s.ghosts {
		g += mix(ghost.id, 3)
	}
	h = mix(h, s.legacy.digest())
	if s.newest != nil {
		h = mix(h, 9)
	}
	return mix(mix(h, g), mix(uint64(s.clock.Unix()), s.judge.digest()))
}
