package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
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
		names = append(names, program(pid))
	}
	return strings.Join(names, ", ")
}

// program names a process for people.
func program(pid string) string {
	name, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil {
		return "process " + pid
	}
	return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), pid)
}

// The bytes that SQLite's one writer locks: in the file that the readers of a
// write-ahead log share, or else in the database itself, where a lock that waits
// for readers comes first (https://www.sqlite.org/walformat.html, 2.3;
// https://www.sqlite.org/lockingv3.html, 3.0).
const (
	walWriteByte = 120
	pendingByte  = 0x40000000
	reservedByte = pendingByte + 1
)

// writer names the program that keeps others from writing to the file; "" if no
// other one does, or if it can't be seen.
func writer(path string) string {
	all, err := os.ReadFile("/proc/locks")
	if err != nil {
		return ""
	}
	own := strconv.Itoa(os.Getpid())
	for _, line := range strings.Split(string(all), "\n") {
		// 21: POSIX  ADVISORY  WRITE 3958 fe:00:10306512 120 120
		lock := strings.Fields(line)
		if len(lock) != 8 || lock[3] != "WRITE" || lock[4] == own {
			continue
		}
		if locks(lock, path+"-shm", walWriteByte) || locks(lock, path, reservedByte) || locks(lock, path, pendingByte) {
			return program(lock[4])
		}
	}
	return ""
}

// locks reports whether the lock is on this byte of the file.
func locks(lock []string, path string, at int64) bool {
	var file syscall.Stat_t
	if syscall.Stat(path, &file) != nil {
		return false
	}
	first, err := strconv.ParseInt(lock[6], 10, 64)
	last, lastErr := strconv.ParseInt(lock[7], 10, 64)
	if err != nil || lastErr != nil && lock[7] != "EOF" {
		return false
	}
	device := fmt.Sprintf("%02x:%02x:%d", unix.Major(uint64(file.Dev)), unix.Minor(uint64(file.Dev)), file.Ino)
	return lock[5] == device && first <= at && (at <= last || lock[7] == "EOF")
}
