package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// What outlives a command holds nothing that the command was started with: a
// deployment script under flock gets its lock back, and the reader of a pipe
// sees its end.
func TestDescriptorsAreNotInherited(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	lock, err := os.Create(filepath.Join(t.TempDir(), "deploy.lock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	pipe, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	for _, args := range [][]string{{"nginx", "start"}, {"mongo", "start"}, {"spawn", "--step", "1"}} {
		cmd := exec.Command(s.bin, args...)
		cmd.Env, cmd.ExtraFiles = s.env, []*os.File{lock, end}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	again := flock.New(lock.Name())
	if err := errors.Join(lock.Close(), end.Close()); err != nil { // as when the script ends
		t.Fatal(err)
	}
	if held, err := again.TryLock(); err != nil || !held {
		t.Errorf("the lock of a script that has ended is still held: %v", err)
	}
	defer again.Close()
	if err := pipe.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(pipe); err != nil {
		t.Errorf("somebody still holds the pipe: %v", err)
	}
}

// A reader that goes away after the first line, and a terminal that closes, do
// not end a switch: it ends what it has begun, with an exit code of ours.
func TestSwitchOutlivesItsAudience(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.must("nginx", "start")
	s.must("spawn", "--step", "1")
	s.must("switch")
	for _, audience := range []string{"reader", "terminal"} {
		var spawned struct{ Instance struct{ Port int } }
		s.json(&spawned, "spawn", "--step", "1")
		cmd := exec.Command(s.bin, "switch")
		cmd.Env = s.env
		progress, err := cmd.StderrPipe()
		if err == nil {
			cmd.Stdout = cmd.Stderr
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(progress).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if audience == "reader" {
			err = progress.Close()
		} else if err = cmd.Process.Signal(syscall.SIGHUP); err == nil {
			_, err = io.Copy(io.Discard, progress)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("without its %s: %v", audience, err)
		}
		var st struct {
			Live       int
			Unfinished any
		}
		s.json(&st, "status")
		if st.Live != spawned.Instance.Port || st.Unfinished != nil {
			t.Errorf("without its %s: traffic is on port %d, not %d; unfinished: %v", audience, st.Live, spawned.Instance.Port, st.Unfinished)
		}
	}
}

// What only shows something ends with the reader or the terminal that it is
// shown to; it doesn't draw for nobody.
func TestWatchEndsWithItsAudience(t *testing.T) {
	t.Parallel()
	// Tests may run under nohup, and what is started would ignore SIGHUP, too. A
	// program has the default for a signal that its parent takes.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	s := newSite(t)
	s.must("nginx", "start")
	for _, audience := range []string{"reader", "terminal"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, s.bin, "status", "--watch", "--interval", "100ms")
		cmd.Env = s.env
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if audience == "reader" {
			err = out.Close()
		} else if err = cmd.Process.Signal(syscall.SIGHUP); err == nil {
			_, err = io.Copy(io.Discard, out)
		}
		if err := errors.Join(err, cmd.Wait()); err != nil {
			t.Errorf("without its %s: %v", audience, err)
		}
	}
}

// What was inherited is closed in what is started, whatever its number.
func TestProgramsInheritNothing(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("needs /proc")
	}
	s := newSite(t)
	s.must("nginx", "start")
	file, err := os.Open(s.bin)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := exec.Command(s.bin, "spawn", "--step", "1", "--json")
	cmd.Env = s.env
	for range 40 {
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	if out, err := cmd.Output(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var st struct {
		Instances []struct{ Process struct{ PID int } }
	}
	s.json(&st, "status")
	for _, i := range st.Instances {
		links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", i.Process.PID))
		if err != nil || len(links) == 0 {
			t.Fatalf("its descriptors can't be seen: %v", err)
		}
		for _, link := range links {
			if to, err := os.Readlink(link); err == nil && to == s.bin {
				t.Errorf("process %d has inherited %s", i.Process.PID, link)
			}
		}
	}
}
