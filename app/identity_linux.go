package app

import (
	"os"
	"strings"
)

// process says which boot this process belongs to, when it was started, and in
// which namespace its number counts; empty what can't be read. A tool that wants
// to know whether it lives reads the same.
func process() (boot, started, namespace string) {
	if b, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		boot = strings.TrimSpace(string(b))
	}
	if stat, err := os.ReadFile("/proc/self/stat"); err == nil {
		started = startTime(string(stat))
	}
	namespace, _ = os.Readlink("/proc/self/ns/pid")
	return boot, started, namespace
}
