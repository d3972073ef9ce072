package nginx

import "time"

// SetTaking sets how long a reload may take to be seen.
func (s *Server) SetTaking(d time.Duration) { s.taking = d }

// Serving is how many workers of a master serve, or will at once.
func Serving(master int) (n int, err error) {
	all, err := workers(master)
	for _, w := range all {
		if !w.outgoing {
			n++
		}
	}
	return n, err
}
