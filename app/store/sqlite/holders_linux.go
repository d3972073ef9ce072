package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Holders names the other programs that have the file open, as far as this
// process may see them; "" if it sees none.
func Holders(path string) string {
	want, err := os.Stat(path)
	if err != nil {
		return ""
	}
	open, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	var names []string
	seen := map[string]bool{strconv.Itoa(os.Getpid()): true}
	for _, fd := range open {
		pid := strings.Split(fd, "/")[2]
		if seen[pid] {
			continue
		}
		if info, err := os.Stat(fd); err != nil || !os.SameFile(info, want) {
			continue
		}
		seen[pid] = true
		name, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			continue
		}
		names = append(names, fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), pid))
	}
	return strings.Join(names, ", ")
}
