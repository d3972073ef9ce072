package nginx

import (
	"fmt"
	"syscall"
)

// How many files a worker should be able to open, and how many connections it
// takes then. A request has two: the client's, and the one to the instance.
const (
	wantedFiles       = 16384
	wantedConnections = 8192
)

// openFiles is what a worker's limit is raised to: what is wanted or, where this
// user may not have so many, as many as he may.
func openFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || mayRaiseLimits() || limit.Max >= wantedFiles {
		return wantedFiles
	}
	return int(limit.Max)
}

// connectionsFor is how many connections fit below a limit of open files: some
// are for logs, and some for bodies that are stored.
func connectionsFor(files int) int { return max(16, min(wantedConnections, files*3/4)) }

// Capacity is how much the running nginx can take.
type Capacity struct {
	Workers   int `json:"workers"`    // processes
	OpenFiles int `json:"open_files"` // that each may have
	Clients   int `json:"clients"`    // that it serves at once, about
}

// Low says in words that the limit of open files is low; empty if it isn't.
func (c Capacity) Low() string {
	if c.OpenFiles == 0 || c.OpenFiles >= wantedFiles {
		return ""
	}
	return fmt.Sprintf("each of nginx's %d workers may open %d files only, which is enough for about %d clients at once: "+
		"raise the hard limit (ulimit -Hn; LimitNOFILE= of a systemd unit) to %d, then migrate nginx stop --yes && migrate nginx start",
		c.Workers, c.OpenFiles, c.Clients, wantedFiles)
}

// capacity looks at the workers of a master.
func capacity(master int) (Capacity, error) {
	all, err := workers(master)
	if err != nil {
		return Capacity{}, fmt.Errorf("nginx: look at its workers: %w", err)
	}
	var c Capacity
	for _, w := range all {
		if w.outgoing {
			continue
		}
		c.Workers++
		if files, err := filesOf(w.pid); err == nil && (c.OpenFiles == 0 || files < c.OpenFiles) {
			c.OpenFiles = files
		}
	}
	if c.OpenFiles > 0 {
		c.Clients = c.Workers * connectionsFor(c.OpenFiles) / 2
	}
	return c, nil
}
