package nginx

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticksPerSecond is the unit of times in /proc: USER_HZ, 100 on every
// architecture that Go runs on.
const ticksPerSecond = 100

// inspect reads /proc. No such process is no error: the facts are empty then,
// and so they are for one that has ended and was not waited for.
func inspect(pid int) (facts, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	command, err := os.ReadFile(dir + "/cmdline")
	if err == nil {
		var stat, system []byte
		if stat, err = os.ReadFile(dir + "/stat"); err == nil {
			if system, err = os.ReadFile("/proc/stat"); err == nil {
				return parseProc(string(command), string(stat), string(system))
			}
		}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return facts{}, nil
	}
	return facts{}, err
}

// parseProc takes the facts from the three files; see proc(5).
func parseProc(command, stat, system string) (facts, error) {
	// The name, the second field, is in brackets and may hold anything.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const started = 22 - 3 // the fields are counted from 1, and two are cut off
	if len(fields) <= started {
		return facts{}, fmt.Errorf("can't read its stat %q", stat)
	}
	ticks, err := strconv.ParseInt(fields[started], 10, 64)
	if err != nil {
		return facts{}, fmt.Errorf("can't read its start time: %w", err)
	}
	var boot int64
	for line := range strings.Lines(system) {
		if text, ok := strings.CutPrefix(line, "btime "); ok {
			if boot, err = strconv.ParseInt(strings.TrimSpace(text), 10, 64); err != nil {
				return facts{}, fmt.Errorf("can't read the boot time: %w", err)
			}
		}
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return facts{}, err
	}
	return facts{
		command: strings.TrimRight(strings.ReplaceAll(command, "\x00", " "), " "),
		started: fields[started] + "@" + strings.TrimSpace(string(id)),
		since:   time.Unix(boot+ticks/ticksPerSecond, 0),
	}, nil
}

// children are the processes that one has started and that have not ended.
func children(parent int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue // ended meanwhile
		}
		// After the name in brackets: its state, its parent.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) > 1 && fields[0] != "Z" && fields[1] == strconv.Itoa(parent) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
