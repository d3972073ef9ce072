package app

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"migrate.invalid/migrate/app/store"
)

// registration names this process so that another host, or a later boot, or a
// later process with the same number can't be taken for it.
func registration(id string) (store.Registration, error) {
	host, err := os.Hostname()
	if err != nil {
		return store.Registration{}, fmt.Errorf("name this host: %w", err)
	}
	r := store.Registration{Instance: id, Host: host, PID: os.Getpid()}
	r.Boot, r.Started, r.Namespace = process()
	return r, nil
}

// startTime is field 22 of proc(5)'s stat, in clock ticks since boot. The
// second field, the program's name, may hold spaces and parentheses.
func startTime(stat string) string {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return ""
	}
	if _, err := strconv.ParseUint(fields[19], 10, 64); err != nil {
		return ""
	}
	return fields[19]
}
