package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// stat is what /proc/PID/stat says (proc_pid_stat(5)).
type stat struct {
	state   byte
	group   int
	session int
	threads int
	started string // field 22, in clock ticks since boot
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	// The second field is the program's name in parentheses and may hold anything.
	end := bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[end+1:]))
	if end < 0 || len(fields) < 20 {
		return stat{}, fmt.Errorf("process %d: /proc/%d/stat can't be read", pid, pid)
	}
	group, _ := strconv.Atoi(fields[2])
	session, _ := strconv.Atoi(fields[3])
	threads, _ := strconv.Atoi(fields[17])
	return stat{state: fields[0][0], group: group, session: session, threads: threads, started: fields[19]}, nil
}

// ended reports whether all of the process has: the first thread of one that
// was killed may be a zombie while the others still hold its ports.
func (s stat) ended() bool { return s.state == 'Z' && s.threads <= 1 || s.state == 'X' }

func look(pid int) (id Identity, zombie bool, err error) {
	if pid <= 0 {
		return Identity{}, false, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	s, err := readStat(pid)
	if err != nil {
		return Identity{}, false, err
	}
	boot, err := bootID()
	if err != nil {
		return Identity{}, false, err
	}
	return Identity{PID: pid, Started: s.started, Boot: boot}, s.ended(), nil
}

func bootID() (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(boot)), nil
}

// members are the processes of the session that id was started to lead: the
// leader, and what it has started and perhaps left behind, in whatever process
// groups. There are none when the number has a process of another identity, or
// the identity is of another boot.
func members(id Identity) []member {
	now, _, err := look(id.PID)
	if err == nil && now != id {
		return nil
	}
	if boot, bootErr := bootID(); err != nil && (bootErr != nil || boot != id.Boot) {
		return nil
	}
	var all []member
	for _, pid := range pids() {
		if s, err := readStat(pid); err == nil && s.session == id.PID && !s.ended() {
			all = append(all, member{pid, s.group})
		}
	}
	return all
}

// Find returns the session leaders whose environment holds the entry
// "NAME=value": those that [Start] started for somebody who died before
// writing down which process it was. Systems without /proc find none.
func Find(entry string) []Identity {
	var found []Identity
	for _, pid := range pids() {
		if !Has(pid, entry) {
			continue
		}
		if s, err := readStat(pid); err != nil || s.session != pid {
			continue
		}
		if id, zombie, err := look(pid); err == nil && !zombie {
			found = append(found, id)
		}
	}
	return found
}

// Has reports whether the environment that a process was started with holds the
// entry "NAME=value". Systems without /proc can't tell, and neither can a user
// who may not look.
func Has(pid int, entry string) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && bytes.Contains(append([]byte{0}, env...), []byte("\x00"+entry+"\x00"))
}

func pids() []int {
	paths, _ := filepath.Glob("/proc/[0-9]*")
	all := make([]int, 0, len(paths))
	for _, p := range paths {
		if pid, err := strconv.Atoi(filepath.Base(p)); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// Namespace names where the numbers of this process and of those it sees count:
// another container has numbers of its own. Empty if it can't be read.
func Namespace() string {
	name, _ := os.Readlink("/proc/self/ns/pid")
	return name
}
