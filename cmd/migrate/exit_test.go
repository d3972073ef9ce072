package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each exit code is one that the program itself has ended with in some script.
func TestEveryExitCodeIsDriven(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "exit.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]string{} // by name
	ast.Inspect(f, func(n ast.Node) bool {
		if c, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(c.Names[0].Name, "exit") && len(c.Values) == 1 {
			if value, ok := c.Values[0].(*ast.BasicLit); ok {
				codes[c.Names[0].Name] = value.Value
			}
		}
		return true
	})
	if len(codes) < 8 || codes["exitDiffers"] != "7" {
		t.Fatalf("only %v were found: look at how they are declared", codes)
	}
	files, err := filepath.Glob(filepath.Join("testdata", "script", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var scripts strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		scripts.Write(text)
		scripts.WriteByte('\n')
	}
	driven := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^(?:code (\d+)|exec) migrate `).FindAllStringSubmatch(scripts.String(), -1) {
		if m[1] == "" {
			m[1] = "0" // exec takes nothing else
		}
		driven[m[1]] = true
	}
	for name, code := range codes {
		if !driven[code] {
			t.Errorf("no script drives the program to %s: a line such as: code %s migrate …", name, code)
		}
		delete(driven, code)
	}
	for code := range driven {
		t.Errorf("scripts want exit code %s, which exit.go doesn't name", code)
	}
}
