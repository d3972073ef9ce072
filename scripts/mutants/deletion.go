package main

import "go/ast"

// deletionKind is the kind of our own mutants: gremlins deletes no statements.
const deletionKind = "DELETION"

// deletions returns a mutant for each statement without which the file may
// still compile: no declaration and no definition, and no block by itself.
func deletions(s source) []mutant {
	var out []mutant
	add := func(list []ast.Stmt) {
		for _, st := range list {
			if !deletable(st) {
				continue
			}
			from := s.offset(st.Pos())
			f := s.functionAt(from)
			if f == nil {
				continue // of a function that a variable holds
			}
			out = append(out, mutant{
				file: s.name, fn: functionName(f), kind: deletionKind, what: s.snippet(st), line: s.pos.Line(st.Pos()),
				from: from, to: s.offset(st.End()),
			})
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BlockStmt:
			add(n.List)
		case *ast.CaseClause:
			add(n.Body)
		case *ast.CommClause:
			add(n.Body)
		}
		return true
	})
	return out
}

func deletable(st ast.Stmt) bool {
	switch st := st.(type) {
	case *ast.AssignStmt:
		return st.Tok.String() != ":="
	case *ast.DeclStmt, *ast.EmptyStmt, *ast.BlockStmt, *ast.LabeledStmt:
		return false
	}
	return true
}
