package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"migrate.invalid/migrate/cmd/migrate/fire"
)

// nemesis sets everything on fire, one fault at a time, alone or while traffic
// moves; after each it wants the service to serve, and the next move to
// succeed. Its choices follow from a seed; their timing does not.
type nemesis struct {
	*site
	f    *fire.Fire
	link *link
	disk disk
	file string // the old database's
	rng  *rand.Rand

	oldServer, newServer *server // nil: another product's

	down   bool           // the way that the service walks
	turn   int            // the step at which it turns
	faults map[string]int // by name
	moves  map[string]int
}

func newNemesis(s *site, f *fire.Fire, l *link, d disk, file string, seed uint64) *nemesis {
	return &nemesis{
		site: s, f: f, link: l, disk: d, file: file, rng: rand.New(rand.NewPCG(seed, 0)),
		turn: 5, faults: map[string]int{}, moves: map[string]int{},
	}
}

func (n *nemesis) String() string {
	list := func(m map[string]int) string {
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(m)) {
			parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
		}
		return strings.Join(parts, ", ")
	}
	return fmt.Sprintf("faults: %s\nmoves: %s", list(n.faults), list(n.moves))
}

// total is how many faults there were.
func (n *nemesis) total() (sum int) {
	for _, times := range n.faults {
		sum += times
	}
	return sum
}

// ordeal is one fault, alone or while traffic moves.
type ordeal struct {
	name string
	fault
	moving bool
}

// fault is something that goes wrong from when it begins until what that
// returns is called. It hurts most from one step to another.
type fault struct {
	begin    func() (over func())
	from, to int
}

// rage goes on for as long as it is told, and ends with everything mended.
func (n *nemesis) rage(lasts time.Duration) {
	n.t.Helper()
	deadline := time.Now().Add(lasts)
	var deck []ordeal
	for time.Now().Before(deadline) && !n.t.Failed() {
		if len(deck) == 0 {
			deck = n.shuffled()
		}
		step := n.look().step()
		hurts := func(o ordeal) bool { return o.from <= step && step <= o.to }
		at := max(0, slices.IndexFunc(deck, hurts))
		if n.rng.IntN(5) == 0 {
			at = 0 // and for once where it should do nothing
		}
		o := deck[at]
		deck = slices.Delete(deck, at, at+1)
		n.play(o, step)
		n.mend()
		n.walk()
	}
}

// shuffled is every fault once.
func (n *nemesis) shuffled() (deck []ordeal) {
	all := n.all()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		moving := name == "instance stutters" || n.rng.IntN(2) == 0
		deck = append(deck, ordeal{name, all[name], moving && name != hangsOnRollback})
	}
	n.rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	return deck
}

// play lets the fault be for a while. A move that goes on long after it is
// interrupted, since nothing can be mended beside it.
func (n *nemesis) play(o ordeal, step int) {
	n.t.Logf("%s %s, at step %d", time.Now().Format("15:04:05.000"), o, step)
	ctx, interrupt := context.WithCancel(n.t.Context())
	defer interrupt()
	moved := make(chan struct{})
	if o.moving {
		lead := n.upTo(500 * time.Millisecond)
		go func() {
			defer close(moved)
			n.move(ctx, "under a fault", step)
		}()
		time.Sleep(lead)
	} else {
		close(moved)
	}
	n.faults[o.name]++
	over := o.begin()
	time.Sleep(300*time.Millisecond + n.upTo(2*time.Second))
	over()
	select {
	case <-moved:
	case <-time.After(4 * time.Second):
		interrupt()
		<-moved
	}
}

func (o ordeal) String() string {
	if o.moving {
		return o.name + " during a move"
	}
	return o.name
}

// upTo is some time below the limit.
func (n *nemesis) upTo(limit time.Duration) time.Duration {
	return time.Duration(n.rng.Int64N(int64(limit)))
}

// command is the next move on the way.
func (n *nemesis) command(step int) []string {
	if n.down || step == 8 {
		return []string{"rollback"}
	}
	return []string{"advance", "--backfill"}
}

// move makes the next move, which may fail, and reports whether it did not.
func (n *nemesis) move(ctx context.Context, how string, step int) (out string, ok bool) {
	args := n.command(step)
	began := time.Now()
	stdout, stderr, code := n.runContext(ctx, args...)
	why := ""
	if code != 0 {
		why, _, _ = strings.Cut(stderr[max(0, strings.LastIndex(stderr, "migrate: ")):], "\n") // its last word
	}
	n.t.Logf("  %s from step %d: exit %d after %v %.300s", args[0], step, code, time.Since(began).Round(time.Millisecond), why)
	n.note(how, args[0], stdout, code)
	return fmt.Sprintf("%s: exit %d\n%s%s", strings.Join(args, " "), code, stdout, stderr), code == 0
}

func (n *nemesis) note(how, what, stdout string, code int) {
	if code != 0 {
		n.moves[what+" that failed "+how]++
		return
	}
	n.moves[what]++
	if strings.Contains(stdout, "is primary again") {
		n.moves["return of the primary"]++
	}
}

// walk makes one move, with nothing broken: it must succeed.
func (n *nemesis) walk() {
	n.t.Helper()
	step := n.look().step()
	if n.down && step <= n.turn || !n.down && step >= n.turn {
		n.down = !n.down
		n.turn = 5 + n.rng.IntN(4)
		if n.down {
			n.turn = 3 + n.rng.IntN(4)/3 // mostly 3, where the primary has returned
		}
	}
	var last string
	ok := waitFor(n.t.Context(), 60*time.Second, func() bool {
		out, ok := n.move(n.t.Context(), "for a while afterwards", step)
		last = out
		return ok || n.look().step() != step
	})
	if !ok {
		n.t.Errorf("with nothing broken any more, no move succeeds: %s", last)
	}
}

// settle wants a command to succeed, soon.
func (n *nemesis) settle(what string, args ...string) {
	n.t.Helper()
	var last string
	if !waitFor(n.t.Context(), 60*time.Second, func() bool {
		stdout, stderr, code := n.run(args...)
		last = fmt.Sprintf("exit %d\n%s%s", code, stdout, stderr)
		return code == 0
	}) {
		n.t.Errorf("%s: %s", what, last)
	}
}

// mend does what an operator would: start again what has died. Then the
// service must serve reads and writes.
func (n *nemesis) mend() {
	n.t.Helper()
	if n.newServer == nil {
		n.settle("start the new database", "mongo", "start")
	}
	n.settle("start nginx", "nginx", "start")
	st := n.look()
	if a := st.active(); a == nil || !a.Running {
		step, port := st.LastSwitch.Step, st.Live
		if a != nil {
			step = a.Step
		}
		n.settle("start the active instance", "spawn", "--step", strconv.Itoa(step), "--port", strconv.Itoa(port))
	}
	n.wantServed("the fault has gone")
}

// wantServed wants the service to serve reads and writes.
func (n *nemesis) wantServed(when string) {
	n.t.Helper()
	all, writes := n.f.Answered()
	began := time.Now()
	served := waitFor(n.t.Context(), 30*time.Second, func() bool {
		nowAll, nowWrites := n.f.Answered()
		return nowAll >= all+30 && nowWrites >= writes+10
	})
	if !served {
		out, _, _ := n.run("status")
		n.t.Errorf("%s, and for %v the service has not served:\n%s", when, time.Since(began), out)
	}
}

// look is what status knows.
func (n *nemesis) look() (st siteStatus) {
	n.t.Helper()
	n.json(&st, "status")
	return st
}

type siteStatus struct {
	Live       int
	Fallback   int
	Instances  []siteInstance
	Daemons    []siteProcess
	LastSwitch struct{ Step int } `json:"last_switch"`
}

type siteInstance struct {
	Port, Step int
	Ready      bool
	Status     struct{ Primary string }
	siteProcess
}

type siteProcess struct {
	Running bool
	Process struct{ PID int }
}

func (st siteStatus) active() *siteInstance {
	for i := range st.Instances {
		if st.Instances[i].Port == st.Live {
			return &st.Instances[i]
		}
	}
	return nil
}

// primary is the one that the active instance knows of; empty if it says nothing.
func (st siteStatus) primary() string {
	if a := st.active(); a != nil {
		return a.Status.Primary
	}
	return ""
}

// standsBy says whether a rollback leads to an instance that is ready.
func (st siteStatus) standsBy() bool {
	a := st.active()
	return a != nil && slices.ContainsFunc(st.Instances, func(i siteInstance) bool {
		return i.Port == st.Fallback && i.Ready && (i.Step == a.Step || i.Step == a.Step-1)
	})
}

func (st siteStatus) step() int {
	if a := st.active(); a != nil {
		return a.Step
	}
	return st.LastSwitch.Step
}
