package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

const (
	rollbackRatio = 5.0 // hanging ÷ well
	rollbackTime  = 2 * time.Second
	requestRatio  = 1.2 // p99 of a request, hanging ÷ before
	statusTime    = 3 * time.Second
	hangRate      = 50 // requests a second, four of five of them GETs
	manyPages     = 50
	fewPages      = 10
)

// hang stops a database that does not answer any more, but whose connections
// stay, and looks at what must not wait for it.
func hang(ctx context.Context, b *bench, p *page) error {
	h := &hanging{bench: b, read: map[*site][]string{}}
	for _, part := range []struct {
		name string
		step int
		make func(context.Context, *page) error
	}{{"rollback", 4, h.rollbacks}, {"requests", 4, h.requests}, {"locked", 4, h.locked}, {"stopped", 5, h.stopped}} {
		if !b.wants(part.name) {
			continue
		}
		if err := h.at(ctx, part.step); err != nil {
			return err
		}
		if err := part.make(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// hanging is both builds, at step 4 under the old database or 5 under the new.
type hanging struct {
	*bench
	both *pair
	step int
	read map[*site][]string // ids of tasks that are only read
}

// at has both at a step. Another step begins anew: the embedded server is slow
// with the many tasks of the parts before.
func (h *hanging) at(ctx context.Context, step int) (err error) {
	if h.step == step {
		return nil
	}
	if h.both != nil {
		if err := h.both.both(func(s *site) error { return s.stop(ctx) }); err != nil {
			return err
		}
	}
	if h.both, err = h.openBoth(ctx); err != nil {
		return err
	}
	h.step = step
	return h.both.both(func(s *site) error { return h.prepare(ctx, s, step) })
}

func (h *hanging) prepare(ctx context.Context, s *site, step int) error {
	if err := s.advance(ctx, 1); err != nil {
		return err
	}
	c := newClients(s.entrance(), workers)
	defer c.close()
	ids, err := createMany(ctx, c, "Bill", listed)
	if err != nil {
		return err
	}
	h.read[s] = ids
	return s.advance(ctx, step)
}

// stopServer stops the embedded server, as a machine does that is out of
// memory. The returned function lets it go on.
func stopServer(ctx context.Context, s *site) (goOn func(), err error) {
	pid, err := s.server(ctx)
	if err != nil {
		return nil, err
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return nil, fmt.Errorf("stop the embedded server, process %d: %w", pid, err)
	}
	return func() { _ = syscall.Kill(pid, syscall.SIGCONT) }, nil
}

// rollbacks measures a rollback to the fallback at step 3, which needs nothing
// of the new database.
func (h *hanging) rollbacks(ctx context.Context, p *page) error {
	rows := [][]string{{"pages open", "build", "rollback well, s", "hanging, s", "hanging ÷ well", "/config well, ms", "worst", "/config hanging, ms", "worst", "failed"}}
	for _, pages := range []int{fewPages, manyPages} {
		turn := func(ctx context.Context, s *site) (values, error) { return h.rollback(ctx, s, pages) }
		c, err := h.compare(ctx, fmt.Sprintf("rollback with %d pages open", pages), h.both, h.defaults(choose(h.bench, 1, 3)), turn)
		if err != nil {
			return err
		}
		for _, side := range h.sides(c) {
			rows = append(rows, []string{fmt.Sprint(pages), side.name, figure(of(side.turns, "well").median), figure(of(side.turns, "hanging").median),
				within(side.turns, "hanging", "well").times(),
				figure(of(side.turns, "config well").median), figure(of(side.turns, "config well worst").most),
				figure(of(side.turns, "config hanging").median), figure(of(side.turns, "config hanging worst").most),
				fmt.Sprintf("%.0f", sum(side.turns, "config failed"))})
		}
		ratio, took := within(c.now, "hanging", "well"), of(c.now, "hanging")
		p.want(fmt.Sprintf("rollback with new hanging ÷ with all well, %d pages", pages), fmt.Sprintf("≤ %g", rollbackRatio), ratio.times(), ratio.median <= rollbackRatio)
		p.want(fmt.Sprintf("the same rollback, %d pages", pages), fmt.Sprintf("≤ %v", rollbackTime), figure(took.most)+" s at most", took.most <= rollbackTime.Seconds())
		p.judge(fmt.Sprintf("rollback with %d pages", pages), c)
	}
	p.heading("A rollback from step 4 to the ready fallback at step 3, the new database stopped")
	p.table(rows)
	p.text("The rollback begins %v after the new database was stopped by SIGSTOP, so that each page has asked since.\nA page asks /config %v after each answer, as the consoles do. Of /config the median and the worst are shown.", every, every)
	return nil
}

type side struct {
	name  string
	turns []values
}

func (h *hanging) sides(c *comparison) []side {
	return []side{{h.baseline.name, c.base}, {h.present.name, c.now}}
}

// rollback measures one with all well and one with the new database stopped,
// and returns to step 4 after each.
func (h *hanging) rollback(ctx context.Context, s *site, pages int) (values, error) {
	open := openConsoles(ctx, s, pages)
	defer open.close()
	if err := open.round(ctx); err != nil {
		return nil, err
	}
	open.mark()
	well, err := s.must(ctx, "rollback")
	if err != nil {
		return nil, err
	}
	if err := open.round(ctx); err != nil {
		return nil, err
	}
	before := open.mark()
	if err := h.forth(ctx, s); err != nil {
		return nil, err
	}
	open.mark()
	goOn, err := stopServer(ctx, s)
	if err != nil {
		return nil, err
	}
	defer goOn()
	if !sleep(ctx, every) {
		return nil, ctx.Err()
	}
	back, err := s.must(ctx, "rollback")
	if err != nil {
		return nil, err
	}
	if err := open.round(ctx); err != nil { // answers that are still waited for are the slowest
		return nil, err
	}
	after := open.mark()
	goOn()
	return values{
		"well": well.took.Seconds(), "hanging": back.took.Seconds(),
		"config well": before.quantile("config", 50), "config well worst": before.quantile("config", 100),
		"config hanging": after.quantile("config", 50), "config hanging worst": after.quantile("config", 100),
		"config failed": float64(before.failures() + after.failures()),
	}, h.forth(ctx, s)
}

// forth returns traffic to step 4, and waits until all is well.
func (h *hanging) forth(ctx context.Context, s *site) error {
	if err := s.settled(ctx); err != nil {
		return err
	}
	if _, err := s.must(ctx, "switch"); err != nil {
		return err
	}
	return s.settled(ctx)
}

// requests measures GET and PUT at step 4 in the minute before and in the
// minute that begins when the new database stops.
func (h *hanging) requests(ctx context.Context, p *page) error {
	long := choose(h.bench, 10*time.Second, time.Minute)
	turn := func(ctx context.Context, s *site) (values, error) { return h.minutes(ctx, s, long) }
	c, err := h.compare(ctx, "GET and PUT", h.both, h.defaults(choose(h.bench, 1, 3)), turn)
	if err != nil {
		return err
	}
	rows := [][]string{{"request", "build", "p99 before, ms", "p99 hanging, ms", "hanging ÷ before", "worst hanging, ms", "failed before", "failed hanging"}}
	for _, kind := range []string{"get", "mark done", "config"} {
		for _, side := range h.sides(c) {
			rows = append(rows, []string{kind, side.name, figure(of(side.turns, kind+" before").median), figure(of(side.turns, kind+" hanging").median),
				within(side.turns, kind+" hanging", kind+" before").times(), figure(of(side.turns, kind+" worst").most),
				fmt.Sprintf("%.0f", sum(side.turns, kind+" failed before")), fmt.Sprintf("%.0f", sum(side.turns, kind+" failed hanging"))})
		}
		if kind == "config" {
			continue
		}
		ratio := within(c.now, kind+" hanging", kind+" before")
		p.want("p99 of "+kind+" at step 4, hanging ÷ before", fmt.Sprintf("≤ %g", requestRatio), ratio.times(), ratio.median <= requestRatio)
	}
	p.judge("GET and PUT", c)
	p.heading(fmt.Sprintf("Requests at step 4 with %d pages open, the old database being primary", manyPages))
	p.table(rows)
	p.text("%d requests a second, of five one marks a task done and four read one; %v before and %v from the moment\non when the new database is stopped. A request's time begins when it is due. \"config\" is what the pages ask.", hangRate, long, long)
	return nil
}

func (h *hanging) minutes(ctx context.Context, s *site, long time.Duration) (values, error) {
	c := newClients(s.entrance(), 2*hangRate)
	defer c.close()
	ids, err := createMany(ctx, c, "Jane", hangRate/5*2*int(long/time.Second)+2*hangRate)
	if err != nil {
		return nil, err
	}
	if err := s.settled(ctx); err != nil {
		return nil, err
	}
	open := openConsoles(ctx, s, manyPages)
	defer open.close()
	if err := open.round(ctx); err != nil {
		return nil, err
	}
	next, v := mixed(h.read[s], &supply{ids: ids}), values{}
	minute := func(name string) {
		open.mark()
		ctx, stop := context.WithTimeout(ctx, long)
		defer stop()
		r := c.paced(ctx, hangRate, next)
		pages := open.mark()
		r.times["config"], r.failed["config"] = pages.times["config"], pages.failed["config"]
		for _, kind := range []string{"get", "mark done", "config"} {
			v[kind+" "+name], v[kind+" failed "+name] = r.quantile(kind, 99), float64(r.failed[kind])
			v[kind+" worst"] = r.quantile(kind, 100)
		}
	}
	minute("before")
	goOn, err := stopServer(ctx, s)
	if err != nil {
		return nil, err
	}
	defer goOn()
	minute("hanging")
	goOn()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for _, kind := range []string{"get", "mark done"} {
		if v[kind+" before"] == 0 || v[kind+" hanging"] == 0 {
			return nil, errors.New("no " + kind + " was measured")
		}
	}
	return v, s.settled(ctx)
}
