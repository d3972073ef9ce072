package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// pkg is the package whose tests are tried.
type pkg struct {
	path    string // as the go command takes it
	dir     string
	name    string
	sources []source
	tests   []string // files
}

// load reads a package's files.
func load(ctx context.Context, path string) (*pkg, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-json=Dir,Name,GoFiles,TestGoFiles,XTestGoFiles", path).Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", path, err)
	}
	var l struct {
		Dir, Name                          string
		GoFiles, TestGoFiles, XTestGoFiles []string
	}
	if err := json.Unmarshal(out, &l); err != nil {
		return nil, err
	}
	p := &pkg{path: path, dir: l.Dir, name: l.Name}
	for _, name := range l.GoFiles {
		text, err := os.ReadFile(filepath.Join(p.dir, name))
		if err != nil {
			return nil, err
		}
		s, err := parse(name, string(text))
		if err != nil {
			return nil, err
		}
		p.sources = append(p.sources, s)
	}
	for _, name := range slices.Concat(l.TestGoFiles, l.XTestGoFiles) {
		p.tests = append(p.tests, filepath.Join(p.dir, name))
	}
	return p, nil
}

func parse(name, text string) (source, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	var at *token.File
	set.Iterate(func(f *token.File) bool { at = f; return false })
	return source{name: name, text: text, file: file, pos: at}, nil
}

// mutants returns all mutants of the package, by place.
func (p *pkg) mutants(f found, short, long coverage) ([]mutant, error) {
	var all []mutant
	for _, s := range p.sources {
		ms, err := f.in(s)
		if err != nil {
			return nil, err
		}
		ms = append(ms, deletions(s)...)
		for i := range ms {
			at := s.pos.Position(s.pos.Pos(s.counter(ms[i].from)))
			ms[i].explored = long.covers(s.name, at.Line, at.Column)
			ms[i].covered = ms[i].explored || short.covers(s.name, at.Line, at.Column)
		}
		all = append(all, ms...)
	}
	return number(all), nil
}

// errNoMutant is a build that fails for another reason than a mutant.
var errNoMutant = errors.New("the package with its mutants does not build")

// build makes one test binary that holds all mutants that compile; those that
// don't are named in bad. The id of a mutant is its position plus 1.
func (p *pkg) build(ctx context.Context, ms []mutant, tmp string) (binary string, bad map[int]bool, err error) {
	binary, bad = filepath.Join(tmp, "mutants.test"), map[int]bool{}
	for {
		if err := p.overlay(ms, bad, tmp); err != nil {
			return "", nil, err
		}
		text, err := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-gcflags=-e", "-overlay="+filepath.Join(tmp, "overlay.json"), "-o", binary, p.path).CombinedOutput()
		if err == nil {
			return binary, bad, nil
		}
		if ctx.Err() != nil {
			return "", nil, ctx.Err()
		}
		blamed := blame(string(text))
		if len(blamed) == 0 {
			return "", nil, fmt.Errorf("%w: %w\n%s", errNoMutant, err, text)
		}
		for _, id := range blamed {
			bad[id] = true
		}
	}
}

var complaint = regexp.MustCompile(`(?m)(?:^|/)mutant(\d+):\d+`)

// blame returns the ids of the mutants that a compiler complains of.
func blame(output string) []int {
	var ids []int
	for _, m := range complaint.FindAllStringSubmatch(output, -1) {
		if id, err := strconv.Atoi(m[1]); err == nil && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// overlay writes the woven files, and what tells the go command to take them.
func (p *pkg) overlay(ms []mutant, bad map[int]bool, tmp string) error {
	replace := map[string]string{}
	put := func(name, text string) error {
		file := filepath.Join(tmp, name)
		replace[filepath.Join(p.dir, name)] = file
		return os.WriteFile(file, []byte(text), 0o600)
	}
	for _, s := range p.sources {
		var here []mutant
		var ids []int
		for i, m := range ms {
			if m.file == s.name && !bad[i+1] {
				here, ids = append(here, m), append(ids, i+1)
			}
		}
		if err := put(s.name, weave(s, here, ids)); err != nil {
			return err
		}
	}
	if err := put("acting_mutant.go", fmt.Sprintf(switchFile, p.name)); err != nil {
		return err
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(tmp, "overlay.json"), b, 0o600)
}

// functionText returns the source of the function that holds a mutant.
func (p *pkg) functionText(m mutant) string {
	for _, s := range p.sources {
		if s.name != m.file {
			continue
		}
		if f := s.functionAt(m.from); f != nil {
			return textOf(s, f)
		}
	}
	return ""
}

func textOf(s source, n ast.Node) string {
	return strings.TrimSpace(s.text[s.offset(n.Pos()):s.offset(n.End())])
}
