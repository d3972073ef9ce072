package main

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
)

// coverage is which pieces of a package's files the tests run.
type coverage map[string][]block // by base name

type block struct {
	fromLine, fromCol, toLine, toCol int
	run                              bool
}

// parseCoverage reads a profile as go test writes it.
func parseCoverage(profile string) (coverage, error) {
	c := coverage{}
	lines := bufio.NewScanner(strings.NewReader(profile))
	for lines.Scan() {
		text := lines.Text()
		if strings.HasPrefix(text, "mode: ") {
			continue
		}
		name, rest, ok := strings.Cut(text, ":")
		var b block
		var statements int
		var count string
		if _, err := fmt.Sscanf(strings.NewReplacer(".", " ", ",", " ").Replace(rest), "%d %d %d %d %d %s",
			&b.fromLine, &b.fromCol, &b.toLine, &b.toCol, &statements, &count); err != nil || !ok {
			return nil, fmt.Errorf("the coverage profile has a line that can't be read: %q", text)
		}
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the coverage profile has a line that can't be read: %q", text)
		}
		b.run = n > 0
		c[filepath.Base(name)] = append(c[filepath.Base(name)], b)
	}
	return c, lines.Err()
}

// covers reports whether a test runs what stands at a place.
func (c coverage) covers(file string, line, col int) bool {
	for _, b := range c[file] {
		after := line > b.fromLine || line == b.fromLine && col >= b.fromCol
		before := line < b.toLine || line == b.toLine && col <= b.toCol
		if b.run && after && before {
			return true
		}
	}
	return false
}

// counter returns the offset at which a coverage profile counts what stands at
// another one. No block of a profile holds a case with its condition, only what
// follows: it is run when its switch is.
func (s source) counter(offset int) int {
	at := offset
	ast.Inspect(s.file, func(n ast.Node) bool {
		var clauses []ast.Stmt
		switch n := n.(type) {
		case *ast.SwitchStmt:
			clauses = n.Body.List
		case *ast.TypeSwitchStmt:
			clauses = n.Body.List
		case *ast.SelectStmt:
			clauses = n.Body.List
		}
		for _, c := range clauses {
			if s.offset(c.Pos()) <= offset && offset < s.offset(colon(c)) {
				at = s.offset(n.Pos())
			}
		}
		return true
	})
	return at
}

// colon is where a clause's condition ends.
func colon(clause ast.Stmt) token.Pos {
	switch c := clause.(type) {
	case *ast.CaseClause:
		return c.Colon
	case *ast.CommClause:
		return c.Colon
	}
	return clause.Pos()
}
