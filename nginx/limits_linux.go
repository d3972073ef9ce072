package nginx

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// mayRaiseLimits reports whether this process may raise its hard limits.
func mayRaiseLimits() bool {
	const capSysResource = 24
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if hex, found := strings.CutPrefix(line, "CapEff:"); found {
			set, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err == nil && set&(1<<capSysResource) != 0
		}
	}
	return false
}

// filesOf is how many files a process may have open.
func filesOf(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, "Max open files"); found {
			soft, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			return strconv.Atoi(soft)
		}
	}
	return 0, fmt.Errorf("process %d has no limit of open files", pid)
}
