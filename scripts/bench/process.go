package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// processesOf lists the processes that belong to a site's folder, or to a folder
// of sites: those that were started for it, and their children. (The workers of nginx have
// its path nowhere.) The folder's name is unique. Where there is no /proc the
// list is empty, and the commands of the builds alone end what they started.
func processesOf(dir string) []int {
	var found []int
	parents := map[int]int{}
	folders, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil || pid == os.Getpid() {
			continue
		}
		parents[pid] = parent(pid)
		if names(folder, dir) {
			found = append(found, pid)
		}
	}
	for n := 0; n < len(found); n++ { // found grows: children of children count, too
		for pid, of := range parents {
			if of == found[n] && !slices.Contains(found, pid) {
				found = append(found, pid)
			}
		}
	}
	return found
}

// names reports whether a process was started for the folder: as one of the
// program's, as nginx, which overwrites its environment, or as PostgreSQL.
func names(folder, dir string) bool {
	environ, _ := os.ReadFile(filepath.Join(folder, "environ"))
	command, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
	return bytes.Contains(environ, []byte("MIGRATE_DIR="+dir+"/")) || bytes.Contains(environ, []byte("MIGRATE_DIR="+dir+"\x00")) ||
		bytes.HasPrefix(command, []byte("nginx: master process")) && bytes.Contains(command, []byte(dir+"/")) ||
		bytes.Contains(command, []byte("postgres\x00-D\x00"+dir+"/"))
}

// stat returns the fields of /proc/PID/stat that follow the process's name,
// beginning with its state; nil if there is no such process.
func stat(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	at := bytes.LastIndexByte(text, ')') // the name may hold blanks and brackets
	return strings.Fields(string(text[at+1:]))
}

func parent(pid int) int {
	fields := stat(pid)
	if len(fields) < 2 {
		return 0
	}
	of, _ := strconv.Atoi(fields[1])
	return of
}

// endAll ends whatever still belongs to a folder of sites.
func endAll(dir string) {
	deadline := time.Now().Add(10 * time.Second)
	for pids := processesOf(dir); len(pids) > 0 && time.Now().Before(deadline); pids = processesOf(dir) {
		for _, pid := range pids {
			fmt.Fprintf(os.Stderr, "bench: ending process %d, which outlived its stop\n", pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(100 * time.Millisecond) // until the system has taken them away
	}
}
