package migration

import (
	"context"
	"maps"
	"sync"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// comparisons counts what was found when records that were read under old were
// looked up in both databases, under one epoch.
type comparisons struct {
	mu     sync.Mutex
	epoch  int64
	counts map[string]store.Compared // by collection
	dirty  bool

	queue chan comparison // what was read and is to be compared
	lists chan listed     // the same of what was listed
}

// What waits to be compared, and how many comparisons are under way at a time:
// few, since the relay and the requests want the database more.
const (
	compareQueue   = 1024
	compareWorkers = 1
)

// comparison is a record as old has answered it under an epoch.
type comparison struct {
	epoch int64
	id    record.ID
	old   store.Record
	inOld bool
}

// compareLater has a record that old has answered compared with new's copy. No
// answer waits for that. When more is read than can be compared, the surplus is
// left out; while new does not answer, all of it is.
func (s *Service) compareLater(epoch int64, id record.ID, o store.Record, inOld bool) {
	if !s.newBreaker.well() {
		s.compared.missed(epoch, id)
		return
	}
	select {
	case s.compared.queue <- comparison{epoch, id, o, inOld}:
	default:
	}
}

// runCompare compares what was read, until ctx ends.
func (s *Service) runCompare(ctx context.Context) error {
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
func (s *Service) compareNow(ctx context.Context, c comparison) {
	if !s.newBreaker.well() {
		s.compared.missed(c.epoch, c.id)
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
	s.compare(c.epoch, c.id, o, c.inOld, n, inNew, nerr)
}

// under begins anew under a greater epoch, and reports whether it is this one's.
// The caller holds the lock.
func (c *comparisons) under(epoch int64) bool {
	if c.epoch < epoch {
		c.epoch, c.counts = epoch, map[string]store.Compared{}
	}
	return c.epoch == epoch
}

// missed counts a read for which new could not be asked.
func (c *comparisons) missed(epoch int64, id record.ID) {
	c.count(epoch, id, func(n *store.Compared) { n.Errors++ })
}

// count changes the counts of a record's collection.
func (c *comparisons) count(epoch int64, id record.ID, change func(*store.Compared)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.under(epoch) {
		return
	}
	n := c.counts[id.Collection()]
	change(&n)
	c.counts[id.Collection()] = n
	c.dirty = true
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
func relate(a store.Record, inA bool, b store.Record, inB bool) relation {
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
func (s *Service) compare(epoch int64, id record.ID, o store.Record, inOld bool, n store.Record, inNew bool, nerr error) {
	switch {
	case nerr != nil:
		s.compared.missed(epoch, id)
		return
	case !inOld && !inNew, o.Unfit != "":
		return // nothing was compared
	}
	s.compared.count(epoch, id, func(counts *store.Compared) {
		switch relate(o, inOld, n, inNew) {
		case equal:
			counts.Equal++
		case behind:
			counts.Behind++
		case ahead:
			counts.Late++
		case different:
			counts.Different++
			s.log.Error("a record has other content in the new database under the same pair", "collection", id.Collection(), "id", id.String(), "pair", o.Pair.String())
		}
	})
}

// counted returns the counts by collection and the epoch they belong to.
func (s *Service) counted() (map[string]store.Compared, int64, bool) {
	old, new := s.meter.old.status(store.PrimaryOld).P99, s.meter.new.status(store.PrimaryNew).P99
	s.compared.mu.Lock()
	defer s.compared.mu.Unlock()
	counts, dirty := maps.Clone(s.compared.counts), s.compared.dirty
	s.compared.dirty = false
	for collection, c := range counts {
		c.OldP99, c.NewP99 = old, new
		counts[collection] = c
	}
	return counts, s.compared.epoch, dirty
}

// reportCompared leaves the counts in new, where the next instance finds them
// when it is asked whether new may become primary.
func (s *Service) reportCompared(ctx context.Context) {
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
