package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"strings"
)

// switchFile is the file that says which mutant acts. It is added to the
// package; 0 is the package as it is.
const switchFile = `package %s

import (
	"os"
	"strconv"
)

var actingMutant, _ = strconv.Atoi(os.Getenv("` + actingVariable + `"))
`

const actingVariable = "MIGRATE_MUTANT"

// weave returns a file in which every function that has mutants also holds a
// copy of its body for each of them, and begins by choosing one. So all mutants
// need one build. ids are by position in ms.
//
// A copy is a function of its own, with the same parameters and results. Its
// lines are said to be of a file mutantID, by which the compiler's complaints
// are told apart.
func weave(s source, ms []mutant, ids []int) string {
	var out bytes.Buffer
	last := 0
	for _, d := range s.file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		open, end := s.offset(f.Body.Lbrace), s.offset(f.Body.Rbrace)
		var copies bytes.Buffer
		for i, m := range ms {
			if open < m.from && m.from < end {
				fmt.Fprintf(&copies, "\ncase %d:\n%s", ids[i], call(s, f, ids[i], s.text[open:m.from]+m.with+s.text[m.to:end+1]))
			}
		}
		if copies.Len() == 0 {
			continue
		}
		out.WriteString(s.text[last : open+1])
		fmt.Fprintf(&out, "\nswitch actingMutant {%s\n}\n//line %s:%d\n", copies.String(), s.name, s.pos.Line(f.Body.Lbrace))
		last = open + 1
	}
	out.WriteString(s.text[last:])
	return out.String()
}

// call is the statement that runs another body in place of f's.
func call(s source, f *ast.FuncDecl, id int, body string) string {
	var params, args []string
	for _, field := range f.Type.Params.List {
		typ := s.text[s.offset(field.Type.Pos()):s.offset(field.Type.End())]
		for _, name := range field.Names {
			if name.Name == "_" {
				continue
			}
			params = append(params, name.Name+" "+typ)
			if _, ok := field.Type.(*ast.Ellipsis); ok {
				args = append(args, name.Name+"...")
			} else {
				args = append(args, name.Name)
			}
		}
	}
	results, before, after := "", "", "\nreturn"
	if r := f.Type.Results; r != nil {
		results, before, after = s.text[s.offset(r.Pos()):s.offset(r.End())], "return ", ""
	}
	return fmt.Sprintf("%sfunc(%s) %s /*line mutant%d:1:1*/%s(%s)%s", before, strings.Join(params, ", "), results, id, body, strings.Join(args, ", "), after)
}
