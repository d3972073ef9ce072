//go:build !linux

package nginx

import (
	"fmt"
	"os/exec"
	"strings"
)

// connections are the established ones to a listen address, by their two
// ends, as netstat says, which every Unix has.
func connections(listen string) (map[string]bool, error) {
	out, err := exec.Command("netstat", "-an", "-p", "tcp").Output()
	if err != nil {
		return nil, fmt.Errorf("netstat: %w", err)
	}
	ip, port := outer(listen)
	end := "." + port
	if ip != nil {
		end = ip.String() + end
	}
	all := make(map[string]bool)
	for line := range strings.Lines(string(out)) {
		const local, remote, state = 3, 4, 5
		fields := strings.Fields(line)
		if len(fields) > state && fields[state] == "ESTABLISHED" && strings.HasSuffix(fields[local], end) {
			all[fields[local]+" "+fields[remote]] = true
		}
	}
	return all, nil
}
