package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// ErrDiffers is wrapped by [Report.Err] when the data or the ledger is not
// what it must be, or too little of it was checked.
var ErrDiffers = errors.New("the data differs from the ledger")

// CheckConfig says what to check. Nobody may write meanwhile.
type CheckConfig struct {
	BaseURL string
	Ledger  string
	Min     int // acknowledged writes that must have been checked, else the check proves nothing
	Clients int // connections to read back with; 4

	Progress func(done, total int) // after each task that was read back, one at a time; may be nil
}

// Report is what a check found.
type Report struct {
	Acknowledged int      `json:"acknowledged"` // writes in the ledger
	Checked      int      `json:"checked"`      // of these, how many the answers could confirm or refute
	Tasks        int      `json:"tasks"`        // read back, those found at the start too
	Lost         int      `json:"lost"`         // missing, or back after their deletion
	Stale        int      `json:"stale"`        // older than acknowledged, or with other content
	Unknown      int      `json:"unknown"`      // writes without an outcome: either way is right
	Altered      int      `json:"altered"`      // lines of the ledger that are not as they were written
	Min          int      `json:"min"`
	Problems     []string `json:"problems,omitempty"` // the first few
}

// Err returns nil if everything is as it must be.
func (r Report) Err() error {
	switch {
	case r.Lost+r.Stale+r.Altered > 0:
		return fmt.Errorf("%w: lost %d, stale %d, altered %d", ErrDiffers, r.Lost, r.Stale, r.Altered)
	case r.Checked < r.Min:
		return fmt.Errorf("%w: only %d acknowledged writes were checked, %d must be", ErrDiffers, r.Checked, r.Min)
	}
	return nil
}

func (r *Report) problem(count *int, format string, args ...any) {
	*count++
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// story is what the ledger says of one task.
type story struct {
	last  state   // acknowledged, or found
	known bool    // there is a last state
	maybe []state // what unknown outcomes since then may have made of it
	acked int     // acknowledged writes
}

// fits reports whether a task may be found like this.
func (s *story) fits(got state) bool {
	if s.known && s.last.matches(got) {
		return true
	}
	return slices.ContainsFunc(s.maybe, func(m state) bool { return m.matches(got) })
}

// matches compares with what was read back; of a deleted task nothing is left but that.
func (s state) matches(got state) bool {
	return s == got || s.Deleted && got.Deleted
}

// Check reads every task of the ledger back, by its id and in the list of all,
// and compares. What it finds is in the report, also when it is bad; the error
// says that the check itself could not be made.
//
// Every acknowledged write counts, not only the last of each task: its rev must
// follow the one before without a gap, and the last one must be what is there.
func Check(ctx context.Context, cfg CheckConfig) (Report, error) {
	report := Report{Min: cfg.Min}
	addr, err := address(cfg.BaseURL)
	if err != nil {
		return report, err
	}
	stories := map[string]*story{}
	err = readLedger(cfg.Ledger, func(line int, e Entry, fault error) {
		if fault != nil {
			report.problem(&report.Altered, "line %d of the ledger: %v", line, fault)
		}
		report.enter(stories, line, e)
	})
	if err != nil {
		return report, err
	}
	if cfg.Progress == nil {
		cfg.Progress = func(int, int) {}
	}
	found, err := readBack(ctx, addr, max(1, cmp.Or(cfg.Clients, 4)), slices.Sorted(maps.Keys(stories)), cfg.Progress)
	if err != nil {
		return report, err
	}
	report.Tasks = len(found)
	for _, id := range slices.Sorted(maps.Keys(stories)) {
		report.judge(id, stories[id], found[id])
	}
	listed, err := readList(ctx, addr)
	if err != nil {
		return report, err
	}
	for _, id := range slices.Sorted(maps.Keys(found)) {
		report.judgeList(id, found[id], listed)
	}
	return report, nil
}

// enter takes one line of the ledger into its task's story.
func (r *Report) enter(stories map[string]*story, line int, e Entry) {
	switch e.Outcome {
	case acked:
		r.Acknowledged++
	case unknown:
		r.Unknown++
	}
	if e.ID == "" {
		return
	}
	s := stories[e.ID]
	if s == nil {
		s = &story{}
		stories[e.ID] = s
	}
	switch e.Outcome {
	case acked:
		s.acked++
		if want := s.nextRev(e); e.Rev != want {
			r.problem(&r.Stale, "line %d of the ledger: %s was acknowledged at rev %d, not %d", line, e.ID, e.Rev, want)
		}
		s.last, s.known, s.maybe = e.state, true, nil
	case seen:
		s.last, s.known = e.state, true
	case unknown:
		s.maybe = append(s.maybe, e.state)
	}
}

// nextRev is the rev at which an operation is acknowledged: 1 for a create,
// else one more, unless it changed nothing.
func (s *story) nextRev(e Entry) int64 {
	switch {
	case !s.known:
		return 1
	case s.last.same(e.state):
		return s.last.Rev
	}
	return s.last.Rev + 1
}

func (r *Report) judge(id string, s *story, got state) {
	if !s.known && len(s.maybe) == 0 {
		return // only refused: nothing is claimed
	}
	r.Checked += s.acked
	switch {
	case s.fits(got):
	case got.Deleted:
		r.problem(&r.Lost, "%s is missing; it was acknowledged as %v", id, s.last)
	case s.last.Deleted:
		r.problem(&r.Lost, "%s is back after its deletion: %v", id, got)
	default:
		r.problem(&r.Stale, "%s is %v, but was acknowledged as %v", id, got, s.last)
	}
}

// judgeList makes sure that the list of all shows a task as its own answer does.
func (r *Report) judgeList(id string, got state, listed map[string]state) {
	in, there := listed[id]
	switch {
	case got.Deleted && there:
		r.problem(&r.Lost, "%s is deleted, yet listed: %v", id, in)
	case !got.Deleted && !there:
		r.problem(&r.Lost, "%s is missing in the list of all; it is %v", id, got)
	case there && !in.same(got):
		r.problem(&r.Stale, "%s is listed as %v, but is %v", id, in, got)
	}
}

// readTimeout bounds one answer of a check.
const readTimeout = 30 * time.Second

// readBack returns each task as it is now; Deleted when there is none.
func readBack(ctx context.Context, addr string, clients int, ids []string, progress func(done, total int)) (map[string]state, error) {
	var mu sync.Mutex
	found := make(map[string]state, len(ids))
	todo := make(chan string)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(todo)
		for _, id := range ids {
			select {
			case todo <- id:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range clients {
		group.Go(func() error {
			c := newConn(addr, readTimeout)
			defer c.close()
			for id := range todo {
				s, err := readTask(ctx, c, id)
				if err != nil {
					return fmt.Errorf("read %s back: %w", id, err)
				}
				mu.Lock()
				found[id] = s
				progress(len(found), len(ids))
				mu.Unlock()
			}
			return nil
		})
	}
	return found, group.Wait()
}

func readTask(ctx context.Context, c *conn, id string) (state, error) {
	a, err := readPatiently(ctx, c, taskPath(id))
	if err != nil {
		return state{}, err
	}
	if a.status == 404 {
		return state{Deleted: true}, nil
	}
	gotID, s, err := decodeTask(a)
	if err == nil && gotID != id {
		err = fmt.Errorf("the answer is about %s", gotID)
	}
	return s, err
}

func readList(ctx context.Context, addr string) (map[string]state, error) {
	c := newConn(addr, readTimeout)
	defer c.close()
	a, err := readPatiently(ctx, c, "/tasks?done=all")
	if err != nil {
		return nil, fmt.Errorf("list all: %w", err)
	}
	return decodeList(a.body)
}

// readPatiently reads a path. Unlike the load it repeats: what is checked here
// is the data, not the traffic.
func readPatiently(ctx context.Context, c *conn, path string) (answer, error) {
	var err error
	for range 5 {
		var a answer
		a, err = c.do("GET", path, "", "")
		if err == nil && (a.status == 200 || a.status == 404) {
			return a, nil
		}
		if err == nil {
			err = errors.New(kindOf(a, nil))
		}
		if !pause(ctx, 200*time.Millisecond) {
			return answer{}, ctx.Err()
		}
	}
	return answer{}, err
}
