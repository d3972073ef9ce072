package record

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// reserved is the sub-document in which the protocol keeps its own fields.
const reserved = "_migrate"

// Problem is one fault of a declaration.
type Problem struct {
	Path []string // where it is: keys, and positions in lists counted from 0
	Text string
}

func (p Problem) Error() string {
	if len(p.Path) == 0 {
		return p.Text
	}
	return strings.Join(p.Path, ".") + ": " + p.Text
}

// Complete puts the defaults of a declaration in and checks it. The error
// joins every [Problem].
func (d *Declaration) Complete() error {
	var v validation
	if len(d.Collections) == 0 {
		v.add("there is no collection", "collections")
	}
	tables := map[string]string{}
	for n := range d.Collections {
		c := &d.Collections[n]
		c.fill()
		v.collection(*c)
		if slices.ContainsFunc(d.Collections[:n], func(before Collection) bool { return before.Name == c.Name }) {
			v.add("is declared twice", "collections", c.Name)
		}
		// SQLite and most people don't tell tables apart by case.
		if other, ok := tables[strings.ToLower(c.Table)]; ok && other != c.Name {
			v.add(fmt.Sprintf("the table %s is that of collection %s too", c.Table, other), "collections", c.Name, "table")
		}
		tables[strings.ToLower(c.Table)] = c.Name
	}
	return errors.Join(v.problems...)
}

type validation struct{ problems []error }

func (v *validation) add(text string, path ...string) {
	v.problems = append(v.problems, Problem{Path: path, Text: text})
}

func (v *validation) collection(c Collection) {
	at := []string{"collections", c.Name}
	v.name(c.Name, at)
	if len(c.ID) == 0 {
		v.add("an id is needed: the field, or the fields, that name a record", append(at, "id")...)
	}
	if len(c.Fields) == 0 {
		v.add("there is no field", append(at, "fields")...)
	}
	columns := map[string]string{}
	for n, f := range c.Fields {
		at := append(at, "fields", f.Name)
		v.field(f, slices.Contains(c.ID, f.Name), at)
		if slices.ContainsFunc(c.Fields[:n], func(before Field) bool { return before.Name == f.Name }) {
			v.add("is declared twice", at...)
		}
		if other, ok := columns[strings.ToLower(f.Column)]; ok && other != f.Name {
			v.add(fmt.Sprintf("the column %s is that of field %s too", f.Column, other), append(at, "column")...)
		}
		columns[strings.ToLower(f.Column)] = f.Name
	}
	for n, name := range c.ID {
		v.idField(c, name, slices.Contains(c.ID[:n], name), append(at, "id", strconv.Itoa(n)))
	}
	for n, list := range c.Lists {
		v.list(c, list, append(at, "lists", strconv.Itoa(n)))
	}
}

// name refuses what one of the databases can't use as the name of a field.
func (v *validation) name(name string, at []string) {
	switch {
	case name == "":
		v.add("the name is empty", at...)
	case name == "_id" || name == reserved:
		v.add(name+" is a name of the new database's own, or of the protocol", at...)
	case strings.HasPrefix(name, "$") || strings.Contains(name, "."):
		v.add("MongoDB has no names that begin with $ or contain a dot; name the column apart: {column: "+strconv.Quote(name)+", …}", at...)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		v.add(fmt.Sprintf("%q has a control character, or is not valid UTF-8", name), at...)
	}
}

func (v *validation) field(f Field, key bool, at []string) {
	v.name(f.Name, at)
	if f.Type.String() == Type(0).String() {
		v.add("a type is needed: "+strings.Join(TypeNames(), ", "), append(at, "type")...)
		return
	}
	if key && !f.Type.Identifies() {
		v.add(fmt.Sprintf("an id can't have a column of type %s: equal values have different texts there; text, int and uuid can", f.Type), append(at, "type")...)
	}
	if forms := Forms(f.Type); f.As != "" && !slices.Contains(forms, f.As) {
		text := fmt.Sprintf("%s has one form only, and no as", f.Type)
		if forms != nil {
			text = fmt.Sprintf("%q is no form of %s: %s", f.As, f.Type, strings.Join(forms, ", "))
		}
		v.add(text, append(at, "as")...)
	}
	v.words(f, at)
	v.stored(f, at)
	if f.Loose && (key || f.Type != Text && f.Type != Bool) {
		v.add("only a text and a bool that are no part of the id are read loosely", append(at, "loose")...)
	}
}

func (v *validation) words(f Field, at []string) {
	switch {
	case f.True == "" && f.False == "":
	case f.Type != Bool:
		v.add("only a bool has words for true and false", at...)
	case f.True == "" || f.False == "":
		v.add("both words are needed, for true and for false", at...)
	case f.True == f.False:
		v.add(fmt.Sprintf("%q can't mean both true and false", f.True), append(at, "false")...)
	}
}

func (v *validation) stored(f Field, at []string) {
	switch {
	case f.Stored == "":
	case f.Type != Timestamp:
		v.add("only a timestamp says how it is stored", append(at, "stored")...)
	case slices.Contains([]string{"s", "ms", "us"}, f.Stored):
	default:
		if reason := layoutFault(f.Stored); reason != "" {
			v.add(fmt.Sprintf("%q %s; want s, ms, us, or a layout such as %q", f.Stored, reason, time.DateTime), append(at, "stored")...)
		}
	}
}

// layoutFault says why a layout loses a part of a second-exact time, "" if it
// doesn't.
func layoutFault(layout string) string {
	sample := time.Date(2086, time.November, 23, 21, 47, 58, 0, time.UTC) // no part equals another one
	back, err := time.Parse(layout, sample.Format(layout))
	switch {
	case err != nil:
		return "can't read what it writes"
	case !back.Equal(sample):
		return "leaves a part of the time out"
	}
	return ""
}

func (v *validation) idField(c Collection, name string, twice bool, at []string) {
	if _, ok := c.Field(name); !ok {
		v.add(fmt.Sprintf("there is no field %q%s", name, nearest(name, fieldNames(c))), at...)
	}
	if twice {
		v.add(fmt.Sprintf("%q is in the id twice", name), at...)
	}
}

func (v *validation) list(c Collection, list, at []string) {
	if len(list) == 0 {
		v.add("names no field", at...)
	}
	for n, name := range list {
		f, ok := c.Field(name)
		switch {
		case !ok:
			v.add(fmt.Sprintf("there is no field %q%s", name, nearest(name, fieldNames(c))), at...)
		case !f.Type.Filters() && f.Type != 0:
			v.add(fmt.Sprintf("a list can't be filtered by %s: type %s has several spellings of one value", name, f.Type), at...)
		case slices.Contains(list[:n], name):
			v.add(fmt.Sprintf("%s is named twice", name), at...)
		}
	}
}

func fieldNames(c Collection) []string {
	names := make([]string, len(c.Fields))
	for n, f := range c.Fields {
		names[n] = f.Name
	}
	return names
}
