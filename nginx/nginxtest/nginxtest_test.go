package nginxtest

import (
	"testing"
)

// Ranges of ports that are given out at the same time do not overlap, and one
// comes back when its test ends.
func TestFreePortsAreGivenOnce(t *testing.T) {
	given := map[int]bool{}
	for range 100 {
		first := FreePorts(t, 40)
		for port := first; port < first+40; port++ {
			if given[port] {
				t.Fatalf("port %d was given twice", port)
			}
			given[port] = true
		}
	}
	const ranges = (highestPort - lowestPort) / portRange
	for range 2 * ranges { // more than there are: each must come back
		t.Run("", func(t *testing.T) { FreePorts(t, 1) })
	}
}
