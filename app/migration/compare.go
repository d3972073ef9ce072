package migration

import (
	"context"
	"sync"

	"migrate/app/store"
)

// comparisons counts what reads found when they looked at both databases,
// under one epoch.
type comparisons struct {
	mu     sync.Mutex
	epoch  int64
	counts store.Compared
	dirty  bool
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
	if c.epoch != epoch {
		c.epoch, c.counts = epoch, store.Compared{}
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
