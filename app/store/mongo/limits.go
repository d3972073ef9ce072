package mongo

import (
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// limits are what a server holds beyond what all of them do.
type limits struct {
	decimal      bool // Decimal128
	anyDouble    bool // NaN, infinities and -0
	nestedArrays bool // arrays that are elements of arrays
}

// real are those of MongoDB, embedded those of the server for trying things out.
var (
	real     = limits{decimal: true, anyDouble: true, nestedArrays: true}
	embedded = limits{}
)

// looked is what a look at the server has found, once.
type looked struct {
	mu   sync.Mutex
	done bool
	can  limits
}

// limits looks at the server once: a value that it would end a connection over
// is never sent.
func (s *Store) limits(c *call) (limits, error) {
	s.looked.mu.Lock()
	defer s.looked.mu.Unlock()
	if s.looked.done {
		return s.looked.can, nil
	}
	var info bson.Raw
	if err := s.db.RunCommand(c, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&info); err != nil {
		return limits{}, c.unread(err)
	}
	s.looked.done, s.looked.can = true, real
	if _, err := info.LookupErr("ferretdbVersion"); err == nil {
		s.looked.can = embedded
	}
	return s.looked.can, nil
}
