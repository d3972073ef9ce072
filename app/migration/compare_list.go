package migration

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// How much of what lists answer is compared: enough for the gate to step 5, and
// little beside what requests ask of new.
const (
	listSample = 50                     // records of one list, in one call
	listRest   = 100 * time.Millisecond // from one list to the next, at the least
	listShare  = 20                     // a comparison may take one part in so many of the time
)

// listed is what a list under old has answered.
type listed struct {
	epoch int64
	recs  []store.Record
}

// compareListLater has some neighbours of a list compared with new's copies. No
// answer waits for that, and a list is left out while another one waits.
func (s *Service) compareListLater(epoch int64, recs []store.Record) {
	if len(recs) == 0 {
		return
	}
	if !s.newBreaker.well() {
		s.compared.missed(epoch, recs[0].ID)
		return
	}
	from := rand.IntN(max(0, len(recs)-listSample) + 1)
	sample := slices.Clone(recs[from:min(len(recs), from+listSample)])
	select {
	case s.compared.lists <- listed{epoch, sample}:
	default:
	}
}

// runCompareLists compares what was listed, until ctx ends.
func (s *Service) runCompareLists(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case l := <-s.compared.lists:
			began := time.Now()
			s.compareList(ctx, l)
			if pause(ctx, max(listRest, (listShare-1)*time.Since(began))) != nil {
				return nil
			}
		}
	}
}

// compareList reads new's copies. Those that are newer than what old answered
// may have come there since: old is read again for them, after new.
func (s *Service) compareList(ctx context.Context, l listed) {
	news, err := s.lookAllNew(ctx, l.recs)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		// The breaker isn't told: many records in one call may take long while
		// new takes every write.
		s.compared.missed(l.epoch, l.recs[0].ID)
		return
	}
	var newer []record.ID
	for _, o := range l.recs {
		n, inNew := news[o.ID]
		if relate(o, true, n, inNew) == ahead {
			newer = append(newer, o.ID)
			continue
		}
		s.compare(l.epoch, o.ID, o, true, n, inNew, nil)
	}
	if len(newer) == 0 {
		return
	}
	olds, fence, err := s.old.Get(ctx, newer...)
	if err != nil || fence.Epoch != l.epoch {
		return
	}
	for _, id := range newer {
		o, inOld := olds[id]
		s.compare(l.epoch, id, o, inOld, news[id], true, nil)
	}
}

func (s *Service) lookAllNew(ctx context.Context, recs []store.Record) (map[record.ID]store.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Budget)
	defer cancel()
	if err := s.ours(ctx); err != nil {
		return nil, err
	}
	ids := make([]record.ID, len(recs))
	for i, r := range recs {
		ids[i] = r.ID
	}
	return s.new.Get(ctx, ids...)
}
