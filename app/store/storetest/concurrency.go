package storetest

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/task"
)

func concurrencyCases() []Case[Records] {
	return []Case[Records]{
		{Name: "of many who create one record, one does", Run: createRace},
		{Name: "of many who swap one record, one wins each rev", Run: swapRace},
		{Name: "PutIfNewer in parallel ends at the greatest pair", Run: putRace},
		{Name: "PutIfNewer beside swaps loses neither", Run: mixedRace},
	}
}

const rivals = 8

// race runs f in that many goroutines at once and returns when all have ended.
func race(n int, f func(i int)) {
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		group.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	group.Wait()
}

// errorList collects what goroutines found, to be reported by the test's own.
type errorList struct {
	mu  sync.Mutex
	all []error
}

func (l *errorList) add(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, err)
}

func (l *errorList) report(t T) {
	t.Helper()
	for _, err := range l.all {
		t.Errorf("%v", err)
	}
}

func createRace(t T, s Records) {
	var errs errorList
	const rounds = 10
	won := make([][]int, rounds)
	var mu sync.Mutex
	race(rivals, func(i int) {
		for round := range rounds {
			r := live(fmt.Sprint("race ", round), 1, 1)
			r = with(r, func(t *task.Task) { t.Assignee = fmt.Sprint(i) })
			switch err := s.CompareAndSwap(t.Context(), r, store.Pair{}); {
			case err == nil:
				mu.Lock()
				won[round] = append(won[round], i)
				mu.Unlock()
			case !errors.Is(err, store.ErrConflict):
				errs.add(err)
			}
		}
	})
	errs.report(t)
	for round, winners := range won {
		id := key(fmt.Sprint("race ", round))
		if len(winners) != 1 {
			t.Errorf("%s was created by %v", id, winners)
			continue
		}
		found, err := s.Get(t.Context(), id)
		if err != nil || taskOf(found[id]).Assignee != fmt.Sprint(winners[0]) {
			t.Errorf("%s, created by %d, holds %+v, %v", id, winners[0], found[id], err)
		}
	}
}

// swapOnce reads the record and commits the next rev, saying who; it returns
// the rev that it won, or 0.
func swapOnce(t T, s Records, id, who string) (int64, error) {
	found, err := s.Get(t.Context(), key(id))
	if err != nil {
		return 0, err
	}
	runtime.Gosched()
	held := found[key(id)]
	next := live(id, held.Rev+1, held.Epoch)
	next = with(next, func(t *task.Task) { t.Assignee = who })
	switch err := s.CompareAndSwap(t.Context(), next, held.Pair); {
	case err == nil:
		return next.Rev, nil
	case errors.Is(err, store.ErrConflict):
		return 0, nil
	default:
		return 0, err
	}
}

func swapRace(t T, s Records) {
	var (
		errs   errorList
		mu     sync.Mutex
		winner = map[int64][]string{} // by rev
	)
	const id, attempts = "contended", 15
	swap(t, s, live(id, 1, 1), store.Pair{})
	race(rivals, func(i int) {
		for range attempts {
			rev, err := swapOnce(t, s, id, fmt.Sprint(i))
			if err != nil {
				errs.add(err)
				return
			}
			if rev > 0 {
				mu.Lock()
				winner[rev] = append(winner[rev], fmt.Sprint(i))
				mu.Unlock()
			}
		}
	})
	errs.report(t)
	wins := 0
	for rev, who := range winner {
		wins += len(who)
		if len(who) != 1 {
			t.Errorf("rev %d was won by %v", rev, who)
		}
	}
	found, err := s.Get(t.Context(), key(id))
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	held := found[key(id)]
	if wins == 0 || held.Rev != int64(1+wins) {
		t.Errorf("%d swaps won, the record is at rev %d", wins, held.Rev)
	}
	if last := winner[held.Rev]; !slices.Contains(last, taskOf(held).Assignee) {
		t.Errorf("rev %d was won by %v and holds %+v", held.Rev, last, held)
	}
}

func putRace(t T, s Records) {
	var errs errorList
	var want []Record
	for round := range 20 {
		id := fmt.Sprintf("%02d", round)
		// Each puts one copy, so that nobody mends what another undid.
		race(rivals, func(i int) {
			if err := s.PutIfNewer(t.Context(), live(id, int64(1+i%2), int64(i))); err != nil {
				errs.add(err)
			}
		})
		want = append(want, live(id, 2, rivals-1))
	}
	errs.report(t)
	holds(t, s, want...)
}

// mixedRace lets late copies arrive while the record is being changed. A copy
// has a rev far below or an epoch below the committed ones, so each swap that
// was granted must be there at the end.
func mixedRace(t T, s Records) {
	var (
		errs errorList
		mu   sync.Mutex
		wins int64
	)
	const id = "contended"
	swap(t, s, live(id, 1, 5), store.Pair{})
	race(rivals, func(i int) {
		for range 10 {
			if i%2 == 0 {
				late := live(id, 1, int64(i))
				late.Epoch = min(late.Epoch, 4)
				if err := s.PutIfNewer(t.Context(), late); err != nil {
					errs.add(err)
				}
				continue
			}
			rev, err := swapOnce(t, s, id, fmt.Sprint(i))
			if err != nil {
				errs.add(err)
			}
			if rev > 0 {
				mu.Lock()
				wins++
				mu.Unlock()
			}
		}
	})
	errs.report(t)
	found, err := s.Get(t.Context(), key(id))
	if err != nil || wins == 0 || found[key(id)].Pair != pair(1+wins, 5) {
		t.Errorf("after %d granted swaps: %+v, %v", wins, found[key(id)], err)
	}
}
