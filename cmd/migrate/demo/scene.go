package demo

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"migrate.invalid/migrate/app/load"
	"migrate.invalid/migrate/orchestrator"
)

const (
	// beat is how long one column of the strip in time is.
	beat = 500 * time.Millisecond
	// every is how often the load's figures are looked at, and a frame shown.
	every = 100 * time.Millisecond
)

// Beat is a half second of the load.
type Beat struct {
	Requests float64 // answered or failed
	CutOver  int     // step that traffic was moved to meanwhile; 0: it stayed
	Failed   bool    // a request did
}

// Frame is one look at the demonstration while it runs.
type Frame struct {
	Elapsed time.Duration // since it began
	Step    int           // that the walk is at; 0: before it, or after
	Doing   string
	Far     string        // how far it has come with that; may be empty
	For     time.Duration // how long it has been doing that

	Serving int // step that nginx serves; 0: none yet
	Port    int // of the instance that serves
	Primary string
	Load    load.Figures // since the start
	Beats   []Beat       // whole ones, oldest first; none once the load has ended
}

// Fault is what went wrong in one way at one step.
type Fault struct {
	What    string  `json:"what"`           // failed, lost or stale
	Kind    string  `json:"kind,omitempty"` // how a request failed
	Count   int64   `json:"count"`
	Step    int     `json:"step,omitempty"`    // 0: seen when everything was read back
	Seconds float64 `json:"seconds,omitempty"` // from the beginning until the first was noticed
}

// Scene is what goes on. The demonstration and its orchestrator tell it;
// whoever watches asks it for a Frame.
type Scene struct {
	mu       sync.Mutex
	start    time.Time
	now      Frame
	since    time.Time // it does what it does
	previous int       // port that served before

	figures func() load.Figures // nil while there is no load
	began   time.Time           // the load
	counted int                 // beat of the last count
	beats   []Beat
	faults  []Fault
}

// NewScene begins now.
func NewScene() *Scene {
	now := time.Now()
	return &Scene{start: now, since: now}
}

// Event takes what the orchestrator is doing.
func (s *Scene) Event(e orchestrator.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case e.Port == 0: // a daemon's
	case e.Phase == "retire":
		s.do(e.Time, "ending the instance that stood by")
	case e.Phase == "starting":
		s.do(e.Time, fmt.Sprintf("spawning on %d", e.Port))
	case e.Phase == "started":
		s.do(e.Time, fmt.Sprintf("waiting until %d is ready", e.Port))
	case e.Phase == "probe":
		s.do(e.Time, fmt.Sprintf("probing %d", e.Port))
	case e.Phase == "move":
		s.do(e.Time, fmt.Sprintf("switching traffic to %d", e.Port))
	case e.Phase == "put back":
		s.do(e.Time, "putting traffic back")
	case e.Phase == "moved":
		s.moved(e.Time, e.Port)
	case e.Phase == "advance" && s.now.Step == 5:
		s.do(e.Time, "making the new database primary")
	case e.Phase == "drain":
		s.do(e.Time, fmt.Sprintf("draining %d", s.previous))
	}
}

func (s *Scene) do(now time.Time, what string) {
	if what != s.now.Doing {
		s.now.Doing, s.now.Far, s.since = what, "", now
	}
}

// moved marks a cut-over; the first one comes before the load.
func (s *Scene) moved(now time.Time, port int) {
	s.previous, s.now.Port, s.now.Serving = s.now.Port, port, s.now.Step
	if s.figures != nil {
		s.beats[s.reach(now)].CutOver = s.now.Step
	}
}

// reach makes the beats go until now and returns the last one.
func (s *Scene) reach(now time.Time) int {
	n := int(now.Sub(s.began) / beat)
	for len(s.beats) <= n {
		s.beats = append(s.beats, Beat{})
	}
	return n
}

// tell says what goes on that the orchestrator does not know.
func (s *Scene) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.do(time.Now(), fmt.Sprintf(format, args...))
}

// far says how far it has come with what it does.
func (s *Scene) far(done, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Far = fmt.Sprintf(" %s of %s", count(done), count(max(done, total)))
}

// enter says which step the walk has come to; 0 is none.
func (s *Scene) enter(step int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Step = step
}

// close says that nothing is served any more.
func (s *Scene) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Step, s.now.Serving = 0, 0
}

func (s *Scene) primary(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Primary = name
}

// loaded begins to count.
func (s *Scene) loaded(now time.Time, figures func() load.Figures) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.figures, s.began = figures, now
}

// unloaded counts for the last time.
func (s *Scene) unloaded(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally(now)
	s.figures = nil
}

// tally takes what the load has done since the last count. Several beats that
// nobody looked in share it: a pause of this program is none of the service.
func (s *Scene) tally(now time.Time) {
	if s.figures == nil {
		return
	}
	f, before := s.figures(), s.now.Load
	last := s.reach(now)
	share := float64(f.Requests-before.Requests) / float64(last-s.counted+1)
	for n := s.counted; n <= last; n++ {
		s.beats[n].Requests += share
	}
	s.beats[last].Failed = s.beats[last].Failed || f.Failed > before.Failed
	s.counted, s.now.Load = last, f
	for _, kind := range slices.Sorted(maps.Keys(f.Kinds)) {
		s.fault(now, "failed", kind, f.Kinds[kind]-before.Kinds[kind])
	}
	s.fault(now, "lost", "", f.Lost-before.Lost)
	s.fault(now, "stale", "", f.Stale-before.Stale)
}

func (s *Scene) fault(now time.Time, what, kind string, count int64) {
	if count == 0 {
		return
	}
	for n := range s.faults {
		if f := &s.faults[n]; f.What == what && f.Kind == kind && f.Step == s.now.Step {
			f.Count += count
			return
		}
	}
	s.faults = append(s.faults, Fault{What: what, Kind: kind, Count: count, Step: s.now.Step, Seconds: now.Sub(s.start).Seconds()})
}

// frame counts and returns a look at everything.
func (s *Scene) frame(now time.Time) Frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally(now)
	f := s.now
	f.Elapsed, f.For = now.Sub(s.start), now.Sub(s.since)
	if s.figures != nil {
		f.Beats = slices.Clone(s.beats[:s.counted]) // the last one still goes on
	}
	return f
}

// watch counts, and shows each frame, until the returned function is called.
func (s *Scene) watch(show func(Frame)) (end func()) {
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				show(s.frame(time.Now()))
			}
		}
	}()
	return func() { close(done); <-gone }
}
