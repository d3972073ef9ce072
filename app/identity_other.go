//go:build !linux

package app

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
)

// process says which boot this process belongs to, when it was started, and in
// which namespace its number counts; empty what can't be read. A tool that wants
// to know whether it lives reads the same.
func process() (boot, started, namespace string) {
	if b, err := exec.Command("sysctl", "-n", "kern.boottime").Output(); err == nil {
		boot = strings.TrimSpace(string(b))
	}
	if b, err := exec.Command("ps", "-o", "lstart=", "-p", strconv.Itoa(os.Getpid())).Output(); err == nil {
		started = strings.TrimSpace(string(b))
	}
	return boot, started, runtime.GOOS
}
