package migration

import (
	"strings"
	"testing"
)

// There are eight steps, each with a name of its own.
func TestThereAreEightSteps(t *testing.T) {
	seen := map[string]bool{}
	for step := Step(-1); step <= 10; step++ {
		name := step.Name()
		if exists := step >= 1 && step <= 8; step.Valid() != exists || strings.Contains(name, "does not exist") == exists {
			t.Errorf("step %d: valid %v, %q", int(step), step.Valid(), name)
		}
		if seen[name] {
			t.Errorf("two steps are named %q", name)
		}
		seen[name] = true
	}
}
