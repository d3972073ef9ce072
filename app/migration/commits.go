package migration

import "sync"

// commits counts the writes under way, so that an instance can end them for good:
// the zero value lets all begin.
type commits struct {
	mu     sync.Mutex
	n      int
	closed bool
	idle   chan struct{} // closed when none is under way and none can begin
}

// begin reports whether a write may begin; end must follow then.
func (w *commits) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.n++
	return true
}

func (w *commits) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n--; w.n == 0 && w.closed {
		close(w.idle)
	}
}

// close lets no write begin any more. What it returns is closed once none is
// under way.
func (w *commits) close() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed, w.idle = true, make(chan struct{})
		if w.n == 0 {
			close(w.idle)
		}
	}
	return w.idle
}
