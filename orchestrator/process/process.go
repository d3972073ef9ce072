// Package process starts and ends detached processes on this machine.
//
// A process outlives the command that started it, so a later command knows it
// only by what was written down. It promises that nothing is ever signalled
// because it happens to have a remembered number: a process is named by its
// number, its start time and the boot it belongs to, and all three are checked
// just before each signal.
package process

import (
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

// ErrGone: there is no process of that number.
var ErrGone = errors.New("the process is gone")

// ErrStubborn: the process is still there after SIGKILL.
var ErrStubborn = errors.New("the process survived SIGKILL")

// Identity names one process for good; a number alone is given out again.
type Identity struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // as the system counts it: Linux has clock ticks since boot
	Boot    string `json:"boot"`    // the boot that Started belongs to
}

// Identify returns the identity of a process that exists now, ended but not
// yet reaped ones included; else ErrGone.
func Identify(pid int) (Identity, error) {
	id, _, err := look(pid)
	return id, err
}

// Exited reports whether the process has ended and, when it was a child of
// this one, how. It reaps such a child, so a program that starts instances and
// lives on leaves no zombies as long as it looks.
func Exited(id Identity) (how string, exited bool) {
	now, zombie, err := look(id.PID)
	if err != nil || now != id {
		return "", true
	}
	if !zombie {
		return "", false
	}
	var status syscall.WaitStatus
	if pid, err := syscall.Wait4(id.PID, &status, syscall.WNOHANG, nil); err != nil || pid != id.PID {
		return "", true // somebody else's child
	}
	if status.Signaled() {
		return status.Signal().String(), true
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus()), true
}

// Alive reports whether this very process still runs.
func (id Identity) Alive() bool {
	_, exited := Exited(id)
	return id.PID > 0 && !exited
}

// member is a process of a session.
type member struct{ pid, group int }

// Runs reports whether the process or anything that it has started runs: a
// shell, npm or uv that has ended may have left the service behind. What has
// left the session is not seen.
func (id Identity) Runs() bool { return id.Alive() || len(members(id)) > 0 }

// Command says what to start.
type Command struct {
	Args []string            // program and arguments
	Env  []string            // all of it
	Dir  string              // working folder; empty: this process's
	As   *syscall.Credential // user to run it as; nil: this process's
	Log  string              // file that standard output and error are appended to, made with mode 0600
}

// Start starts a process that leads its own session, away from this one's
// terminal, process group and open files, and returns without waiting for it.
func Start(c Command) (Identity, error) {
	if len(c.Args) == 0 {
		return Identity{}, errors.New("start a process: no program given")
	}
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return Identity{}, fmt.Errorf("start %s: %w", c.Args[0], err)
	}
	defer log.Close()

	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.Env, c.Dir, log, log // a nil Stdin is /dev/null
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: c.As}
	if err := cmd.Start(); err != nil && c.As != nil {
		return Identity{}, fmt.Errorf("start %s as user %d, who owns the state folder: %w", c.Args[0], c.As.Uid, err)
	} else if err != nil {
		return Identity{}, fmt.Errorf("start %s: %w", c.Args[0], err)
	}
	// Nobody has reaped it yet, so it can be identified even if it has already ended.
	id, err := Identify(cmd.Process.Pid)
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return Identity{}, fmt.Errorf("start %s: %w", c.Args[0], err)
	}
	return id, cmd.Process.Release()
}

const (
	poll     = 10 * time.Millisecond
	killWait = 5 * time.Second
)

// Stop ends a process that [Start] started, and what it started in its session:
// SIGTERM, up to grace to leave, then SIGKILL. Each is reported. A process
// that has gone, or whose number belongs to another by now, is left alone and
// is no error. When ctx ends first, Stop returns its error with the process
// still ending.
func Stop(ctx context.Context, id Identity, grace time.Duration, report func(string)) error {
	began := time.Now()
	if !id.Runs() {
		report(fmt.Sprintf("process %d has already ended", id.PID))
		return nil
	}
	report("SIGTERM to " + name(id))
	if err := signal(id, syscall.SIGTERM); err != nil {
		return err
	}
	ended, err := wait(ctx, id, grace)
	if err != nil {
		return err
	}
	if !ended {
		report(fmt.Sprintf("%s: still there after %v: SIGKILL", name(id), grace))
		if err := signal(id, syscall.SIGKILL); err != nil {
			return err
		}
		if ended, err = wait(ctx, id, killWait); err != nil {
			return err
		}
	}
	if !ended {
		return fmt.Errorf("%s: %w", name(id), ErrStubborn)
	}
	report(fmt.Sprintf("process %d ended after %v", id.PID, time.Since(began).Round(time.Millisecond)))
	return nil
}

// name is the process in words, with what else is in its session.
func name(id Identity) string {
	var others []string
	for _, m := range members(id) {
		if m.pid != id.PID {
			others = append(others, strconv.Itoa(m.pid))
		}
	}
	switch text := strings.Join(others, ", "); {
	case text == "":
		return fmt.Sprintf("process %d", id.PID)
	case !id.Alive():
		return fmt.Sprintf("what process %d has left behind: %s", id.PID, text)
	default:
		return fmt.Sprintf("process %d and what it has started: %s", id.PID, text)
	}
}

// signal signals the whole session: a shell that started the service would
// otherwise leave it behind. Its number can't be given out again while a member
// lives, so it is checked by its leader or, once that has ended, by members
// that remain.
func signal(id Identity, sig syscall.Signal) error {
	done := map[int]bool{}
	for _, m := range members(id) {
		if done[m.group] {
			continue
		}
		done[m.group] = true
		if err := syscall.Kill(-m.group, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal process %d: %w", id.PID, err)
		}
	}
	return nil
}

// wait reports whether the process and its session ended within the time.
func wait(ctx context.Context, id Identity, limit time.Duration) (bool, error) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if !id.Runs() {
			return true, nil
		}
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("wait for process %d to end: %w", id.PID, context.Cause(ctx))
		case <-deadline.C:
			return false, nil
		case <-tick.C:
		}
	}
}
