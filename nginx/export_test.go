package nginx

import "time"

// SetTaking sets how long a reload may take to be seen.
func (s *Server) SetTaking(d time.Duration) { s.taking = d }
