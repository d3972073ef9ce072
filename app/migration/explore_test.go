package migration

import (
	"flag"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	schedule = flag.String("schedule", "", "TestReplay: a scenario and a schedule, as a failure prints them")
	minutes  = flag.Float64("minutes", 0, "TestExploreLong: how long to explore")
	seed     = flag.Uint64("seed", 1, "of the schedules at random")
)

// fail tells a violation as a story and how to see it again.
func fail(t *testing.T, sc scenario, f *finding) {
	t.Helper()
	story, _, err := replay(sc, f.schedule)
	t.Errorf("%s\n%s  %v\nagain: go test ./app/migration -run TestReplay -v -schedule '%s %s'", f.fault, story, err, sc.name, f.schedule)
}

// sequential leaves a long test out where -short stands for the race detector's
// run: in a scene one coroutine runs at a time.
func sequential(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("nothing runs at once here")
	}
}

// core is what is explored completely in every run of the tests, and how far.
var core = []struct {
	scenario string
	bounds   bounds
}{
	{"3+4/stale@1/two-writers/", bounds{preemptions: -1}},
	{"4+5/stale@1/two-writers/", bounds{preemptions: -1}},
	{"4+5/stale@1/reader-above/flip", bounds{preemptions: 3}},
	{"4+5/late-copy@3/two-writers/", bounds{preemptions: 3}},
	{"4+5/only-old@1/lister/flip", bounds{preemptions: 2}},
	{"4+5/legacy@1/reader-above/foreign+flip", bounds{preemptions: 2}},
	{"4+5/legacy@1/reader-above/flip+backfill", bounds{preemptions: 2}},
	{"4+5/equal@1/delete-create/flip", bounds{preemptions: 3}},
	{"4+5/equal@1/fresh/flip", bounds{preemptions: 2}},
	{"4+4/equal@2/reader-above/return", bounds{preemptions: 2}},
	{"4+4/final@2/delete-create/return", bounds{preemptions: 2}},
	{"4+4/equal@2/reader-above/return+skipping", bounds{preemptions: 2}},
	{"4+4/final@2/delete-create/return+skipping", bounds{preemptions: 1}},
	{"4+4/equal@2/reader-above/return+reopening", bounds{preemptions: 1}},
	{"4+4/equal@2/delete-create/return+stray-six", bounds{preemptions: 1}},
	{"4+5/stale@2/two-writers/relay", bounds{preemptions: 2}},
	{"4+5/equal@1/delete-create/", bounds{faults: 1, preemptions: 1}},
	{"5+6/tombstone-in-old@2/lister/", bounds{preemptions: -1}},
	{"5+6/tombstone-in-old@2/lister/+short", bounds{preemptions: -1}},
	{"4+5/only-old@1/lister/flip+short", bounds{preemptions: 2}},
	{"5+6/stale@2/two-writers/relay", bounds{preemptions: 2}},
	{"6+7/only-old@2/reader-above/backfill+settling", bounds{preemptions: 3}},
	{"7+8/final@2/two-writers/", bounds{preemptions: -1}},
	{"legacy/unknown/write", bounds{preemptions: 2}},
	{"legacy/unknown/flip", bounds{preemptions: 2}},
	{"legacy/gap", bounds{preemptions: 2}},
	{"legacy/unfit", bounds{preemptions: 2}},
	{"legacy/unfit-backfill", bounds{preemptions: 2}},
	{"legacy/swap", bounds{preemptions: 2}},
	{"legacy/refused", bounds{preemptions: 1}},
	{"legacy/old-put-back", bounds{preemptions: 2}},
	{"legacy/on-word", bounds{preemptions: 2}},
	{"legacy/on-word-list", bounds{preemptions: 2}},
}

// briefly is how long -short explores.
const briefly = 5 * time.Second

// TestExplore explores the core completely within its bounds, and everything
// else at random: any number of preemptions and up to two faults. With -short
// it explores at random alone, for five seconds and at least five hundred schedules.
func TestExplore(t *testing.T) {
	if testing.Short() {
		end := time.Now().Add(briefly)
		n := wanderAll(t, *seed, func(n int) bool { return n < 500 || time.Now().Before(end) })
		t.Logf("%d schedules at random, seed %d", n, *seed)
		return
	}
	all := map[string]scenario{}
	for _, sc := range scenarios() {
		all[sc.name] = sc
	}
	for _, c := range core {
		t.Run(c.scenario, func(t *testing.T) {
			t.Parallel()
			sc, ok := all[c.scenario]
			if !ok {
				t.Fatal("no such scenario")
			}
			b := c.bounds
			b.runs = 200_000
			res := explore(sc, b)
			t.Logf("%+v: %d schedules, %d states, complete %t", c.bounds, res.runs, res.states, res.complete)
			if res.found != nil {
				fail(t, sc, res.found)
			} else if !res.complete {
				t.Errorf("not complete after %d schedules", res.runs)
			}
		})
	}
	t.Run("random", func(t *testing.T) {
		t.Parallel()
		const schedules = 25_000
		t.Logf("%d schedules of %d scenarios, seed %d", schedules, len(all), *seed)
		wanderAll(t, *seed, func(n int) bool { return n < schedules })
	})
}

// wanderAll tries schedules of scenarios at random while more says so.
func wanderAll(t *testing.T, seed uint64, more func(n int) bool) (n int) {
	rng := rand.New(rand.NewPCG(seed, 0))
	all := scenarios()
	for ; more(n) && !t.Failed(); n++ {
		sc := all[rng.IntN(len(all))]
		if f := wander(sc, bounds{faults: rng.IntN(3), preemptions: -1}, rng); f != nil {
			fail(t, sc, f)
		}
	}
	return n
}

// TestExploreLong explores until its time is up: every scenario within bounds
// that grow from round to round, and beside that at random.
func TestExploreLong(t *testing.T) {
	if *minutes == 0 {
		t.Skip("needs -minutes; scripts/prove.sh explore gives it")
	}
	end := time.Now().Add(time.Duration(*minutes * float64(time.Minute)))
	left := func(int) bool { return time.Now().Before(end) }
	var wg sync.WaitGroup
	wandered := 0
	wg.Go(func() { wandered = wanderAll(t, *seed, left) })
	var mu sync.Mutex
	total := result{}
	jobs := make(chan rung)
	for range max(1, runtime.GOMAXPROCS(0)-1) {
		wg.Go(func() {
			for j := range jobs {
				res := explore(j.scenario, j.bounds)
				mu.Lock()
				total.runs += res.runs
				total.states += res.states
				t.Logf("%-55s faults %d preemptions %2d: %7d schedules %8d states complete %t", j.scenario.name, j.bounds.faults, j.bounds.preemptions, res.runs, res.states, res.complete)
				if res.found != nil {
					fail(t, j.scenario, res.found)
				}
				mu.Unlock()
			}
		})
	}
	for _, j := range ladder() {
		if !left(0) || t.Failed() {
			break
		}
		jobs <- j
	}
	close(jobs)
	wg.Wait()
	t.Logf("TOTAL %d schedules in order of search (%d states), %d at random (seed %d)", total.runs, total.states, wandered, *seed)
}

// rung is a scenario and how far to explore it.
type rung struct {
	scenario scenario
	bounds   bounds
}

// ladder is every scenario within small bounds, then within greater ones, in
// an order that brings all kinds soon.
func ladder() []rung {
	var out []rung
	rng := rand.New(rand.NewPCG(*seed, 1))
	for _, step := range [][]bounds{
		{{0, 1, 3_000}, {1, 0, 3_000}, {0, 2, 10_000}, {1, 1, 10_000}, {2, 0, 10_000}},
		{{0, 3, 50_000}, {1, 2, 100_000}, {0, -1, 500_000}, {2, 1, 500_000}},
	} {
		from := len(out)
		for _, b := range step {
			for _, sc := range scenarios() {
				out = append(out, rung{sc, b})
			}
		}
		rng.Shuffle(len(out)-from, func(i, j int) { out[from+i], out[from+j] = out[from+j], out[from+i] })
	}
	return out
}

// TestReplay tells the story of the schedule that -schedule names.
func TestReplay(t *testing.T) {
	name, choices, _ := strings.Cut(*schedule, " ")
	if name == "" {
		t.Skip("needs -schedule 'SCENARIO CHOICES'")
	}
	all := scenarios()
	for _, v := range variants() {
		sc := v.in
		sc.name, sc.broken = v.name, &v
		all = append(all, sc)
	}
	for _, sc := range all {
		if sc.name != name {
			continue
		}
		story, fault, err := replay(sc, choices)
		t.Logf("%s\n%s", name, story)
		if fault != "" {
			t.Error(fault)
		}
		if err != nil {
			t.Error(err)
		}
		return
	}
	t.Fatalf("there is no scenario %q", name)
}
