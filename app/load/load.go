// Package load is Bill and Jane: clients that use the ToDo service without
// pause, know at every moment what they must be shown, and keep a ledger of
// every write that was acknowledged, for [Check] to read back.
//
// They can't repeat a request, whatever happens: raw keep-alive connections,
// no Idempotency-Key. Each task belongs to one client, and a client does one
// thing at a time, so that its exact state is known after each answer. A
// request that fails is counted, never excused.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Config describes a load. Zero values take the defaults given.
type Config struct {
	BaseURL  string        // of nginx, such as http://127.0.0.1:5000; http only
	Ledger   string        // path of the ledger, which is begun anew
	Clients  int           // half are Bill's, half Jane's; 16
	Rate     float64       // requests a second, all clients together; 0: as many as they can
	Duration time.Duration // for [Run]; 0: until the context ends
	Seed     uint64        // of every choice
	Own      []string      // ids of tasks that are there already and that nobody else changes
	MaxTasks int           // the number of live tasks to stay near; 1500
	Mix      Mix
	Think    time.Duration // longest pause of a client between two requests; 0: none
	Timeout  time.Duration // of a request; 10 s
}

// Mix is how often each request is made, relative to the others. Creates and
// deletions share their weights, so that the number of tasks stays near
// MaxTasks; a weight of 0 excludes its kind.
type Mix struct{ Create, Patch, Done, Delete, Get, List int }

// DefaultMix is mostly updates. Lists are rare, as an answer grows with the
// number of tasks.
func DefaultMix() Mix {
	return Mix{Create: 60, Patch: 560, Done: 80, Delete: 50, Get: 240, List: 10}
}

func (m Mix) sum() int { return m.Create + m.Patch + m.Done + m.Delete + m.Get + m.List }

func (c Config) withDefaults() Config {
	if c.Clients == 0 {
		c.Clients = 16
	}
	if c.MaxTasks == 0 {
		c.MaxTasks = 1500
	}
	if c.Mix.sum() == 0 {
		c.Mix = DefaultMix()
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	return c
}

// Generator makes load in the background, between Start and Stop.
type Generator struct {
	cfg     Config
	ledger  *ledger
	meter   *meter
	clients []*client
	pace    *rate.Limiter

	stop   context.CancelCauseFunc
	ending sync.WaitGroup
}

// New opens the ledger and prepares the clients.
func New(cfg Config) (*Generator, error) {
	cfg = cfg.withDefaults()
	addr, err := address(cfg.BaseURL)
	if err != nil {
		return nil, err
	}
	book, err := createLedger(cfg.Ledger)
	if err != nil {
		return nil, err
	}
	limit := rate.Inf
	if cfg.Rate > 0 {
		limit = rate.Limit(cfg.Rate)
	}
	g := &Generator{cfg: cfg, ledger: book, meter: newMeter(), pace: rate.NewLimiter(limit, 1), stop: func(error) {}}
	for i := range cfg.Clients {
		person := [...]string{"Bill", "Jane"}[i%2]
		g.clients = append(g.clients, &client{
			g:      g,
			name:   fmt.Sprintf("%s-%02d", person, i),
			person: person,
			conn:   newConn(addr, cfg.Timeout),
			rng:    rand.New(rand.NewPCG(cfg.Seed, uint64(i))),
			quota:  max(1, cfg.MaxTasks/cfg.Clients),
			tasks:  map[string]state{},
		})
	}
	for i, id := range cfg.Own {
		c := g.clients[i%len(g.clients)]
		c.strange = append(c.strange, id)
	}
	return g, nil
}

// address returns where to connect for a base URL.
func address(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return "", fmt.Errorf("load: %q is no http URL", base)
	}
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "80"), nil
	}
	return u.Host, nil
}

// Start lets the clients begin. They stop by themselves when ctx ends, each
// after the answer it waits for; call Stop all the same.
func (g *Generator) Start(ctx context.Context) {
	ctx, g.stop = context.WithCancelCause(ctx)
	g.meter.begin()
	for _, c := range g.clients {
		g.ending.Go(func() {
			if err := c.run(ctx); err != nil {
				g.stop(err)
			}
		})
	}
	// Nobody waits for requests that will never come.
	context.AfterFunc(ctx, g.meter.end)
}

// Stop lets each client finish its request, closes the ledger and returns the
// figures of the whole run. The error is not about the service: the ledger
// could not be kept.
func (g *Generator) Stop() (Figures, error) {
	g.stop(nil)
	g.ending.Wait()
	for _, c := range g.clients {
		c.conn.close()
	}
	g.meter.end()
	return g.meter.whole(), errors.Join(g.meter.failure(), g.ledger.close())
}

// Mark returns the figures since the last Mark, or the start, and begins anew.
func (g *Generator) Mark() Figures { return g.meter.mark() }

// Snapshot returns the figures since the last Mark without ending them.
func (g *Generator) Snapshot() Figures { return g.meter.snapshot() }

// Total returns the figures since the start.
func (g *Generator) Total() Figures { return g.meter.whole() }

// Wait returns once n requests have been answered or failed since the last
// Mark. It fails when ctx or the load ends first.
func (g *Generator) Wait(ctx context.Context, n int64) error { return g.meter.wait(ctx, n) }

// Run makes load for the configured duration, or until ctx ends.
func Run(ctx context.Context, cfg Config) (Figures, error) {
	g, err := New(cfg)
	if err != nil {
		return Figures{}, err
	}
	if cfg.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cfg.Duration)
		defer cancel()
	}
	g.Start(ctx)
	g.ending.Wait()
	return g.Stop()
}
