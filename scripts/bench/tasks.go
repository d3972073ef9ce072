package main

import (
	"context"
	"fmt"
	"sync"
)

// workers is the number of clients of a batch: few, so that the service and not
// the machine is measured.
const workers = 4

// createMany makes n tasks of somebody and returns their ids.
func createMany(ctx context.Context, c *clients, assignee string, n int) ([]string, error) {
	_, ids, err := c.batch(ctx, workers, repeat(n, func(i int) request { return createTask(assignee, fmt.Sprintf("task %d", i+1)) }))
	return ids, err
}

func repeat(n int, one func(int) request) []request {
	all := make([]request, n)
	for i := range all {
		all[i] = one(i)
	}
	return all
}

// supply hands out the ids of undone tasks, each once.
type supply struct {
	mu  sync.Mutex
	ids []string
}

func (s *supply) take() (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ids) == 0 {
		return "", false
	}
	id := s.ids[0]
	s.ids = s.ids[1:]
	return id, true
}

// mixed returns four GETs and then a PUT, again and again, of undone tasks.
func mixed(read []string, undone *supply) func() (request, bool) {
	turn := 0
	return func() (request, bool) {
		turn++
		if turn%5 != 0 {
			return getTask(read[turn%len(read)]), true
		}
		id, more := undone.take()
		return finishTask(id), more
	}
}
