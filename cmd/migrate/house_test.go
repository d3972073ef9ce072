package main

import (
	"os/exec"
	"strings"
	"testing"
)

// Who may import whom: downwards only.
func TestImportsGoDownwards(t *testing.T) {
	forbidden := map[string][]string{
		"migrate/app/task":      {"migrate/"},
		"migrate/app/store":     {"migrate/"},
		"migrate/app/migration": {"migrate/app/task", "migrate/app/web", "migrate/app/store/", "migrate/orchestrator", "migrate/nginx", "migrate/cmd"},
		"migrate/app":           {"migrate/orchestrator", "migrate/nginx", "migrate/cmd"},
		"migrate/orchestrator":  {"migrate/app", "migrate/cmd"},
		"migrate/nginx":         {"migrate/app", "migrate/orchestrator", "migrate/cmd"},
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}}: {{join .Imports " "}}`, "migrate/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		pkg, imports, _ := strings.Cut(strings.TrimSpace(line), ": ")
		for from, to := range forbidden {
			inside := pkg == from || from == "migrate/app" && strings.HasPrefix(pkg, "migrate/app/") ||
				from == "migrate/orchestrator" && strings.HasPrefix(pkg, "migrate/orchestrator/")
			if !inside {
				continue
			}
			seen++
			for i := range strings.FieldsSeq(imports) {
				for _, f := range to {
					if strings.HasPrefix(i, f) {
						t.Errorf("%s must not import %s", pkg, i)
					}
				}
			}
		}
	}
	if seen < len(forbidden) {
		t.Errorf("only %d packages were looked at", seen)
	}
}
