package migration

import (
	"testing"

	"go.uber.org/goleak"
)

// Whoever starts the relay, the settling or a scene's actors waits for them.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
