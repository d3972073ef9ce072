package app

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Another module uses the packages by a replace directive, and walks a
// declaration of its own. Nothing is fetched: what the packages need is here.
func TestAnotherModule(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	read := func(path string) string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	line, rest, _ := strings.Cut(read(filepath.Join(root, "go.mod")), "\n")
	module := strings.TrimPrefix(line, "module ")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  fmt.Sprintf("module shop.example/walk\n%s\nrequire %s v0.0.0\nreplace %s => %s\n", rest, module, module, root),
		"go.sum":  read(filepath.Join(root, "go.sum")),
		"main.go": read(filepath.Join("testdata", "module", "main.go")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", "walk", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "walk"), dir).CombinedOutput()
	if err != nil || string(out) != "walked\n" {
		t.Errorf("%v: %s", err, out)
	}
}
