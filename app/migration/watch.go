package migration

import (
	"context"
	"sync"
	"time"
)

// watch asks one question, once at a time however many callers want the answer,
// and remembers the last answer. A caller waits as long as it is patient; after
// that it gets what was found out last.
type watch[T any] struct {
	ask   func(ctx context.Context) (T, error)
	life  context.Context // ends all looks
	limit time.Duration   // of one look

	mu    sync.Mutex
	done  chan struct{} // closed when the look under way has ended; nil: none is under way
	began time.Time     // of the look under way
	last  sight[T]
}

// sight is what a look has found.
type sight[T any] struct {
	v       T
	err     error
	at      time.Time     // when the look ended; zero: none ever has
	overdue time.Duration // how long a look that began after this one has been waiting; 0: none is
	slow    time.Duration // how long looks have been taking at the most, the last ones above all
}

// look begins a look unless one is under way.
func (w *watch[T]) look() (done <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done != nil {
		return w.done
	}
	ended := make(chan struct{})
	w.done, w.began = ended, time.Now()
	ctx, cancel := context.WithTimeout(w.life, w.limit)
	go func() {
		defer cancel()
		v, err := w.ask(ctx)
		w.mu.Lock()
		took := time.Since(w.began)
		if err != nil {
			v, took = w.last.v, 0 // the last value that is known
		}
		w.last, w.done = sight[T]{v: v, err: err, at: time.Now(), slow: max(took, w.last.slow*7/8)}, nil
		w.mu.Unlock()
		close(ended)
	}()
	return ended
}

// known is what was found out last, without waiting for anything.
func (w *watch[T]) known() sight[T] {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.last
	if w.done != nil {
		f.overdue = max(time.Since(w.began), 1)
	}
	return f
}

// rest waits for the look under way, if one is, and begins none.
func (w *watch[T]) rest(ctx context.Context, patience time.Duration) sight[T] {
	if done := w.underWay(); done != nil {
		await(ctx, done, patience)
	}
	return w.known()
}

func (w *watch[T]) underWay() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}

// end waits for the look under way, which the end of life cuts short.
func (w *watch[T]) end() {
	if done := w.underWay(); done != nil {
		<-done
	}
}

// wait begins a look and returns what is known when it ends, or when the caller
// has waited for as long as it is patient.
func (w *watch[T]) wait(ctx context.Context, patience time.Duration) sight[T] {
	done := w.look()
	await(ctx, done, patience)
	return w.known()
}

func await(ctx context.Context, done <-chan struct{}, patience time.Duration) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// glance is wait for a database on which no answer depends.
func (w *watch[T]) glance(ctx context.Context) sight[T] {
	patience := w.patience()
	w.look()
	return w.rest(ctx, patience)
}

// patience is how long to wait for a database on which no answer depends: what
// was found out last is as good, so hardly at all where an answer takes its time.
func (w *watch[T]) patience() time.Duration {
	f := w.known()
	switch {
	case f.at.IsZero() && f.overdue < away:
		return firstPatience
	case f.err != nil, f.overdue > otherPatience:
		return ailingPatience
	}
	return otherPatience
}
