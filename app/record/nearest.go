package record

import (
	"fmt"
	"strings"

	"github.com/agnivade/levenshtein"
)

// nearest returns "; did you mean X?" for the name that is most like the wrong
// one, or nothing if none is like it.
func nearest(wrong string, right []string) string {
	best, least := "", len(wrong)/2+2 // a swap of two letters counts two
	for _, name := range right {
		if d := levenshtein.ComputeDistance(strings.ToLower(wrong), strings.ToLower(name)); d < least {
			best, least = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}
