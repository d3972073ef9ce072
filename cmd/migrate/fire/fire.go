// Package fire uses the ToDo service while everything around it breaks, and
// decides afterwards whether what it answered can be true.
//
// Up to eight clients at a time work on one record, over raw keep-alive
// connections that repeat nothing. Every request and its answer go into the
// record's history, with the moments in which it was sent and answered; one
// whose outcome nobody knows may have happened at any later moment, or never.
// The histories must be linearizable: there must be one order of all requests,
// in keeping with real time, that explains every answer, its rev included. The
// last request of each history is a read after the fire, so that what was
// acknowledged must be there. Lists have a rule of their own, see lists.go.
//
// It knows nothing about migrations, and nothing about what is set on fire:
// whoever starts it sees to that.
package fire

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Config describes a fire. Zero values take the defaults given.
type Config struct {
	Address string        // of the service, host:port
	Clients int           // 16
	Active  int           // how many records are worked on at a time; 10
	Think   time.Duration // longest pause of a client between two requests; 20 ms
	Timeout time.Duration // of a request; 10 s
	Seed    uint64        // of every choice
	Legacy  []Legacy      // what was there before
	Foreign Foreign       // a program that writes past the service; nil: none
}

// Legacy is a record that was there before, at its first rev and not done.
type Legacy struct{ ID, Assignee, Description string }

const (
	maxOps      = 200 // a record's, before it is retired
	maxUnknown  = 8   // unknown outcomes of a record, the same
	maxAtOnce   = 8   // requests on one record at a time
	groupSize   = 12  // records that share an assignee
	afterDelete = 20  // requests on a record that was deleted
)

func (c Config) withDefaults() Config {
	if c.Clients == 0 {
		c.Clients = 16
	}
	if c.Active == 0 {
		c.Active = 10
	}
	if c.Think == 0 {
		c.Think = 20 * time.Millisecond
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	return c
}

// Fire is one run, between Start and Stop.
type Fire struct {
	cfg    Config
	clock  func() int64 // nanoseconds since the start
	pool   *pool
	lists  lists
	tally  tally
	stop   context.CancelFunc
	ending sync.WaitGroup
}

// Start begins to make requests, until Stop.
func Start(ctx context.Context, cfg Config) *Fire {
	cfg = cfg.withDefaults()
	began := time.Now()
	f := &Fire{cfg: cfg, clock: func() int64 { return int64(time.Since(began)) + 1 }}
	f.pool = newPool(cfg)
	ctx, f.stop = context.WithCancel(ctx)
	for n := range cfg.Clients {
		c := &client{f: f, number: n, conn: newConn(cfg.Address, cfg.Timeout), rng: rand.New(rand.NewPCG(cfg.Seed, uint64(n)))}
		f.ending.Go(func() { c.run(ctx) })
	}
	if cfg.Foreign != nil {
		p := &foreigner{f: f, rng: rand.New(rand.NewPCG(cfg.Seed, 1<<32))}
		f.ending.Go(func() { p.run(ctx) })
	}
	return f
}

// Stop ends the requests: those that are under way are still answered.
func (f *Fire) Stop() {
	f.stop()
	f.ending.Wait()
}

// Answered is how many requests have been answered, and how many of them were
// writes that were acknowledged: by which one sees whether the service works.
func (f *Fire) Answered() (all, writes int64) { return f.tally.answered.Load(), f.tally.written.Load() }

// label makes text that no two requests share.
func label(who string, n int) string { return fmt.Sprintf("%s #%d", who, n) }

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
