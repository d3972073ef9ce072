package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tooMuch is the share of the machine that other programs may take during a
// turn. A turn with more is put aside, and measured again.
const tooMuch = 0.10

// tick is the unit of /proc: a hundredth of a second.
const tick = 10 * time.Millisecond

// others tells how much of the machine programs other than ours take. Where
// there is no /proc it knows nothing, and says 0.
type others struct {
	dir   string
	began span
}

// span is the time that was spent since the machine started.
type span struct {
	all, busy, ours time.Duration
}

func watchOthers(dir string) *others {
	o := &others{dir: dir}
	o.began = o.now()
	return o
}

// since returns the share of the machine that others took since then: 0 is
// none, 1 is all.
func (o *others) since(then span) float64 {
	now := o.now()
	if now.all <= then.all {
		return 0
	}
	foreign := (now.busy - then.busy) - (now.ours - then.ours)
	return max(0, float64(foreign)/float64(now.all-then.all))
}

func (o *others) now() span {
	s := machine()
	s.ours = own(syscall.RUSAGE_SELF) + own(syscall.RUSAGE_CHILDREN)
	s.ours += usedBy(o.dir)
	return s
}

// usedBy is the processor time that the living processes of a folder have spent
// so far.
func usedBy(dir string) (total time.Duration) {
	for _, pid := range processesOf(dir) {
		total += used(pid)
	}
	return total
}

// machine reads the first line of /proc/stat. What a hypervisor gives to other
// machines counts as busy. Interrupts don't, since nobody knows whose they are:
// those of the loopback are mostly ours. Nor does what waits for a disk.
func machine() (s span) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return s
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for n, field := range strings.Fields(line) {
		ticks, err := strconv.ParseInt(field, 10, 64)
		const idle, iowait, irq, softirq, guest = 4, 5, 6, 7, 9 // guest is in user already
		if err != nil || n >= guest {
			continue
		}
		s.all += time.Duration(ticks) * tick
		if n != idle && n != iowait && n != irq && n != softirq {
			s.busy += time.Duration(ticks) * tick
		}
	}
	return s
}

func own(whose int) time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(whose, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// used is what a process has spent so far, with its children that have ended: a
// PostgreSQL server has one for each connection.
func used(pid int) (total time.Duration) {
	fields := stat(pid)
	const user, ended = 11, 14 // and what lies between: in the system, and that of children
	if len(fields) <= ended {
		return 0
	}
	for _, field := range fields[user : ended+1] {
		ticks, _ := strconv.ParseInt(field, 10, 64)
		total += time.Duration(ticks) * tick
	}
	return total
}
