//go:build !linux

package process

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// look asks ps, which every Unix has.
func look(pid int) (id Identity, zombie bool, err error) {
	if pid <= 0 {
		return Identity{}, false, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	out, err := exec.Command("ps", "-o", "stat=,lstart=", "-p", strconv.Itoa(pid)).Output()
	state, started, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) || err == nil && state == "" {
		return Identity{}, false, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	if err != nil {
		return Identity{}, false, fmt.Errorf("process %d: %w", pid, err)
	}
	boot, err := bootID()
	if err != nil {
		return Identity{}, false, err
	}
	return Identity{PID: pid, Started: strings.TrimSpace(started), Boot: boot}, strings.HasPrefix(state, "Z"), nil
}

// members are the processes of the group that id was started to lead: the
// leader, and what it has started and perhaps left behind. There are none when
// the number has a process of another identity, or the identity is of another
// boot.
func members(id Identity) []member {
	now, _, err := look(id.PID)
	if err == nil && now != id {
		return nil
	}
	if boot, bootErr := bootID(); err != nil && (bootErr != nil || boot != id.Boot) {
		return nil
	}
	out, err := exec.Command("ps", "-A", "-o", "pid=,pgid=,stat=").Output()
	if err != nil {
		return nil
	}
	var all []member
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[1] != strconv.Itoa(id.PID) || strings.HasPrefix(fields[2], "Z") {
			continue
		}
		if pid, err := strconv.Atoi(fields[0]); err == nil {
			all = append(all, member{pid, id.PID})
		}
	}
	return all
}

func bootID() (string, error) {
	boot, err := exec.Command("sysctl", "-n", "kern.boottime").Output()
	if err != nil {
		return "", fmt.Errorf("ask when this machine was started: %w", err)
	}
	return strings.TrimSpace(string(boot)), nil
}

// Has needs /proc, and can't tell here.
func Has(int, string) bool { return false }

// Find needs /proc, and finds nothing here.
func Find(string) []Identity { return nil }

// Namespace names where the numbers of processes count; here the whole machine.
func Namespace() string { return runtime.GOOS }
