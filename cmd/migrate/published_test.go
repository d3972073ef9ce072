package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The broken variant of the whole: the same walk under the same load, with the
// pattern as it is usually built, has faults, and the load sees them. Which
// ones is chance, and a run without any is conceivable.
func TestDemoAsPublishedLoses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for range 3 {
		out, errs, code := s.run("demo", "--as-published")
		t.Logf("\n%s", out)
		if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("the folder was left behind: %v\n%s", err, errs)
		}
		last := regexp.MustCompile(`(?m)^acknowledged (\d+), lost (\d+), stale (\d+), failed (\d+)$`).FindStringSubmatch(out)
		if last == nil || !strings.Contains(out, "lost 0, stale 0, failed 0 (migrate demo)") {
			t.Fatalf("exit %d, and no last lines as they should be:\n%s%s", code, out, errs)
		}
		var acknowledged, lost, stale, failed int
		if _, err := fmt.Sscan(strings.Join(last[1:], " "), &acknowledged, &lost, &stale, &failed); err != nil {
			t.Fatal(err)
		}
		if lost+stale > 0 && code != 7 {
			t.Errorf("exit %d, want 7 after %s", code, last[0])
		}
		if lost+stale+failed > 0 {
			return
		}
	}
	t.Error("three walks of the published pattern without a fault: the load does not see what it is there for")
}

func TestDemoAsPublishedIsNotKept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.refused(2, []string{"--as-published"}, "demo", "--as-published", "--keep")
}
