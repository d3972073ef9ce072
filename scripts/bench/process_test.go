package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// What was started for a site is found and ended, with its children, and
// nothing else: not somebody who reads a log of the site.
func TestOnlyOursAreEnded(t *testing.T) {
	if stat(os.Getpid()) == nil {
		t.Skip("this system has no /proc")
	}
	dir := t.TempDir()
	start := func(variable string, args ...string) (*exec.Cmd, string) {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = []string{variable, "PATH=" + os.Getenv("PATH")}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		var line string
		_, _ = fmt.Fscanln(out, &line) // it runs what it is to run
		return cmd, line
	}
	// Its child has another environment, as the workers of nginx.
	ours, child := start("MIGRATE_DIR="+filepath.Join(dir, "0-site"), "sh", "-c", "env -i sleep 60 & echo $!; wait")
	other, _ := start("A=B", "sh", "-c", "echo ready; exec tail -f "+dir+"/0-site/log /dev/null")
	neighbour, _ := start("MIGRATE_DIR="+dir+"-2/0-site", "sh", "-c", "echo ready; exec sleep 60")

	found := processesOf(dir)
	for _, want := range []string{fmt.Sprint(ours.Process.Pid), child} {
		if pid, err := strconv.Atoi(want); err != nil || !slices.Contains(found, pid) {
			t.Errorf("process %s is not among %v", want, found)
		}
	}
	if len(found) != 2 {
		t.Errorf("found %v, want 2; %d only reads, %d is another folder's", found, other.Process.Pid, neighbour.Process.Pid)
	}
	waited := make(chan error, 1)
	go func() { waited <- ours.Wait() }()
	endAll(dir)
	<-waited
	if left := processesOf(dir); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
	for _, cmd := range []*exec.Cmd{other, neighbour} {
		if s := stat(cmd.Process.Pid); s == nil || s[0] == "Z" {
			t.Errorf("%v was ended", cmd.Args)
		}
	}
}
