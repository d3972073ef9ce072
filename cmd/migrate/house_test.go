package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// house says which of our packages each package may import: downwards only.
// A name that ends in /... also stands for the packages inside; the first that
// fits counts.
var house = []struct {
	pkg  string
	from []string
}{
	{"migrate/cmd/...", []string{"migrate/..."}},
	{"migrate/orchestrator/process", nil},
	{"migrate/orchestrator", []string{"migrate/orchestrator/process", "migrate/nginx", "migrate/app/redact"}},
	{"migrate/nginx/...", []string{"migrate/nginx"}},
	{"migrate/static/...", nil},
	{"migrate/scripts/...", nil}, // tools of the tests: no part of the product
	{"migrate/app/load", nil},    // knows a service by its HTTP face alone
	{"migrate/app/task", nil},
	{"migrate/app/record", nil}, // knows no database
	{"migrate/app/redact", nil}, // what every side may use
	{"migrate/app/store", nil},  // generic over the record, as what stands on it is
	{"migrate/app/store/...", []string{"migrate/app/store/...", "migrate/app/task", "migrate/app/redact"}},
	{"migrate/app/migration", []string{"migrate/app/store"}},
	{"migrate/app/web", []string{"migrate/app/migration", "migrate/app/store", "migrate/app/task", "migrate/app/redact", "migrate/static"}},
	{"migrate/app", []string{"migrate/app/web", "migrate/app/migration", "migrate/app/store/...", "migrate/app/task", "migrate/static"}},
	{"migrate/app/published", []string{"migrate/app", "migrate/app/web", "migrate/app/migration", "migrate/app/store/...", "migrate/app/task"}},
}

// mayImport reports whether one of our packages may import another; known is
// false for one that has no place in the house.
func mayImport(pkg, imported string) (may, known bool) {
	for _, h := range house {
		if fits(pkg, h.pkg) {
			return slices.ContainsFunc(h.from, func(from string) bool { return fits(imported, from) }), true
		}
	}
	return false, false
}

func fits(pkg, pattern string) bool {
	tree, all := strings.CutSuffix(pattern, "/...")
	return pkg == tree || all && strings.HasPrefix(pkg, tree+"/")
}

// Who may import whom: downwards only.
func TestImportsGoDownwards(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}}: {{join .Imports " "}}`, "migrate/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		pkg, imports, _ := strings.Cut(strings.TrimSpace(line), ":")
		seen++
		if _, known := mayImport(pkg, ""); !known {
			t.Errorf("%s has no place in the house: say what it may import", pkg)
			continue
		}
		for i := range strings.FieldsSeq(imports) {
			if may, _ := mayImport(pkg, i); !may && fits(i, "migrate/...") {
				t.Errorf("%s must not import %s", pkg, i)
			}
		}
	}
	if seen < len(house) {
		t.Errorf("only %d packages were looked at", seen)
	}
}

func TestTheRuleOfImports(t *testing.T) {
	for _, c := range []struct {
		pkg, imported string
		may           bool
	}{
		{"migrate/cmd/migrate", "migrate/app", true},
		{"migrate/cmd/migrate", "migrate/orchestrator", true},
		{"migrate/orchestrator", "migrate/nginx", true},
		{"migrate/app", "migrate/app/web", true},
		{"migrate/app", "migrate/app/store/sqlite", true},
		{"migrate/app/web", "migrate/app/migration", true},
		{"migrate/app/migration", "migrate/app/store", true},
		{"migrate/app/store/sqlite", "migrate/app/task", true},
		{"migrate/app/store/memory", "migrate/app/store/storetest", true},

		{"migrate/app/store/sqlite", "migrate/app/web", false},
		{"migrate/app/store/mongo", "migrate/app/migration", false},
		{"migrate/app/store/memory", "migrate/app", false},
		{"migrate/app/store/embeddedmongo", "migrate/app/migration", false},
		{"migrate/app/store/storetest", "migrate/orchestrator", false},
		{"migrate/app/store", "migrate/app/task", false},
		{"migrate/app/store", "migrate/app/store/sqlite", false},
		{"migrate/app/task", "migrate/app/store", false},
		{"migrate/app/migration", "migrate/app/task", false}, // generic over the record
		{"migrate/app/migration", "migrate/app/store/sqlite", false},
		{"migrate/app/migration", "migrate/app/web", false},
		{"migrate/orchestrator", "migrate/app/redact", true},
		{"migrate/app/web", "migrate/app/redact", true},
		{"migrate/app/redact", "migrate/app/store", false},
		{"migrate/app/migration", "migrate/app/redact", false},
		{"migrate/app/web", "migrate/app", false},
		{"migrate/app/web", "migrate/app/store/mongo", false},
		{"migrate/app/web", "migrate/cmd/migrate/demo", false},
		{"migrate/app", "migrate/orchestrator/process", false},
		{"migrate/app", "migrate/cmd/migrate/doctor", false},
		{"migrate/app", "migrate/app/published", false},
		{"migrate/app/load", "migrate/app", false},
		{"migrate/orchestrator", "migrate/app/task", false},
		{"migrate/orchestrator", "migrate/cmd/migrate/demo", false},
		{"migrate/orchestrator/process", "migrate/orchestrator", false},
		{"migrate/nginx", "migrate/orchestrator/process", false},
		{"migrate/nginx/nginxtest", "migrate/app", false},
		{"migrate/static", "migrate/app/web", false},
	} {
		may, known := mayImport(c.pkg, c.imported)
		if !known {
			t.Errorf("%s has no place in the house", c.pkg)
		}
		if may != c.may {
			t.Errorf("%s may import %s: %v, want %v", c.pkg, c.imported, may, c.may)
		}
	}
	if _, known := mayImport("migrate/util", ""); known {
		t.Error("a package without a place in the house goes unseen")
	}
}
