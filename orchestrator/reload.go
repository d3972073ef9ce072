package orchestrator

import (
	"context"
	"fmt"
	"time"
)

// Reloading is a Traffic that reloads its proxy, for every move or for some. A
// reload has a price, takes time, and an aftermath: what it replaces goes on
// until it has answered what it has begun.
type Reloading interface {
	Traffic
	// TakeCut returns how many clients' connections were cut since it was last asked.
	TakeCut() int
	// Outgoing returns how many processes still go by a configuration before this one.
	Outgoing() (int, error)
	// Recover sets right what a killed command has left half done: what is
	// meant is what is served.
	Recover(ctx context.Context) error
	// Knows reports whether traffic can move to a port; Widen makes it so.
	Knows(port int) (bool, error)
	Widen(ctx context.Context, port int) error
	// Describe says whether the instance on a port is the ToDo service: the
	// proxy limits what passes to that one.
	Describe(port int, todo bool) error
	// Limit is how long a move may take at most, until it is seen or given up.
	Limit() time.Duration
}

func (op *operation) reloading() (Reloading, bool) {
	t, ok := op.o.cfg.Traffic.(Reloading)
	return t, ok
}

// moveWait is how long a move may take until it is confirmed.
func (op *operation) moveWait() time.Duration {
	wait := op.o.cfg.Timeouts.Confirm
	if t, ok := op.reloading(); ok {
		wait += t.Limit()
	}
	return wait
}

// moveTraffic sends requests to the port from now on.
func (op *operation) moveTraffic(ctx context.Context, port int) error {
	defer op.countCut()
	return op.o.withRoom(func() error { return op.o.cfg.Traffic.Move(ctx, port) })
}

// setFallback names the instance that is asked when the live one doesn't answer.
func (op *operation) setFallback(ctx context.Context, port int) error {
	defer op.countCut()
	return op.o.withRoom(func() error { return op.o.cfg.Traffic.SetFallback(ctx, port) })
}

func (op *operation) countCut() {
	t, ok := op.reloading()
	if !ok {
		return
	}
	if n := t.TakeCut(); n > 0 {
		op.cut += n
		op.warn("the reload cut %d connections of clients that had idled, or waited for an answer, all through the closing window", n)
	}
}

// outgoing is how many of the proxy's processes still send requests to where
// they went before the move.
func (op *operation) outgoing() (int, error) {
	t, ok := op.reloading()
	if !ok {
		return 0, nil
	}
	n, err := t.Outgoing()
	if err != nil {
		return 0, fmt.Errorf("whether the proxy still goes by the configuration before: %w", err)
	}
	return n, nil
}

// awaitOutgoing waits until all of the proxy goes by its configuration.
func (op *operation) awaitOutgoing(ctx context.Context) error {
	for {
		n, err := op.outgoing()
		if err != nil || n == 0 {
			return err
		}
		if !sleep(ctx, drainPoll) {
			return fmt.Errorf("%w: %d of the proxy's processes still send requests to it", context.Cause(ctx), n)
		}
	}
}

// describe tells the proxy what the instance is, before it has traffic.
func (op *operation) describe(i Instance) error {
	t, ok := op.reloading()
	if !ok {
		return nil
	}
	return t.Describe(i.Port, len(i.Own) == 0)
}

// knows reports whether the proxy can send traffic to the port, now or widened.
func (op *operation) knows(port int) (known, widens bool, err error) {
	if port >= op.o.cfg.FirstPort && port <= op.o.lastPort() {
		return true, false, nil
	}
	t, ok := op.reloading()
	if !ok || port < 1024 || port >= 1<<16 {
		return false, false, nil
	}
	known, err = t.Knows(port)
	return known, !known, err
}

// widen makes the proxy know the port.
func (op *operation) widen(ctx context.Context, port int) error {
	_, widens, err := op.knows(port)
	if err != nil || !widens {
		return err
	}
	t, _ := op.reloading()
	defer op.countCut()
	op.report("the proxy is reloaded to know port %d", port)
	return t.Widen(ctx, port)
}
