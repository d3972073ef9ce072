package storetest

import (
	"context"
	"fmt"
	"runtime"
	"sync"
)

// recorder is a T that remembers a failure instead of failing the test.
type recorder struct {
	ctx  context.Context
	name string

	mu       sync.Mutex
	failures []string
}

// fails runs a case on a store and returns what it found wrong.
func fails[S any](ctx context.Context, c Case[S], s S) []string {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &recorder{ctx: ctx, name: c.Name}
	done := make(chan struct{})
	go func() { // FailNow ends its goroutine
		defer close(done)
		c.Run(r, s)
	}()
	<-done
	return r.failures
}

func (r *recorder) fail(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, text)
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.failures) > 0
}

func (r *recorder) FailNow() {
	r.Fail()
	runtime.Goexit()
}

func (r *recorder) Context() context.Context     { return r.ctx }
func (r *recorder) Name() string                 { return r.name }
func (r *recorder) Helper()                      {}
func (r *recorder) Log(...any)                   {}
func (r *recorder) Logf(string, ...any)          {}
func (r *recorder) Fail()                        { r.fail("failed") }
func (r *recorder) Error(args ...any)            { r.fail(fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, args ...any) { r.fail(fmt.Sprintf(f, args...)) }
func (r *recorder) Fatal(args ...any)            { r.Error(args...); runtime.Goexit() }
func (r *recorder) Fatalf(f string, args ...any) { r.Errorf(f, args...); runtime.Goexit() }
func (r *recorder) Skip(...any)                  { r.SkipNow() }
func (r *recorder) Skipf(string, ...any)         { r.SkipNow() }
func (r *recorder) SkipNow()                     { r.fail("skipped"); runtime.Goexit() }
