package process

import (
	"os"
	"strconv"
	"syscall"
)

// CloseOnExec keeps the descriptors that this process was started with from
// every program that it starts, all but standard input, output and error. A
// process that outlives this one would hold them: the lock of the script that
// called us, the pipe whose reader waits for its end. Go opens all files of its
// own so that no program inherits them. It is called once, before anything is
// started.
func CloseOnExec() {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		for fd := 3; fd < 1024; fd++ { // a number that is not open is no error
			syscall.CloseOnExec(fd)
		}
		return
	}
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}
