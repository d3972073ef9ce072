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
	{"migrate.invalid/migrate/cmd/...", []string{"migrate.invalid/migrate/..."}},
	{"migrate.invalid/migrate/orchestrator/process", nil},
	{"migrate.invalid/migrate/orchestrator", []string{"migrate.invalid/migrate/orchestrator/process", "migrate.invalid/migrate/nginx", "migrate.invalid/migrate/app/redact"}},
	{"migrate.invalid/migrate/nginx/...", []string{"migrate.invalid/migrate/nginx"}},
	{"migrate.invalid/migrate/static/...", nil},
	{"migrate.invalid/migrate/scripts/bench", []string{"migrate.invalid/migrate/app/store/...", "migrate.invalid/migrate/app/todo"}}, // measures a store beside a bare table
	{"migrate.invalid/migrate/scripts/...", nil}, // tools of the tests: no part of the product
	{"migrate.invalid/migrate/app/load", nil},    // knows a service by its HTTP face alone
	{"migrate.invalid/migrate/app/task", nil},
	{"migrate.invalid/migrate/app/record", nil},                                           // knows no database
	{"migrate.invalid/migrate/app/redact", nil},                                           // what every side may use
	{"migrate.invalid/migrate/app/store", []string{"migrate.invalid/migrate/app/record"}}, // knows no service and no database
	{"migrate.invalid/migrate/app/store/...", []string{"migrate.invalid/migrate/app/store/...", "migrate.invalid/migrate/app/record", "migrate.invalid/migrate/app/task", "migrate.invalid/migrate/app/redact"}},
	{"migrate.invalid/migrate/app/driver", []string{"migrate.invalid/migrate/app/store", "migrate.invalid/migrate/app/store/sqlite", "migrate.invalid/migrate/app/store/mongo", "migrate.invalid/migrate/app/store/postgres", "migrate.invalid/migrate/app/record", "migrate.invalid/migrate/app/redact"}}, // all that knows which products there are
	{"migrate.invalid/migrate/app/migration", []string{"migrate.invalid/migrate/app/store", "migrate.invalid/migrate/app/record"}},
	{"migrate.invalid/migrate/app/todo", []string{"migrate.invalid/migrate/app/migration", "migrate.invalid/migrate/app/store", "migrate.invalid/migrate/app/record", "migrate.invalid/migrate/app/task"}},
	{"migrate.invalid/migrate/app/web", []string{"migrate.invalid/migrate/app/migration", "migrate.invalid/migrate/app/store", "migrate.invalid/migrate/app/task", "migrate.invalid/migrate/app/todo", "migrate.invalid/migrate/app/redact", "migrate.invalid/migrate/static"}},
	{"migrate.invalid/migrate/app", []string{"migrate.invalid/migrate/app/web", "migrate.invalid/migrate/app/migration", "migrate.invalid/migrate/app/driver", "migrate.invalid/migrate/app/store", "migrate.invalid/migrate/app/record", "migrate.invalid/migrate/app/task", "migrate.invalid/migrate/app/todo", "migrate.invalid/migrate/static"}},
	{"migrate.invalid/migrate/app/published", []string{"migrate.invalid/migrate/app", "migrate.invalid/migrate/app/web", "migrate.invalid/migrate/app/migration", "migrate.invalid/migrate/app/store/...", "migrate.invalid/migrate/app/task", "migrate.invalid/migrate/app/todo"}},
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
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}}: {{join .Imports " "}}`, "migrate.invalid/migrate/...").Output()
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
			if may, _ := mayImport(pkg, i); !may && fits(i, "migrate.invalid/migrate/...") {
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
		{"migrate.invalid/migrate/cmd/migrate", "migrate.invalid/migrate/app", true},
		{"migrate.invalid/migrate/cmd/migrate", "migrate.invalid/migrate/orchestrator", true},
		{"migrate.invalid/migrate/orchestrator", "migrate.invalid/migrate/nginx", true},
		{"migrate.invalid/migrate/app", "migrate.invalid/migrate/app/web", true},
		{"migrate.invalid/migrate/app", "migrate.invalid/migrate/app/driver", true},
		{"migrate.invalid/migrate/app/driver", "migrate.invalid/migrate/app/store/sqlite", true},
		{"migrate.invalid/migrate/app", "migrate.invalid/migrate/app/store/sqlite", false},
		{"migrate.invalid/migrate/app/migration", "migrate.invalid/migrate/app/driver", false},
		{"migrate.invalid/migrate/app/web", "migrate.invalid/migrate/app/driver", false},
		{"migrate.invalid/migrate/orchestrator", "migrate.invalid/migrate/app/driver", false},
		{"migrate.invalid/migrate/app/store/sqlite", "migrate.invalid/migrate/app/driver", false},
		{"migrate.invalid/migrate/app/web", "migrate.invalid/migrate/app/migration", true},
		{"migrate.invalid/migrate/app/migration", "migrate.invalid/migrate/app/store", true},
		{"migrate.invalid/migrate/app/store/sqlite", "migrate.invalid/migrate/app/task", true},
		{"migrate.invalid/migrate/app/store/memory", "migrate.invalid/migrate/app/store/storetest", true},

		{"migrate.invalid/migrate/app/store/sqlite", "migrate.invalid/migrate/app/web", false},
		{"migrate.invalid/migrate/app/store/mongo", "migrate.invalid/migrate/app/migration", false},
		{"migrate.invalid/migrate/app/store/memory", "migrate.invalid/migrate/app", false},
		{"migrate.invalid/migrate/app/store/embeddedmongo", "migrate.invalid/migrate/app/migration", false},
		{"migrate.invalid/migrate/app/store/storetest", "migrate.invalid/migrate/orchestrator", false},
		{"migrate.invalid/migrate/app/store", "migrate.invalid/migrate/app/task", false},
		{"migrate.invalid/migrate/app/store", "migrate.invalid/migrate/app/store/sqlite", false},
		{"migrate.invalid/migrate/app/task", "migrate.invalid/migrate/app/store", false},
		{"migrate.invalid/migrate/app/record", "migrate.invalid/migrate/app/store", false},
		{"migrate.invalid/migrate/app/store", "migrate.invalid/migrate/app/record", true},
		{"migrate.invalid/migrate/app/todo", "migrate.invalid/migrate/app/migration", true},
		{"migrate.invalid/migrate/app/migration", "migrate.invalid/migrate/app/todo", false},
		{"migrate.invalid/migrate/app/todo", "migrate.invalid/migrate/app/web", false},
		{"migrate.invalid/migrate/app/migration", "migrate.invalid/migrate/app/task", false}, // knows no service
		{"migrate.invalid/migrate/app/migration", "migrate.invalid/migrate/app/store/sqlite", false},
		{"migrate.invalid/migrate/app/migration", "migrate.invalid/migrate/app/web", false},
		{"migrate.invalid/migrate/orchestrator", "migrate.invalid/migrate/app/redact", true},
		{"migrate.invalid/migrate/app/web", "migrate.invalid/migrate/app/redact", true},
		{"migrate.invalid/migrate/app/redact", "migrate.invalid/migrate/app/store", false},
		{"migrate.invalid/migrate/app/migration", "migrate.invalid/migrate/app/redact", false},
		{"migrate.invalid/migrate/app/web", "migrate.invalid/migrate/app", false},
		{"migrate.invalid/migrate/app/web", "migrate.invalid/migrate/app/store/mongo", false},
		{"migrate.invalid/migrate/app/web", "migrate.invalid/migrate/cmd/migrate/demo", false},
		{"migrate.invalid/migrate/app", "migrate.invalid/migrate/orchestrator/process", false},
		{"migrate.invalid/migrate/app", "migrate.invalid/migrate/cmd/migrate/doctor", false},
		{"migrate.invalid/migrate/app", "migrate.invalid/migrate/app/published", false},
		{"migrate.invalid/migrate/app/load", "migrate.invalid/migrate/app", false},
		{"migrate.invalid/migrate/orchestrator", "migrate.invalid/migrate/app/task", false},
		{"migrate.invalid/migrate/orchestrator", "migrate.invalid/migrate/cmd/migrate/demo", false},
		{"migrate.invalid/migrate/orchestrator/process", "migrate.invalid/migrate/orchestrator", false},
		{"migrate.invalid/migrate/nginx", "migrate.invalid/migrate/orchestrator/process", false},
		{"migrate.invalid/migrate/nginx/nginxtest", "migrate.invalid/migrate/app", false},
		{"migrate.invalid/migrate/static", "migrate.invalid/migrate/app/web", false},
	} {
		may, known := mayImport(c.pkg, c.imported)
		if !known {
			t.Errorf("%s has no place in the house", c.pkg)
		}
		if may != c.may {
			t.Errorf("%s may import %s: %v, want %v", c.pkg, c.imported, may, c.may)
		}
	}
	if _, known := mayImport("migrate.invalid/migrate/util", ""); known {
		t.Error("a package without a place in the house goes unseen")
	}
}
