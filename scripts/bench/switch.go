package main

import (
	"context"
	"fmt"
	"time"
)

// switchRate is how many requests a second are sent meanwhile.
const switchRate = 100

// moves is how many switches a turn has.
func (b *bench) moves() int { return choose(b, 5, 20) }

// switches measures what a switch costs those who use the service: p99 while
// traffic moves again and again between two instances at step 1, against p99 of as
// long a time without a move. The rate is far below what the service can do.
func switches(ctx context.Context, b *bench, p *page) error {
	both, err := b.openBoth(ctx)
	if err != nil {
		return err
	}
	read := map[*site][]string{}
	err = both.both(func(s *site) error {
		if err := s.advance(ctx, 1); err != nil {
			return err
		}
		if _, err := s.must(ctx, "spawn", "--step", "1"); err != nil {
			return err
		}
		c := newClients(s.entrance(), workers)
		defer c.close()
		ids, err := createMany(ctx, c, "Bill", listed)
		read[s] = ids
		return err
	})
	if err != nil {
		return err
	}
	rows := [][]string{{"cut-over", "build", "p99 ms without", "p99 ms with", "with ÷ without", "requests failed", "one switch, ms"}}
	for _, way := range []string{"link", "reload"} {
		if !b.wants(way) {
			continue
		}
		turn := func(ctx context.Context, s *site) (values, error) { return b.turnOfSwitches(ctx, s, way, read[s]) }
		c, err := b.compare(ctx, way, both, b.defaults(choose(b, 1, 5)), turn)
		if err != nil {
			return err
		}
		for _, side := range []struct {
			name  string
			turns []values
		}{{b.baseline.name, c.base}, {b.present.name, c.now}} {
			rows = append(rows, []string{way, side.name, figure(of(side.turns, "without").median), figure(of(side.turns, "with").median),
				within(side.turns, "with", "without").times(), fmt.Sprintf("%.0f", sum(side.turns, "failed")), figure(of(side.turns, "move").median)})
		}
		p.judge(way, c)
		if failed := sum(c.now, "failed"); way == "link" {
			p.want("requests that fail across all switches by link, present", "0", fmt.Sprintf("%.0f", failed), failed == 0)
		}
	}
	p.table(rows)
	p.text("%d requests a second through nginx, of five one creates a task and four read one; %d switches a turn. A\nrequest's time begins when it is due. A POST is never repeated. \"One switch\" is the whole command, with its drain.", switchRate, b.moves())
	return nil
}

func sum(turns []values, metric string) (n float64) {
	for _, v := range turns {
		n += v[metric]
	}
	return n
}

// turnOfSwitches measures a time with moves, and as long a time without. Which
// of the two comes first changes from turn to turn.
func (b *bench) turnOfSwitches(ctx context.Context, s *site, way string, read []string) (values, error) {
	c := newClients(s.entrance(), 64)
	defer c.close()
	// The first one changes the way, which may cost a reload, and is not measured.
	if _, err := s.must(ctx, "switch", "--cutover", way); err != nil {
		return nil, err
	}
	v := values{}
	with := func() (time.Duration, error) {
		return measured(ctx, c, v, "with", read, func() error { return b.move(ctx, s, v) })
	}
	without := func(long time.Duration) error {
		_, err := measured(ctx, c, v, "without", read, func() error { sleep(ctx, long); return ctx.Err() })
		return err
	}
	long := time.Duration(b.moves()) * 500 * time.Millisecond
	s.turns++
	if s.turns%2 == 0 {
		if err := without(long); err != nil {
			return nil, err
		}
		_, err := with()
		return v, err
	}
	long, err := with()
	if err != nil {
		return nil, err
	}
	return v, without(long)
}

// move switches again and again between the two instances.
func (b *bench) move(ctx context.Context, s *site, v values) error {
	var took time.Duration
	for range b.moves() {
		o, err := s.must(ctx, "switch")
		if err != nil {
			return err
		}
		took += o.took
		sleep(ctx, 200*time.Millisecond)
	}
	v["move"] = 1000 * took.Seconds() / float64(b.moves())
	return ctx.Err()
}

// measured sends requests at the rate while something is done, and notes their
// p99 under a name.
func measured(ctx context.Context, c *clients, v values, name string, read []string, do func() error) (time.Duration, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	seen := make(chan *result, 1)
	turn := 0
	go func() {
		seen <- c.paced(ctx, switchRate, func() (request, bool) {
			turn++
			if turn%5 == 0 {
				r := createTask("Jane", fmt.Sprintf("while it moves %d", turn))
				r.kind = "any"
				return r, true
			}
			r := getTask(read[turn%len(read)])
			r.kind = "any"
			return r, true
		})
	}()
	began := time.Now()
	err := do()
	took := time.Since(began)
	stop()
	r := <-seen
	v[name] = r.quantile("any", 99)
	v["failed"] += float64(r.failures())
	return took, err
}
