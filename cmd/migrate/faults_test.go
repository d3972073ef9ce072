package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// all is every fault that there is, by name.
func (n *nemesis) all() map[string]fault {
	all := map[string]fault{
		"active killed":         {func() func() { return n.kill(n.active()) }, 1, 8},
		"active killed again":   {func() func() { return n.kill(n.active()) }, 4, 8},
		"instance killed":       {func() func() { return n.kill(n.someInstance()) }, 1, 8},
		"instance stopped":      {func() func() { return n.freeze(n.someInstance()) }, 1, 8},
		"instance stutters":     {n.stutter, 4, 5},
		"nginx killed":          {func() func() { return n.kill(-n.nginx()) }, 1, 8},
		"tool killed":           {n.killTool, 1, 8},
		"tool killed on return": {n.killTool, 4, 4},
		"new database killed":   {n.killNew, 5, 8},
		"new database stopped":  {n.freezeNew, 5, 8},
		"new database cut":      {func() func() { return n.linked(cut) }, 5, 8},
		"new database slow":     {func() func() { return n.linked(slow) }, 3, 8},
		"new database stalled":  {func() func() { return n.linked(stalled) }, 5, 8},
		"new database hangs":    {n.hang, 3, 4},
		hangsOnRollback:         {n.hangOnRollback, 3, 4},
		"answers lost":          {n.flicker, 5, 8},
		"answers lost again":    {n.flicker, 4, 8},
	}
	if n.oldServer == nil {
		all["old database full"] = fault{n.full, 1, 5}
		all["old database locked"] = fault{n.lock, 1, 5}
	} else {
		maps.Copy(all, n.ofOldServer())
	}
	if n.newServer != nil {
		maps.Copy(all, n.ofNewServer())
	}
	return all
}

// freezeNew stops the new database.
func (n *nemesis) freezeNew() func() {
	if n.newServer != nil {
		return n.pause(n.newServer)
	}
	return n.freeze(n.daemon())
}

// killNew ends the new database as a crash does; whoever mends starts it again.
func (n *nemesis) killNew() func() {
	if n.newServer != nil {
		return n.crash(n.newServer)
	}
	return n.kill(n.daemon())
}

// hang stops the new database. Under the old primary the service goes on
// without it.
func (n *nemesis) hang() func() {
	n.t.Helper()
	resume := n.freezeNew()
	if st := n.look(); st.primary() == "old" {
		n.wantServed("the new database hangs under the old primary")
	}
	return resume
}

const hangsOnRollback = "new database hangs on a rollback"

// hangOnRollback stops the new database and goes back. To an instance that
// stands by under the old primary there is a way without it.
func (n *nemesis) hangOnRollback() func() {
	n.t.Helper()
	resume := n.freezeNew()
	st := n.look()
	ctx, cancel := context.WithTimeout(n.t.Context(), 30*time.Second)
	defer cancel()
	began := time.Now()
	stdout, stderr, code := n.runContext(ctx, "rollback")
	n.t.Logf("  rollback beside it, from step %d to port %d under %q: exit %d after %v", st.step(), st.Fallback, st.primary(), code, time.Since(began).Round(time.Millisecond))
	n.note("while the new database hung", "rollback", stdout, code)
	if code != 0 && st.primary() == "old" && st.standsBy() {
		n.t.Errorf("the new database hangs under the old primary, and there is no way back to what stands by: exit %d\n%s%s", code, stdout, stderr)
	}
	return resume
}

func (n *nemesis) linked(m mode) func() {
	n.link.set(m)
	if m == stalled && n.rng.IntN(2) == 0 {
		time.Sleep(6 * time.Second) // longer than anybody waits for it
	}
	return func() { n.link.set(passing) }
}

// flicker loses the answers to what is under way, a few times.
func (n *nemesis) flicker() func() {
	for range 3 {
		n.link.set(mute)
		time.Sleep(100*time.Millisecond + n.upTo(200*time.Millisecond))
		n.link.set(passing)
		time.Sleep(300 * time.Millisecond)
	}
	return n.linked(mute)
}

// active is the process of the instance that has the traffic; 0 if there is none.
func (n *nemesis) active() int {
	if a := n.look().active(); a != nil && a.Running {
		return a.Process.PID
	}
	return 0
}

// someInstance is any instance's process.
func (n *nemesis) someInstance() int {
	running := slices.DeleteFunc(n.look().Instances, func(i siteInstance) bool { return !i.Running })
	if len(running) == 0 {
		return 0
	}
	return running[n.rng.IntN(len(running))].Process.PID
}

func (n *nemesis) daemon() int {
	for _, d := range n.look().Daemons {
		if d.Running {
			return d.Process.PID
		}
	}
	return 0
}

// nginx is its master, which leads the group of its workers.
func (n *nemesis) nginx() int {
	b, err := os.ReadFile(filepath.Join(n.dir, "nginx", "nginx.pid"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

func (n *nemesis) kill(pid int) func() {
	if pid != 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL) // gone already is as good
	}
	return func() {}
}

func (n *nemesis) freeze(pid int) func() {
	if pid == 0 {
		return func() {}
	}
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	return func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
}

// stutter stops the active instance again and again, so that what it has begun
// goes on a while later, when the primary may have moved.
func (n *nemesis) stutter() func() {
	pid := n.active()
	for range 12 {
		resume := n.freeze(pid)
		time.Sleep(100*time.Millisecond + n.upTo(200*time.Millisecond))
		resume()
		time.Sleep(n.upTo(60 * time.Millisecond))
	}
	return func() {}
}

// full leaves the old database no room. Where no file system could be made for
// it, the active instance is not allowed to make any file longer: the limit
// ends a Go program in the middle of its write.
func (n *nemesis) full() func() {
	if n.disk.mounted {
		empty, err := n.disk.fill()
		if err != nil {
			n.t.Errorf("fill the disk: %v", err)
			return func() {}
		}
		return empty
	}
	if info, err := os.Stat(n.file + "-wal"); err == nil {
		_ = exec.Command("prlimit", "--pid", fmt.Sprint(n.active()), fmt.Sprintf("--fsize=%d", info.Size())).Run()
	}
	return func() {}
}

// lock is a foreign program that begins to write and takes its time.
func (n *nemesis) lock() func() {
	cmd := exec.Command("sqlite3", "-batch", n.file)
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = fmt.Fprintln(in, "BEGIN IMMEDIATE;")
	}
	if err != nil {
		n.t.Errorf("lock the old database: %v", err)
		return func() {}
	}
	return func() {
		_ = in.Close() // and with it the transaction
		_ = cmd.Wait()
	}
}

// killTool begins a move and kills it somewhere on the way. What it has
// started lives on.
func (n *nemesis) killTool() func() {
	cmd := exec.Command(n.bin, n.command(n.look().step())...)
	cmd.Env = n.env
	if err := cmd.Start(); err != nil {
		n.t.Errorf("start the tool: %v", err)
		return func() {}
	}
	time.Sleep(n.upTo(1500 * time.Millisecond))
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return func() {}
}
