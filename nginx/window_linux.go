package nginx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
)

// connections are the established ones to a listen address, by their two ends.
func connections(listen string) (map[string]bool, error) {
	all := make(map[string]bool)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a system without IPv6
		}
		if err != nil {
			return nil, err
		}
		if err := parseConnections(all, string(text), listen); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// parseConnections takes connections from a table of the kernel; see proc(5).
func parseConnections(all map[string]bool, table, listen string) error {
	ip, port := outer(listen)
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	end := fmt.Sprintf(":%04X", number)
	if ip != nil {
		end = kernelHex(ip) + end
	}
	for line := range strings.Lines(table) {
		const local, remote, state, established = 1, 2, 3, "01"
		if !strings.Contains(line, end) || !strings.Contains(line, " "+established+" ") {
			continue // of a busy proxy there are tens of thousands that have ended
		}
		fields := strings.Fields(line)
		if len(fields) > state && fields[state] == established && strings.HasSuffix(fields[local], end) {
			all[fields[local]+" "+fields[remote]] = true
		}
	}
	return nil
}

// kernelHex writes an address as the kernel's tables do: as words of the
// machine's own byte order.
func kernelHex(ip net.IP) string {
	if v4 := ip.To4(); v4 != nil {
		ip = v4
	}
	var text strings.Builder
	for i := 0; i < len(ip); i += 4 {
		fmt.Fprintf(&text, "%08X", binary.NativeEndian.Uint32(ip[i:]))
	}
	return text.String()
}
