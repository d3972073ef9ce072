package migration

import (
	"context"
	"sync"

	"migrate/app/store"
)

// comparisons counts what was found when records that were read under old were
// looked up in both databases, under one epoch.
type comparisons[B any] struct {
	mu     sync.Mutex
	epoch  int64
	counts store.Compared
	dirty  bool

	queue chan comparison[B] // what was read and is to be compared
	lists chan listed[B]     // the same of what was listed
}

// What waits to be compared, and how many comparisons are under way at a time:
// few, since the relay and the requests want the database more.
const (
	compareQueue   = 1024
	compareWorkers = 1
)

// comparison is a record as old has answered it under an epoch.
type comparison[B any] struct {
	epoch int64
	id    string
	old   store.Record[B]
	inOld bool
}

// compareLater has a record that old has answered compared with new's copy. No
// answer waits for that. When more is read than can be compared, the surplus is
// left out; while new does not answer, all of it is.
func (s *Service[B, F]) compareLater(epoch int64, id string, o store.Record[B], inOld bool) {
	if !s.newBreaker.well() {
		s.compared.missed(epoch)
		return
	}
	select {
	case s.compared.queue <- comparison[B]{epoch, id, o, inOld}:
	default:
	}
}

// runCompare compares what was read, until ctx ends.
func (s *Service[B, F]) runCompare(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-s.compared.queue:
			s.compareNow(ctx, c)
		}
	}
}

// compareNow reads new's copy. One that is newer than old's answer may have come
// there since: old is read again then, after new.
func (s *Service[B, F]) compareNow(ctx context.Context, c comparison[B]) {
	if !s.newBreaker.well() {
		s.compared.missed(c.epoch)
		return
	}
	bounded, cancel := context.WithTimeout(ctx, s.cfg.Budget)
	defer cancel()
	n, inNew, nerr := s.lookNew(bounded, c.id, false)
	if ctx.Err() != nil {
		return
	}
	if nerr != nil {
		s.newBreaker.note(nerr) // a success here would not say that new takes writes
	}
	o := c.old
	if nerr == nil && relate(o, c.inOld, n, inNew) == ahead {
		var fence store.Fence
		var err error
		if o, c.inOld, fence, err = s.lookOld(ctx, c.id, false); err != nil || fence.Epoch != c.epoch {
			return
		}
	}
	s.compare(c.epoch, o, c.inOld, n, inNew, nerr)
}

// under begins anew under a greater epoch, and reports whether it is this one's.
// The caller holds the lock.
func (c *comparisons[B]) under(epoch int64) bool {
	if c.epoch < epoch {
		c.epoch, c.counts = epoch, store.Compared{}
	}
	return c.epoch == epoch
}

// missed counts a read for which new could not be asked.
func (c *comparisons[B]) missed(epoch int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.under(epoch) {
		c.counts.Errors++
		c.dirty = true
	}
}

// relation is how two copies of a record stand to one another.
type relation int

const (
	equal     relation = iota // the same rev and content, whatever the epochs
	behind                    // the second lacks it or is older
	ahead                     // the second is newer, or the only one
	different                 // the same pair, other content
)

// relate compares a copy with another one.
func relate[B comparable](a store.Record[B], inA bool, b store.Record[B], inB bool) relation {
	switch {
	case !inA && !inB:
		return equal
	case !inB:
		return behind
	case !inA:
		return ahead
	case a.Rev == b.Rev && a.Deleted == b.Deleted && a.Body == b.Body:
		return equal
	case a.Newer(b.Pair):
		return behind
	case b.Newer(a.Pair):
		return ahead
	}
	return different
}

// compare notes how new's copy, which was read first, stands to old's answer.
func (s *Service[B, F]) compare(epoch int64, o store.Record[B], inOld bool, n store.Record[B], inNew bool, nerr error) {
	c := &s.compared
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.under(epoch) {
		return
	}
	c.dirty = true
	switch {
	case nerr != nil:
		c.counts.Errors++
		return
	case !inOld && !inNew:
		return // nothing was compared
	}
	switch relate(o, inOld, n, inNew) {
	case equal:
		c.counts.Equal++
	case behind:
		c.counts.Behind++
	case ahead:
		c.counts.Late++
	case different:
		c.counts.Different++
		s.log.Error("a record has other content in the new database under the same pair", "id", o.ID, "pair", o.Pair.String())
	}
}

// counted returns the counts and the epoch they belong to.
func (s *Service[B, F]) counted() (store.Compared, int64, bool) {
	s.compared.mu.Lock()
	defer s.compared.mu.Unlock()
	c, dirty := s.compared.counts, s.compared.dirty
	s.compared.dirty = false
	c.OldP99, c.NewP99 = s.meter.old.status(store.PrimaryOld).P99, s.meter.new.status(store.PrimaryNew).P99
	return c, s.compared.epoch, dirty
}

// reportCompared leaves the counts in new, where the next instance finds them
// when it is asked whether new may become primary.
func (s *Service[B, F]) reportCompared(ctx context.Context) {
	c, epoch, dirty := s.counted()
	if !dirty || epoch == 0 {
		return
	}
	if err := s.new.SaveCompared(ctx, epoch, s.cfg.Instance.Instance, c); err != nil {
		s.compared.mu.Lock()
		s.compared.dirty = true
		s.compared.mu.Unlock()
		s.log.Warn("could not report the compared reads", "error", err)
	}
}
