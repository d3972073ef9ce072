package nginx

import "testing"

// The kernel's table, with another program on the same port of another address.
func TestParseConnections(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:1388 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   2: 0100007F:1388 0100007F:C002 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0
   3: 0100007F:C001 0100007F:1388 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 20 4 30 10 -1
   4: 0200000A:1388 0100000A:C001 01 00000000:00000000 00:00000000 00000000     0        0 4 1 0 20 4 30 10 -1
   5: 0000000000000000FFFF00000100007F:1388 0000000000000000FFFF00000100007F:C003 01 00000000:00000000 00:00000000 00000000 0 0 5 1 0
`
	if kernelHex([]byte{127, 0, 0, 1}) != "0100007F" {
		t.Skip("the table is of a machine of the other byte order")
	}
	for listen, want := range map[string]int{"127.0.0.1:5000": 2, "10.0.0.2:5000": 1, "0.0.0.0:5000": 3, ":5000": 3, "[::1]:5000": 0, "127.0.0.1:5001": 0} {
		all := make(map[string]bool)
		if err := parseConnections(all, table, listen); err != nil || len(all) != want {
			t.Errorf("%s: %v, %v; want %d", listen, all, err, want)
		}
	}
}
