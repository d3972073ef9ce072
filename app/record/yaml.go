package record

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Fault is one fault of a declaration in a file.
type Fault struct {
	File         string
	Line, Column int // from 1
	Problem
}

func (f Fault) Error() string {
	return fmt.Sprintf("%s:%d:%d: %v", f.File, f.Line, f.Column, f.Problem)
}

// ReadYAML returns the declaration in a YAML file, checked and with its
// defaults. The error joins every [Fault], in the order of the file. Anchors,
// aliases and tags are refused.
func ReadYAML(file string, text []byte) (Declaration, error) {
	r := reader{file: file, at: map[string]*token.Position{}}
	parsed, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey()) // entries tells of those itself
	if err != nil {
		return Declaration{}, r.syntax(err)
	}
	var d Declaration
	switch docs := parsed.Docs; {
	case len(docs) > 1:
		return d, fmt.Errorf("%s: holds %d YAML documents; want one", file, len(docs))
	case len(docs) == 1 && docs[0].Body != nil:
		d = r.declaration(docs[0].Body)
	}
	if len(r.faults) == 0 { // else the checks would repeat them
		r.check(d.Complete())
	}
	if len(r.faults) > 0 {
		slices.SortStableFunc(r.faults, func(a, b Fault) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		all := make([]error, len(r.faults))
		for n, f := range r.faults {
			all[n] = f
		}
		return Declaration{}, errors.Join(all...)
	}
	return d, nil
}

// reader walks the nodes of one file and notes where each path is.
type reader struct {
	file   string
	at     map[string]*token.Position // by path
	faults []Fault
}

// syntax returns the parser's error with its place in the form of the others.
func (r *reader) syntax(err error) error {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil {
		return fmt.Errorf("%s: %w", r.file, err)
	}
	r.faultAt(at.GetToken().Position, nil, at.GetMessage())
	return r.faults[0]
}

func (r *reader) fault(node ast.Node, path []string, format string, args ...any) {
	r.faultAt(node.GetToken().Position, path, fmt.Sprintf(format, args...))
}

func (r *reader) faultAt(at *token.Position, path []string, text string) {
	f := Fault{File: r.file, Line: 1, Column: 1, Problem: Problem{Path: slices.Clone(path), Text: text}}
	if at != nil {
		f.Line, f.Column = at.Line, at.Column
	}
	r.faults = append(r.faults, f)
}

// check adds the problems of [Declaration.Complete], each at its place or at
// the nearest one around it.
func (r *reader) check(err error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return
	}
	for _, err := range joined.Unwrap() {
		var p Problem
		if !errors.As(err, &p) {
			continue
		}
		path := p.Path
		for len(path) > 0 && r.at[key(path)] == nil {
			path = path[:len(path)-1]
		}
		r.faultAt(r.at[key(path)], p.Path, p.Text)
	}
}

func key(path []string) string { return strings.Join(path, "\x00") }

func (r *reader) declaration(node ast.Node) (d Declaration) {
	r.mapping(node, nil, map[string]func(ast.Node, []string){
		"old":         func(n ast.Node, at []string) { d.Old = r.text(n, at) },
		"new":         func(n ast.Node, at []string) { d.New = r.text(n, at) },
		"collections": func(n ast.Node, at []string) { d.Collections = r.collections(n, at) },
	})
	return d
}

func (r *reader) collections(node ast.Node, at []string) (all []Collection) {
	r.named(node, at, "a collection", func(name string, n ast.Node, at []string) {
		c := Collection{Name: name}
		r.mapping(n, at, map[string]func(ast.Node, []string){
			"table":  func(n ast.Node, at []string) { c.Table = r.text(n, at) },
			"id":     func(n ast.Node, at []string) { c.ID = r.texts(n, at) },
			"fields": func(n ast.Node, at []string) { c.Fields = r.fields(n, at) },
			"lists": func(n ast.Node, at []string) {
				r.sequence(n, at, func(n ast.Node, at []string) { c.Lists = append(c.Lists, r.texts(n, at)) })
			},
		})
		all = append(all, c)
	})
	return all
}

func (r *reader) fields(node ast.Node, at []string) (all []Field) {
	r.named(node, at, "a field", func(name string, n ast.Node, at []string) {
		f := Field{Name: name}
		if isScalar(n) {
			f.Type = r.typ(n, at)
		} else {
			r.field(&f, n, at)
		}
		all = append(all, f)
	})
	return all
}

func (r *reader) field(f *Field, node ast.Node, at []string) {
	r.mapping(node, at, map[string]func(ast.Node, []string){
		"type":   func(n ast.Node, at []string) { f.Type = r.typ(n, at) },
		"column": func(n ast.Node, at []string) { f.Column = r.text(n, at) },
		"null":   func(n ast.Node, at []string) { f.NotNull = !r.boolean(n, at) },
		"as":     func(n ast.Node, at []string) { f.As = r.text(n, at) },
		"true":   func(n ast.Node, at []string) { f.True = r.text(n, at) },
		"false":  func(n ast.Node, at []string) { f.False = r.text(n, at) },
		"stored": func(n ast.Node, at []string) { f.Stored = r.text(n, at) },
		"loose":  func(n ast.Node, at []string) { f.Loose = r.boolean(n, at) },
	})
}

// mapping calls the function of each key; a key that has none is a fault, and
// so is one that is there twice.
func (r *reader) mapping(node ast.Node, at []string, keys map[string]func(ast.Node, []string)) {
	var names []string
	for name := range keys {
		names = append(names, name)
	}
	slices.Sort(names)
	r.entries(node, at, "one of the keys "+strings.Join(names, ", "), func(name string, value *ast.MappingValueNode, at []string) {
		read := keys[name]
		if read == nil {
			r.fault(value.Key, at, "is no key here%s; the keys are %s", nearest(name, names), strings.Join(names, ", "))
			return
		}
		read(value.Value, at)
	})
}

// named calls the function with each name of a mapping from names.
func (r *reader) named(node ast.Node, at []string, what string, read func(string, ast.Node, []string)) {
	r.entries(node, at, "the name of "+what, func(name string, value *ast.MappingValueNode, at []string) {
		read(name, value.Value, at)
	})
}

func (r *reader) entries(node ast.Node, at []string, what string, read func(string, *ast.MappingValueNode, []string)) {
	mapping, ok := node.(*ast.MappingNode)
	if !ok {
		r.fault(node, at, "want a mapping, each key %s, not %s", what, describe(node))
		return
	}
	seen := map[string]bool{}
	for _, value := range mapping.Values {
		name := value.Key.GetToken().Value
		at := append(slices.Clone(at), name)
		if seen[name] {
			r.fault(value.Key, at, "is there twice")
			continue
		}
		seen[name] = true
		r.at[key(at)] = value.Key.GetToken().Position
		if _, ok := value.Key.(ast.ScalarNode); !ok {
			r.fault(value.Key, at, "%s can't be a key here", describe(value.Key))
			continue
		}
		read(name, value, at)
	}
}

func (r *reader) sequence(node ast.Node, at []string, read func(ast.Node, []string)) {
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		r.fault(node, at, "want a list, not %s", describe(node))
		return
	}
	for n, value := range list.Values {
		at := append(slices.Clone(at), strconv.Itoa(n))
		r.at[key(at)] = value.GetToken().Position
		read(value, at)
	}
}

// texts reads one text, or a list of texts.
func (r *reader) texts(node ast.Node, at []string) (all []string) {
	if isScalar(node) {
		return []string{r.text(node, at)}
	}
	r.sequence(node, at, func(n ast.Node, at []string) { all = append(all, r.text(n, at)) })
	return all
}

// text reads a text. A number or a truth value is the text that is in the
// file: a table may be called 2024.
func (r *reader) text(node ast.Node, at []string) string {
	if literal, ok := node.(*ast.LiteralNode); ok {
		return literal.Value.Value
	}
	if !isScalar(node) {
		r.fault(node, at, "want a text, not %s", describe(node))
		return ""
	}
	s := node.GetToken().Value
	if s == "" {
		r.fault(node, at, "is empty; leave the key out for the default")
	}
	return s
}

func (r *reader) boolean(node ast.Node, at []string) bool {
	b, ok := node.(*ast.BoolNode)
	if !ok {
		r.fault(node, at, "want true or false, not %s", describe(node))
		return true
	}
	return b.Value
}

func (r *reader) typ(node ast.Node, at []string) Type {
	name := r.text(node, at)
	t, ok := ParseType(name)
	if !ok && name != "" {
		r.fault(node, at, "%q is no type%s; the types are %s", name, nearest(name, TypeNames()), strings.Join(TypeNames(), ", "))
	}
	return t
}

func isScalar(node ast.Node) bool {
	switch node.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return true
	}
	return false
}

// describe names what is in the file in place of what is wanted.
func describe(node ast.Node) string {
	switch node := node.(type) {
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "nothing"
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return "an anchor or alias, which this file can't have"
	case *ast.TagNode:
		return "a tag, which this file can't have"
	default:
		return strconv.Quote(shorten(node.GetToken().Value))
	}
}
