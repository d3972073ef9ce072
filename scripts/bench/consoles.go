package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// every is how long a console waits between an answer of /config and the next
// question, as static/panel.js does.
const every = 3 * time.Second

// consoles are user consoles that people left open. Each asks for its list
// once, and for /config again and again.
type consoles struct {
	clients *clients
	stop    context.CancelFunc
	open    sync.WaitGroup

	mu     sync.Mutex
	asked  *result
	rounds []int // answers of /config that each console has had
}

// openConsoles opens n of them, spread over one interval.
func openConsoles(ctx context.Context, s *site, n int) *consoles {
	ctx, stop := context.WithCancel(ctx)
	c := &consoles{clients: newClients(s.entrance(), n), stop: stop, asked: newResult(), rounds: make([]int, n)}
	for i := range n {
		c.open.Go(func() {
			if !sleep(ctx, every*time.Duration(i)/time.Duration(n)) {
				return
			}
			c.ask(ctx, listTasks("Bill"))
			for ctx.Err() == nil {
				c.ask(ctx, request{"config", "GET", "/config", nil, http.StatusOK})
				c.answered(i)
				sleep(ctx, every)
			}
		})
	}
	return c
}

func (c *consoles) ask(ctx context.Context, r request) {
	began := time.Now()
	_, err := c.clients.do(ctx, r)
	if ctx.Err() != nil {
		return // the page was closed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked.add(r.kind, time.Since(began), err)
}

func (c *consoles) answered(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rounds[i]++
}

// mark returns what the consoles saw since the last mark.
func (c *consoles) mark() *result {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.asked
	c.asked = newResult()
	return was
}

// round waits until each console has had one more answer.
func (c *consoles) round(ctx context.Context) error {
	c.mu.Lock()
	want := make([]int, len(c.rounds))
	for i, n := range c.rounds {
		want[i] = n + 1
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for !c.reached(want) {
		if !sleep(ctx, 50*time.Millisecond) {
			return fmt.Errorf("the consoles get no answer from /config: %w", ctx.Err())
		}
	}
	return nil
}

func (c *consoles) reached(want []int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, n := range c.rounds {
		if n < want[i] {
			return false
		}
	}
	return true
}

func (c *consoles) close() {
	c.stop()
	c.open.Wait()
	c.clients.close()
}
