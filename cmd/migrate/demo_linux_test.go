package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// pseudo is a terminal of that many columns; a program sees its far end.
func pseudo(t *testing.T, columns uint16) (near, far *os.File) {
	t.Helper()
	near, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { near.Close() })
	control := func(request uintptr, arg unsafe.Pointer) {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, near.Fd(), request, uintptr(arg)); errno != 0 {
			t.Fatal(errno)
		}
	}
	var locked, number int32
	control(syscall.TIOCSPTLCK, unsafe.Pointer(&locked))
	control(syscall.TIOCGPTN, unsafe.Pointer(&number))
	control(syscall.TIOCSWINSZ, unsafe.Pointer(&[4]uint16{24, columns}))
	far, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	return near, far
}

// onTerminal runs the program on a terminal until it has shown the words, then
// types Ctrl-C, and returns all that it showed.
func (s *site) onTerminal(until string, env []string, args ...string) string {
	s.t.Helper()
	near, far := pseudo(s.t, 100)
	cmd := exec.Command(s.bin, args...)
	cmd.Env = append(s.env, env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = far, far, far
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	far.Close() // so that reading ends when the program has
	stuck := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer stuck.Stop()
	var shown strings.Builder
	for typed, page := false, make([]byte, 4096); ; {
		n, err := near.Read(page)
		shown.Write(page[:n])
		if errors.Is(err, syscall.EIO) || errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			s.t.Fatal(err)
		}
		if !typed && strings.Contains(shown.String(), until) {
			typed = true
			if _, err := near.WriteString("\x03"); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 1 || !stuck.Stop() {
		s.t.Errorf("%v, after\n%s", err, &shown)
	}
	return shown.String()
}

// On a terminal it shows what goes on, and leaves the terminal as it was.
func TestDemoOnATerminal(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	shown := s.onTerminal("cut-overs", []string{"TERM=xterm", "NO_COLOR=1"}, "demo")
	for _, words := range []string{"1 deploy the new database: ", "[1] ─ 2", fmt.Sprintf("nginx → %d", s.first), "acknowledged", "/s "} {
		if !strings.Contains(shown, words) {
			t.Errorf("not shown: %q", words)
		}
	}
	const endOfDrawing = "\x1b[?7h\x1b[?25h" // lines are wrapped and the cursor shows, again
	drawn := strings.Split(shown, endOfDrawing)
	if last := drawn[len(drawn)-1]; !strings.HasPrefix(last, "migrate: interrupted") {
		t.Errorf("what is left after the last drawing: %q", last)
	}
	if strings.Contains(shown, "\x1b[3") {
		t.Error("colours, though NO_COLOR is set")
	}
	if t.Failed() {
		t.Logf("%q", shown)
	}
	s.gone("after Ctrl-C")

	for _, dumb := range [][]string{{"TERM=dumb"}, {"TERM=xterm", "MIGRATE_QUIET=true", "NO_COLOR=1"}} {
		if shown := s.onTerminal("STEP", dumb, "demo"); strings.Contains(shown, "\x1b") {
			t.Errorf("%v: %q", dumb, shown)
		}
	}
}
