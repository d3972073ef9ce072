package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"
)

// kinds are the requests that are measured at each step.
var kinds = []string{"create", "mark done", "get", "list"}

const (
	listed     = 100 // undone tasks of the one whose list is asked for
	stepsFloor = 0.9 // of the baseline's throughput
)

// steps measures each request at each step, with both builds at the same step
// and the same tasks. A turn is a batch of each kind of request, by four
// clients without pause; both builds get batches of the same size.
func steps(ctx context.Context, b *bench, p *page) error {
	both, err := b.openBoth(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{"step", "request", "req/s " + b.baseline.name, "req/s present", "throughput, ratio", "CPU, ratio", "p99 ms " + b.baseline.name, "p99 ms present", "p99, ratio"}}
	lowest, where := math.Inf(1), ""
	for step := 1; step <= 8; step++ {
		if err := b.moveTo(ctx, both, step); err != nil {
			return fmt.Errorf("move to step %d: %w", step, err)
		}
		if !b.wants(fmt.Sprint(step)) {
			continue
		}
		c, err := b.oneStep(ctx, both, step)
		if err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
		for n, kind := range kinds {
			speed := c.ratio(kind)
			if speed.median < lowest {
				lowest, where = speed.median, fmt.Sprintf("%s at step %d", kind, step)
			}
			rows = append(rows, []string{numbered(n, step), kind,
				figure(of(c.base, kind).median), figure(of(c.now, kind).median), speed.times(), c.ratio(kind + " cpu").times(),
				figure(of(c.base, kind+" p99").median), figure(of(c.now, kind+" p99").median), c.ratio(kind + " p99").times()})
		}
		p.judge(fmt.Sprintf("step %d", step), c)
	}
	p.want("throughput of each request at each step, present ÷ "+b.baseline.name, fmt.Sprintf("≥ %g", stepsFloor),
		fmt.Sprintf("lowest %s (%s)", figure(lowest), where), lowest >= stepsFloor)
	p.table(rows)
	p.text("CPU is the processor time of a request in all processes of a build: the instances, nginx and the embedded\nserver. Other programs disturb it less than they do a speed.")
	p.text("Through nginx, by %d clients on connections that they keep. A list is %d undone tasks.\nFrom step 5 on the embedded server is the primary: it takes one command at a time.", workers, listed)
	return nil
}

func numbered(n, step int) string {
	if n > 0 {
		return ""
	}
	return fmt.Sprint(step)
}

// moveTo moves both to a step. At the first one they get the tasks that are
// listed.
func (b *bench) moveTo(ctx context.Context, both *pair, step int) error {
	b.say("step %d: moving both builds there", step)
	return both.both(func(s *site) error {
		if err := s.advance(ctx, step); err != nil || step > 1 {
			return err
		}
		c := newClients(s.entrance(), workers)
		defer c.close()
		_, err := createMany(ctx, c, "Bill", listed)
		return err
	})
}

// oneStep lets both take turns at the step where they are.
func (b *bench) oneStep(ctx context.Context, both *pair, step int) (*comparison, error) {
	size, err := b.sizes(ctx, both)
	if err != nil {
		return nil, err
	}
	return b.compare(ctx, fmt.Sprintf("step %d", step), both, b.defaults(choose(b, 1, 5), kinds...),
		func(ctx context.Context, s *site) (values, error) { return turnOfSteps(ctx, s, size) })
}

// sizes finds how many requests of each kind make a batch of about a second.
// The baseline, asked on both sites' behalf, decides for both.
func (b *bench) sizes(ctx context.Context, both *pair) (map[string]int, error) {
	probe := map[string]int{"create": 20, "mark done": 20, "get": 20, "list": 4}
	size := map[string]int{}
	err := both.both(func(s *site) error { // both, so that both have the same tasks
		v, err := turnOfSteps(ctx, s, probe)
		for _, kind := range kinds {
			if s == both.base {
				size[kind] = int(v[kind] * choose(b, 0.2, 1))
			}
		}
		return err
	})
	for kind, n := range size {
		size[kind] = min(max(n, 20), 1000)
	}
	size["create"] = min(size["create"], 200) // or the later steps would see ever longer collections
	size["mark done"] = size["create"]
	return size, err
}

// turnOfSteps makes a batch of each kind and returns its throughput, its
// processor time a request and its p99.
func turnOfSteps(ctx context.Context, s *site, size map[string]int) (values, error) {
	c := newClients(s.entrance(), workers)
	defer c.close()
	v := values{}
	var made []string
	for _, kind := range kinds {
		before := usedBy(s.dir)
		r, ids, err := c.batch(ctx, workers, repeat(size[kind], func(i int) request {
			switch kind {
			case "create":
				return createTask("Jane", fmt.Sprintf("task %d, %s", i+1, strings.Repeat("and so on ", 5)))
			case "mark done":
				return finishTask(made[i])
			case "get":
				return getTask(made[i%len(made)])
			}
			return listTasks("Bill")
		}))
		if err != nil {
			return nil, err
		}
		if kind == "create" {
			made = ids
		}
		v[kind] = float64(size[kind]) / seconds(max(r.elapsed, time.Microsecond))
		v[kind+" cpu"] = seconds(usedBy(s.dir)-before) / float64(size[kind])
		v[kind+" p99"] = r.quantile(kind, 99)
	}
	return v, nil
}
