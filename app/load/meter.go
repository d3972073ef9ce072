package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Figures is what happened in a span of time.
type Figures struct {
	Requests     int64            `json:"requests"`     // answered or failed
	Acknowledged int64            `json:"acknowledged"` // writes
	Failed       int64            `json:"failed"`       // any answer but the expected one, or none
	Kinds        map[string]int64 `json:"kinds,omitempty"`
	Unknown      int64            `json:"unknown"` // writes among the failed that may have happened
	Lost         int64            `json:"lost"`    // tasks found missing, or back after their deletion
	Stale        int64            `json:"stale"`   // tasks found older or other than acknowledged
	Problems     []string         `json:"problems,omitempty"`

	// From sending a request to the end of its answer.
	P50   time.Duration `json:"p50_ns"`
	P99   time.Duration `json:"p99_ns"`
	Worst time.Duration `json:"worst_ns"`

	Elapsed time.Duration `json:"elapsed_ns"`
}

// maxProblems is how many problems are told in words; all are counted.
const maxProblems = 20

// tally gathers the figures of one span. Times in microseconds.
type tally struct {
	Figures
	times *hdrhistogram.Histogram
	since time.Time
}

func newTally() *tally {
	return &tally{
		Figures: Figures{Kinds: map[string]int64{}},
		times:   hdrhistogram.New(1, time.Hour.Microseconds(), 3),
		since:   time.Now(),
	}
}

func (t *tally) figures() Figures {
	f := t.Figures
	f.Kinds = maps.Clone(f.Kinds)
	f.Problems = append([]string(nil), f.Problems...)
	f.P50 = time.Duration(t.times.ValueAtQuantile(50)) * time.Microsecond
	f.P99 = time.Duration(t.times.ValueAtQuantile(99)) * time.Microsecond
	f.Worst = time.Duration(t.times.Max()) * time.Microsecond
	f.Elapsed = time.Since(t.since)
	return f
}

// meter counts twice: since the last mark, and in all.
type meter struct {
	mu     sync.Mutex
	turn   *sync.Cond // a request was counted, or the load has ended
	span   *tally
	total  *tally
	ended  bool
	broken error
}

func newMeter() *meter {
	m := &meter{span: newTally(), total: newTally()}
	m.turn = sync.NewCond(&m.mu)
	return m
}

func (m *meter) both(count func(*tally)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	count(m.span)
	count(m.total)
	m.turn.Broadcast()
}

func (m *meter) request(took time.Duration) {
	m.both(func(t *tally) {
		t.Requests++
		t.times.RecordValue(max(1, took.Microseconds())) // fails beyond an hour, which no time-out allows
	})
}

func (m *meter) acknowledged() { m.both(func(t *tally) { t.Acknowledged++ }) }

func (m *meter) failed(kind string) {
	m.both(func(t *tally) {
		t.Failed++
		t.Kinds[kind]++
	})
}

func (m *meter) unknown() { m.both(func(t *tally) { t.Unknown++ }) }

func (m *meter) lost(format string, args ...any) {
	m.problem(func(t *tally) { t.Lost++ }, format, args...)
}

func (m *meter) stale(format string, args ...any) {
	m.problem(func(t *tally) { t.Stale++ }, format, args...)
}

func (m *meter) problem(count func(*tally), format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	m.both(func(t *tally) {
		count(t)
		if len(t.Problems) < maxProblems {
			t.Problems = append(t.Problems, text)
		}
	})
}

func (m *meter) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.span, m.total = newTally(), newTally()
}

func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = true
	m.turn.Broadcast()
}

// broke keeps the first reason why the load could not go on.
func (m *meter) broke(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken == nil {
		m.broken = err
	}
}

func (m *meter) failure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.broken
}

func (m *meter) mark() Figures {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.span.figures()
	m.span = newTally()
	return f
}

func (m *meter) snapshot() Figures {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.span.figures()
}

func (m *meter) whole() Figures {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.total.figures()
}

func (m *meter) wait(ctx context.Context, n int64) error {
	stop := context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.turn.Broadcast()
	})
	defer stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.span.Requests < n {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case m.ended:
			return errors.New("load: it ended before that many requests")
		}
		m.turn.Wait()
	}
	return nil
}
