package main

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// swaps are what gremlins v0.6.0 replaces by what, by kind (its tokenMutations).
var swaps = map[string]map[token.Token]token.Token{
	"ARITHMETIC_BASE": {
		token.ADD: token.SUB, token.MUL: token.QUO, token.QUO: token.MUL, token.REM: token.MUL, token.SUB: token.ADD,
	},
	"CONDITIONALS_BOUNDARY": {
		token.GEQ: token.GTR, token.GTR: token.GEQ, token.LEQ: token.LSS, token.LSS: token.LEQ,
	},
	"CONDITIONALS_NEGATION": {
		token.EQL: token.NEQ, token.GEQ: token.LSS, token.GTR: token.LEQ, token.LEQ: token.GTR, token.LSS: token.GEQ, token.NEQ: token.EQL,
	},
	"INCREMENT_DECREMENT": {token.DEC: token.INC, token.INC: token.DEC},
	"INVERT_ASSIGNMENTS": {
		token.ADD_ASSIGN: token.SUB_ASSIGN, token.MUL_ASSIGN: token.QUO_ASSIGN, token.QUO_ASSIGN: token.MUL_ASSIGN, token.SUB_ASSIGN: token.ADD_ASSIGN,
	},
	"INVERT_LOGICAL":   {token.LAND: token.LOR, token.LOR: token.LAND},
	"INVERT_LOOPCTRL":  {token.BREAK: token.CONTINUE, token.CONTINUE: token.BREAK},
	"INVERT_NEGATIVES": {token.SUB: token.ADD},
	"REMOVE_SELF_ASSIGNMENTS": {
		token.ADD_ASSIGN: token.ASSIGN, token.MUL_ASSIGN: token.ASSIGN, token.QUO_ASSIGN: token.ASSIGN, token.SUB_ASSIGN: token.ASSIGN,
	},
}

// more are the kinds that gremlins leaves out unless it is asked for them.
var more = []string{"--invert-logical", "--invert-loopctrl", "--invert-assignments", "--remove-self-assignments"}

// found is what gremlins writes about a package.
type found struct {
	Files []foundIn
}

type foundIn struct {
	Name      string `json:"file_name"`
	Mutations []place
}

type place struct {
	Type         string
	Line, Column int
}

// gremlins asks gremlins which mutants a package has. It tries none of them,
// since it would build and run the tests once a mutant.
func gremlins(ctx context.Context, pkg, tmp string) (found, error) {
	var f found
	out := filepath.Join(tmp, "gremlins.json")
	args := append([]string{"tool", "-modfile=scripts/tools/go.mod", "gremlins", "unleash", "--dry-run", "--silent", "--output", out}, more...)
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Env = append(os.Environ(), "GOFLAGS=-run=^$") // what is covered we find out ourselves
	if text, err := cmd.CombinedOutput(); err != nil {
		return f, fmt.Errorf("gremlins: %w\n%s", err, text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal(b, &f)
}

// in turns what gremlins found in one file into mutants.
func (f found) in(s source) ([]mutant, error) {
	var out []mutant
	for _, file := range f.Files {
		if filepath.Base(file.Name) != s.name {
			continue
		}
		for _, m := range file.Mutations {
			from := s.offset(s.pos.LineStart(m.Line)) + m.Column - 1
			fn := s.functionAt(from)
			if fn == nil {
				continue // a constant, or a variable of the package: no code that is run
			}
			tok, holder := operatorAt(s, from)
			with, ok := swaps[m.Type][tok]
			if !ok {
				return nil, fmt.Errorf("gremlins names a %s at %s:%d:%d, where the source has %q", m.Type, s.name, m.Line, m.Column, tok)
			}
			out = append(out, mutant{
				file: s.name, fn: functionName(fn), kind: m.Type, what: s.snippet(holder), line: m.Line,
				from: from, to: from + len(tok.String()), with: with.String(),
			})
		}
	}
	return out, nil
}

// operatorAt returns the operator at an offset, and what it belongs to.
func operatorAt(s source, offset int) (tok token.Token, holder ast.Node) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		at, t := token.NoPos, token.ILLEGAL
		switch n := n.(type) {
		case *ast.BinaryExpr:
			at, t = n.OpPos, n.Op
		case *ast.UnaryExpr:
			at, t = n.OpPos, n.Op
		case *ast.AssignStmt:
			at, t = n.TokPos, n.Tok
		case *ast.IncDecStmt:
			at, t = n.TokPos, n.Tok
		case *ast.BranchStmt:
			at, t = n.TokPos, n.Tok
		}
		if at.IsValid() && s.offset(at) == offset {
			tok, holder = t, n
		}
		return true
	})
	return tok, holder
}

// kinds names the kinds of gremlins' mutants for people.
func kinds() string {
	names := make([]string, 0, len(swaps))
	for k := range swaps {
		names = append(names, strings.ToLower(strings.ReplaceAll(k, "_", " ")))
	}
	return strings.Join(sorted(names), ", ")
}
