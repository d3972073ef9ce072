package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// verdict is what the tests did with a mutant.
type verdict string

const (
	killed   verdict = "killed"           // a test failed
	stuck    verdict = "killed, no end"   // the tests did not end in time
	living   verdict = "living"           // every test passed
	unbuilt  verdict = "does not compile" // and so is none
	untested verdict = "uncovered"        // no test runs the piece
)

func (v verdict) dead() bool { return v == killed || v == stuck }

// bench tries mutants. The fast tests come first: they kill nearly all.
type bench struct {
	binary string
	dir    string // where the package is
	fast   time.Duration
	slow   time.Duration // 0: what explores every order is left out
	quick  bool          // no slow round
	jobs   int           // how many mutants are tried at a time
}

// memory bounds, in kB, what a mutant may take: some loops without an end also
// fill memory.
const memory = 6_000_000

// work is how many times longer a run may take than it may work: a loop without
// an end is found sooner by the processor time that it takes, however busy the
// machine is.
const work = 4

// The tests under load are left out of the first round, and what explores every
// order, which takes longest, of the second.
const (
	underLoad = "TestNeighboursLoseNothing|TestReturnUnderLoad"
	exploring = "TestExplore|TestEveryBrokenRuleIsCaught"
)

// try runs the tests with one mutant in force; 0 is the package as it is. The
// tests that take longest are left out unless they run the changed piece. by
// names the test that failed first.
func (b bench) try(ctx context.Context, id int, explored bool) (v verdict, by string, err error) {
	type round struct {
		limit time.Duration
		args  []string
	}
	rounds := []round{
		{b.fast, []string{"-test.short", "-test.skip=^(" + underLoad + "|" + exploring + ")$"}},
		{b.fast, []string{"-test.short", "-test.run=^(" + underLoad + ")$"}},
	}
	if !b.quick && explored {
		rounds = append(rounds, round{2 * b.fast, []string{"-test.short", "-test.run=^TestExplore$"}}) // a few seconds, at random
		if b.slow > 0 {
			rounds = append(rounds, round{b.slow, []string{"-test.run=^(" + exploring + ")$"}})
		}
	}
	for _, r := range rounds {
		v, by, err := b.round(ctx, id, r.limit, r.args)
		if err != nil || v.dead() {
			return v, by, err
		}
	}
	return living, "", nil
}

func (b bench) round(ctx context.Context, id int, limit time.Duration, args []string) (verdict, string, error) {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	script := fmt.Sprintf(`ulimit -d %d -t %d; exec "$0" "$@"`, memory, max(1, int(limit.Seconds()/work)))
	cmd := exec.CommandContext(bounded, "sh", append([]string{"-c", script, b.binary, "-test.failfast", "-test.timeout=" + (limit * 9 / 10).String()}, args...)...)
	cmd.Dir, cmd.WaitDelay = b.dir, 5*time.Second
	cmd.Env = append(os.Environ(), actingVariable+"="+strconv.Itoa(id))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", "", ctx.Err()
	case bounded.Err() != nil || outOfTime(cmd.ProcessState) || strings.Contains(out.String(), "panic: test timed out after"):
		return stuck, "", nil
	case err == nil:
		return living, "", nil
	case errors.As(err, &exit):
		return killed, firstFailure(out.String()), nil
	}
	return "", "", fmt.Errorf("run the tests: %w", err)
}

// outOfTime: the kernel kills a process that has used up its processor time.
func outOfTime(p *os.ProcessState) bool {
	status, ok := p.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// firstFailure names the test that a run reports as failed first.
func firstFailure(output string) string {
	for line := range strings.Lines(output) {
		if name, ok := strings.CutPrefix(line, "--- FAIL: "); ok {
			return strings.Fields(name)[0]
		}
	}
	return "the run as a whole"
}

// sound wants the package as it is to pass several times, or nothing that the
// mutants do tells anything.
func (b bench) sound(ctx context.Context, times int) error {
	for range times {
		if v, by, err := b.try(ctx, 0, true); err != nil || v != living {
			return errors.Join(err, fmt.Errorf("the tests do not pass without any mutant: %s (%s)", v, by))
		}
	}
	return nil
}
