//go:build !linux

package nginx

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// inspect asks ps, which every Unix has. No such process is no error: the
// facts are empty then.
func inspect(pid int) (facts, error) {
	cmd := exec.Command("ps", "-ww", "-p", strconv.Itoa(pid), "-o", "lstart=", "-o", "command=")
	cmd.Env = []string{"LC_ALL=C", "PATH=/bin:/usr/bin"}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return facts{}, nil
	}
	if err != nil {
		return facts{}, fmt.Errorf("ps: %w", err)
	}
	const layout = "Mon Jan _2 15:04:05 2006"
	line := strings.TrimRight(string(out), "\n")
	if len(line) < len(layout) {
		return facts{}, fmt.Errorf("can't read what ps says: %q", line)
	}
	since, err := time.ParseInLocation(layout, line[:len(layout)], time.Local)
	if err != nil {
		return facts{}, fmt.Errorf("can't read what ps says: %w", err)
	}
	return facts{
		command: strings.TrimSpace(line[len(layout):]),
		started: line[:len(layout)],
		since:   since,
	}, nil
}

// children are the processes that one has started and that have not ended.
func children(parent int) ([]int, error) {
	out, err := exec.Command("ps", "-A", "-o", "pid=", "-o", "ppid=", "-o", "stat=").Output()
	if err != nil {
		return nil, fmt.Errorf("ps: %w", err)
	}
	var pids []int
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[1] != strconv.Itoa(parent) || strings.HasPrefix(fields[2], "Z") {
			continue
		}
		if pid, err := strconv.Atoi(fields[0]); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
