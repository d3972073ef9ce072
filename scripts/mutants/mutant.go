package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// A mutant is the package with one piece of its source replaced.
type mutant struct {
	file string // its base name
	fn   string // the function that holds it, with the receiver's type
	kind string
	what string // what is replaced, as a person finds it; long texts are cut
	nth  int    // from 1: equal ones of one function are told apart
	line int

	from, to int    // what is replaced, as offsets in the file
	with     string // what stands there instead

	covered  bool // a test runs the piece
	explored bool // the tests that take longest do, too
}

// key names a mutant for as long as its function has the same pieces, whatever
// happens to the lines around it.
func (m mutant) key() string {
	key := fmt.Sprintf("%s %s %s: %s", m.file, m.fn, m.kind, m.what)
	if m.nth > 1 {
		key += fmt.Sprintf(" (%d)", m.nth)
	}
	return key
}

// source is one parsed file of the package.
type source struct {
	name string
	text string
	file *ast.File
	pos  *token.File
}

func (s source) offset(p token.Pos) int { return s.pos.Offset(p) }

func (s source) snippet(n ast.Node) string {
	return brief(s.text[s.offset(n.Pos()):s.offset(n.End())])
}

// brief puts a text on one line that a person can still read.
func brief(text string) string {
	const most = 80
	line := strings.Join(strings.Fields(text), " ")
	if runes := []rune(line); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return line
}

// functionAt returns the declared function whose body holds an offset.
func (s source) functionAt(offset int) *ast.FuncDecl {
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil && s.offset(f.Body.Lbrace) < offset && offset < s.offset(f.Body.Rbrace) {
			return f
		}
	}
	return nil
}

// functionName is NAME, or TYPE.NAME for a method.
func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return f.Name.Name
	}
	t := f.Recv.List[0].Type
	for {
		switch e := t.(type) {
		case *ast.StarExpr:
			t = e.X
		case *ast.IndexExpr:
			t = e.X
		case *ast.IndexListExpr:
			t = e.X
		case *ast.Ident:
			return e.Name + "." + f.Name.Name
		default:
			return f.Name.Name
		}
	}
}

// number sorts mutants by place, leaves out those that are the same in all but
// the kind, and tells equal keys apart.
func number(ms []mutant) []mutant {
	slices.SortFunc(ms, func(a, b mutant) int {
		if a.file != b.file {
			return strings.Compare(a.file, b.file)
		}
		if a.from != b.from {
			return a.from - b.from
		}
		return strings.Compare(a.kind, b.kind)
	})
	var out []mutant
	seen := map[string]int{}
	for i, m := range ms {
		if i > 0 && slices.ContainsFunc(ms[max(0, i-4):i], func(o mutant) bool {
			return o.file == m.file && o.from == m.from && o.to == m.to && o.with == m.with
		}) {
			continue
		}
		m.nth = 1
		seen[m.key()]++
		m.nth = seen[m.key()]
		out = append(out, m)
	}
	return out
}
