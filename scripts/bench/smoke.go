package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// smoke proves the harness: both builds start, serve, are compared, and a page
// is written to a temporary folder. Then it looks at variants that are broken on
// purpose. One answers late, and must be seen to be slower. One breaks
// connections, and must be refused.
func smoke(ctx context.Context, b *bench, p *page) error {
	b.quick = true
	if b.page == "" {
		b.page = filepath.Join(b.dir, "bench-smoke.md") // goes with the folder
	}
	both, err := b.openBoth(ctx)
	if err != nil {
		return err
	}
	if err := both.both(func(s *site) error { return s.advance(ctx, 3) }); err != nil {
		return err
	}
	rows := [][]string{{"variant", "compared with", "requests/s", "of the variant", "ratio"}}
	seen := func(name string, pair *pair) (summary, error) {
		c, err := b.compare(ctx, name, pair, b.defaults(3), func(ctx context.Context, s *site) (values, error) {
			return turnOfSteps(ctx, s, map[string]int{"create": 40, "mark done": 40, "get": 100, "list": 20})
		})
		if err != nil {
			return summary{}, err
		}
		rows = append(rows, []string{name, pair.base.name, figure(of(c.base, "get").median), figure(of(c.now, "get").median), c.ratio("get").times()})
		return c.ratio("get"), nil
	}
	if _, err := seen("present", both); err != nil {
		return err
	}
	delay, err := latency(ctx, both.now)
	if err != nil {
		return err
	}
	late, err := relay(ctx, both.now.address(), 20*delay)
	if err != nil {
		return err
	}
	defer late.close()
	// The same instance with and without the relay: nothing but the delay differs.
	slowed, err := seen("slowed on purpose", &pair{both.now, both.now.through(late)})
	if err != nil {
		return err
	}
	p.want("a variant whose answers come twenty times later is seen to be slower", "< 0.5", figure(slowed.median), slowed.median < 0.5)
	if !(slowed.median < 0.5) {
		return fmt.Errorf("a variant whose answers come %v late shows %s of the speed without: the harness does not see slowness", 20*delay, figure(slowed.median))
	}
	broken, err := relay(ctx, "127.0.0.1:1", 0) // nobody listens there
	if err != nil {
		return err
	}
	defer broken.close()
	_, err = seen("broken on purpose", &pair{both.base, both.now.through(broken)})
	if ctx.Err() == nil && err == nil {
		return errors.New("a variant that breaks every connection was compared as if it answered")
	}
	p.want("a variant that answers nothing is refused", "an error", "an error", true)
	p.table(rows)
	return ctx.Err()
}

// latency is the median time of a read by as many clients as a turn has.
func latency(ctx context.Context, s *site) (time.Duration, error) {
	c := newClients(s.entrance(), workers)
	defer c.close()
	ids, err := createMany(ctx, c, "Jane", 20)
	if err != nil {
		return 0, err
	}
	r, _, err := c.batch(ctx, workers, repeat(100, func(i int) request { return getTask(ids[i%len(ids)]) }))
	if err != nil {
		return 0, err
	}
	return time.Duration(r.quantile("get", 50) * float64(time.Millisecond)), nil
}
