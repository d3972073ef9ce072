package embeddedmongo

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// What FerretDB 1.24 does with values that MongoDB holds: it ends the
// connection over NaN and over types that it doesn't know; it stores -0 as 0
// and text that is not UTF-8 with other characters; it refuses infinities,
// arrays in arrays, and keys with a dollar sign or a dot, in some places with
// an internal error; a quotation mark, a backslash or a control character in the
// name of a field at the top it stores unescaped, after which it can't read that
// collection ever again. The gatekeeper answers each of them itself, with the code
// that says of a document that this server can't hold it.
const (
	codeBadValue    = 2   // a command that can't be read
	codeCannotStore = 121 // a document that is refused; MongoDB's DocumentValidationFailure
)

// flaw is a value that the embedded server can't hold or read.
type flaw struct {
	what string
	path []string
	code int32
}

func (f *flaw) message() string {
	verb := "hold"
	if f.code == codeBadValue {
		verb = "read"
	}
	return fmt.Sprintf("the embedded server can't %s %s (at %q): it is for trying things out, a real MongoDB can", verb, f.what, strings.Join(f.path, "."))
}

// reply refuses a whole command.
func (f *flaw) reply() (bson.Raw, error) {
	name := "DocumentValidationFailure"
	if f.code == codeBadValue {
		name = "BadValue"
	}
	return bson.Marshal(bson.D{
		{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: f.message()}, {Key: "code", Value: f.code}, {Key: "codeName", Value: name},
	})
}

// writeError refuses one statement of a command, as its only one.
func (f *flaw) writeError() (bson.Raw, error) {
	return bson.Marshal(bson.D{
		{Key: "n", Value: int32(0)},
		{Key: "writeErrors", Value: bson.A{bson.D{
			{Key: "index", Value: int32(0)}, {Key: "code", Value: f.code}, {Key: "errmsg", Value: f.message()},
		}}},
		{Key: "ok", Value: 1.0},
	})
}

// flawed returns what is wrong with one statement of an array of a command.
func flawed(array string, statement bson.Raw) *flaw {
	switch array {
	case "documents":
		return stored.document(statement, nil)
	case "updates":
		u, err := statement.LookupErr("u")
		if err == nil {
			if f := flawedUpdate(u, nil); f != nil {
				return f
			}
		}
		if upsert, ok := statement.Lookup("upsert").BooleanOK(); ok && upsert {
			if q, ok := statement.Lookup("q").DocumentOK(); ok {
				if f := flawedSeed(q); f != nil {
					return f
				}
			}
		}
	}
	return sent.document(statement, nil)
}

// flawedUpdate looks at what an update would store: a whole document, or what
// its operators put into one.
func flawedUpdate(u bson.RawValue, path []string) *flaw {
	doc, ok := u.DocumentOK()
	if !ok {
		return nil // a pipeline, which FerretDB refuses
	}
	operators, err := doc.Elements()
	if err != nil || len(operators) == 0 || !strings.HasPrefix(operators[0].Key(), "$") {
		return stored.document(doc, path)
	}
	for _, o := range operators {
		fields, ok := o.Value().DocumentOK()
		if !ok {
			continue
		}
		elements, err := fields.Elements()
		if err != nil {
			continue
		}
		for _, e := range elements {
			name, _, _ := strings.Cut(e.Key(), ".")
			if what := badName(name); what != "" {
				return &flaw{what, append(path, strings.ToValidUTF8(e.Key(), "\uFFFD")), codeCannotStore}
			}
			if to, ok := e.Value().StringValueOK(); ok && o.Key() == "$rename" {
				if what := badName(to); what != "" {
					return &flaw{what, append(path, e.Key()), codeCannotStore}
				}
			}
			if f := operand(o.Key(), e.Value(), append(path, e.Key())); f != nil {
				return f
			}
		}
	}
	return nil
}

// operand looks at what one operator stores in one field.
func operand(operator string, v bson.RawValue, path []string) *flaw {
	switch operator {
	case "$set", "$setOnInsert", "$min", "$max", "$inc", "$mul":
		return stored.value(v, path, false)
	case "$push", "$addToSet":
		modifiers, _ := v.DocumentOK()
		each, err := modifiers.LookupErr("$each")
		if err != nil {
			return stored.value(v, path, true)
		}
		return stored.value(each, path, false)
	}
	return nil // it removes, renames, or takes conditions
}

// flawedSeed looks at the equalities of a filter, of which an upsert makes a
// document.
func flawedSeed(filter bson.Raw) *flaw {
	elements, err := filter.Elements()
	if err != nil {
		return nil
	}
	for _, e := range elements {
		if e.Key() == "$and" {
			all, _ := e.Value().ArrayOK()
			parts, _ := all.Values()
			for _, part := range parts {
				if doc, ok := part.DocumentOK(); ok {
					if f := flawedSeed(doc); f != nil {
						return f
					}
				}
			}
			continue
		}
		v := e.Value()
		if doc, ok := v.DocumentOK(); ok {
			first, err := doc.IndexErr(0)
			if err == nil && strings.HasPrefix(first.Key(), "$") {
				if v, err = doc.LookupErr("$eq"); err != nil {
					continue
				}
			}
		}
		if strings.HasPrefix(e.Key(), "$") {
			continue
		}
		name, _, _ := strings.Cut(e.Key(), ".")
		if what := badName(name); what != "" {
			return &flaw{what, []string{strings.ToValidUTF8(e.Key(), "\uFFFD")}, codeCannotStore}
		}
		if f := stored.value(v, []string{e.Key()}, false); f != nil {
			return f
		}
	}
	return nil
}

// use is what a document is for.
type use int

const (
	sent   use = iota // it is part of a command
	stored            // it is to be stored
)

// document finds the first flaw in a document, in all its depth.
func (u use) document(doc bson.Raw, path []string) *flaw {
	elements, err := doc.Elements()
	if err != nil {
		return nil
	}
	seen := make(map[string]bool, len(elements))
	for _, e := range elements {
		key := e.Key()
		here := append(path[:len(path):len(path)], strings.ToValidUTF8(key, "\uFFFD"))
		if u == stored {
			what := badKey(key)
			if what == "" && len(path) == 0 {
				what = badName(key)
			}
			if what != "" {
				return &flaw{what, here, codeCannotStore}
			}
			if seen[key] {
				return &flaw{"the same key twice", here, codeCannotStore}
			}
			seen[key] = true
		}
		if f := u.value(e.Value(), here, false); f != nil {
			return f
		}
	}
	return nil
}

func badKey(key string) string {
	switch {
	case strings.HasPrefix(key, "$"):
		return "a key that begins with a dollar sign"
	case strings.Contains(key, "."):
		return "a key with a dot in it"
	case !utf8.ValidString(key):
		return "a key that is not UTF-8"
	}
	return ""
}

// badName says what is wrong with the name of a field at the top.
func badName(name string) string {
	switch {
	case strings.ContainsAny(name, `"\`):
		return "a field whose name has a quotation mark or a backslash"
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }):
		return "a field whose name has a control character"
	}
	return ""
}

// value does the same with a value; inArray: it is an array's element.
func (u use) value(v bson.RawValue, path []string, inArray bool) *flaw {
	code := int32(codeBadValue)
	if u == stored {
		code = codeCannotStore
	}
	if what := unreadable(v); what != "" {
		return &flaw{what, path, code}
	}
	switch v.Type {
	case bson.TypeEmbeddedDocument:
		return u.document(v.Document(), path)
	case bson.TypeArray:
		if u == stored && inArray {
			return &flaw{"an array in an array", path, code}
		}
		elements, err := v.Array().Values()
		if err != nil {
			return nil
		}
		for n, element := range elements {
			if f := u.value(element, append(path[:len(path):len(path)], strconv.Itoa(n)), true); f != nil {
				return f
			}
		}
	}
	if what := changed(v); u == stored && what != "" {
		return &flaw{what, path, code}
	}
	return nil
}

// unreadable says what kind of value FerretDB ends a connection over; empty for
// all others.
func unreadable(v bson.RawValue) string {
	switch v.Type {
	case bson.TypeDouble:
		if math.IsNaN(v.Double()) {
			return "NaN"
		}
	case bson.TypeDecimal128:
		return "a Decimal128"
	case bson.TypeMinKey, bson.TypeMaxKey:
		return "MinKey or MaxKey"
	case bson.TypeSymbol, bson.TypeUndefined, bson.TypeDBPointer:
		return "a value of a type that MongoDB has given up"
	case bson.TypeJavaScript, bson.TypeCodeWithScope:
		return "JavaScript"
	}
	return ""
}

// changed says what kind of value FerretDB would refuse, or store as another one.
func changed(v bson.RawValue) string {
	switch v.Type {
	case bson.TypeDouble:
		switch d := v.Double(); {
		case math.IsInf(d, 0):
			return "an infinity"
		case d == 0 && math.Signbit(d):
			return "-0"
		}
	case bson.TypeString:
		if !utf8.ValidString(v.StringValue()) {
			return "text that is not UTF-8"
		}
	}
	return ""
}

// refused looks through a command for what the backend can't be given; the
// statements of a write are looked at one by one when they are carried out.
func (c command) refused() *flaw {
	array := arrays[c.req.command()]
	_, single := c.req.array(array)
	elements, err := c.req.body.Elements()
	if err != nil {
		return nil
	}
	if array == "" && c.upserts() {
		query, _ := c.req.body.Lookup("query").DocumentOK()
		if f := flawedSeed(query); f != nil {
			return f
		}
	}
	for _, e := range elements {
		switch {
		case single && e.Key() == array:
		case e.Key() == "update" && array == "" && e.Value().Type != bson.TypeString:
			if f := flawedUpdate(e.Value(), nil); f != nil {
				return f
			}
			fallthrough
		default:
			if f := sent.value(e.Value(), []string{e.Key()}, false); f != nil {
				return f
			}
		}
	}
	for _, s := range c.req.sequences {
		for _, doc := range s.docs {
			if single && s.name == array {
				break
			}
			if f := sent.document(doc, []string{s.name}); f != nil {
				return f
			}
		}
	}
	return nil
}

// upserts reports whether a findAndModify makes a document if it finds none.
func (c command) upserts() bool {
	upsert, _ := c.req.body.Lookup("upsert").BooleanOK()
	return upsert
}

// arrays is where the commands that write have their statements.
var arrays = map[string]string{"insert": "documents", "update": "updates", "delete": "deletes"}
