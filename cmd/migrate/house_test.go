package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"regexp"
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
	{"migrate/app/record", nil},                           // knows no database
	{"migrate/app/redact", nil},                           // what every side may use
	{"migrate/app/store", []string{"migrate/app/record"}}, // knows no service and no database
	{"migrate/app/store/...", []string{"migrate/app/store/...", "migrate/app/record", "migrate/app/task", "migrate/app/redact"}},
	{"migrate/app/driver", []string{"migrate/app/store", "migrate/app/store/sqlite", "migrate/app/store/mongo", "migrate/app/record", "migrate/app/redact"}}, // all that knows which products there are
	{"migrate/app/migration", []string{"migrate/app/store", "migrate/app/record"}},
	{"migrate/app/todo", []string{"migrate/app/migration", "migrate/app/store", "migrate/app/record", "migrate/app/task"}},
	{"migrate/app/web", []string{"migrate/app/migration", "migrate/app/store", "migrate/app/task", "migrate/app/todo", "migrate/app/redact", "migrate/static"}},
	{"migrate/app", []string{"migrate/app/web", "migrate/app/migration", "migrate/app/driver", "migrate/app/store", "migrate/app/record", "migrate/app/task", "migrate/app/todo", "migrate/static"}},
	{"migrate/app/published", []string{"migrate/app", "migrate/app/web", "migrate/app/migration", "migrate/app/store/...", "migrate/app/task", "migrate/app/todo"}},
}

// products are what only a driver may name, and the commands that start, show or
// demonstrate one by name.
var products = regexp.MustCompile(`(?i)sqlite|mongo|postgres|--mongo-uri`)

// What stands above a driver names no product: neither the protocol nor the
// orchestrator, in no text and no name. Comments may.
func TestNoProductAboveADriver(t *testing.T) {
	looked := 0
	for _, folder := range []string{"../../app/migration", "../../orchestrator", "../../app/store/store.go", "../../app/store/legacy.go"} {
		err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			looked++
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				text := ""
				switch n := n.(type) {
				case *ast.BasicLit:
					text = n.Value
				case *ast.Ident:
					text = n.Name
				}
				if products.MatchString(text) {
					t.Errorf("%s: %s", set.Position(n.Pos()), text)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if looked < 30 {
		t.Errorf("only %d files were looked at", looked)
	}
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
		{"migrate/app", "migrate/app/driver", true},
		{"migrate/app/driver", "migrate/app/store/sqlite", true},
		{"migrate/app", "migrate/app/store/sqlite", false},
		{"migrate/app/migration", "migrate/app/driver", false},
		{"migrate/app/web", "migrate/app/driver", false},
		{"migrate/orchestrator", "migrate/app/driver", false},
		{"migrate/app/store/sqlite", "migrate/app/driver", false},
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
		{"migrate/app/record", "migrate/app/store", false},
		{"migrate/app/store", "migrate/app/record", true},
		{"migrate/app/todo", "migrate/app/migration", true},
		{"migrate/app/migration", "migrate/app/todo", false},
		{"migrate/app/todo", "migrate/app/web", false},
		{"migrate/app/migration", "migrate/app/task", false}, // knows no service
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
