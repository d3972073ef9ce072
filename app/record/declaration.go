package record

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// Declaration says what a migration moves, and between which databases.
type Declaration struct {
	Old         string // URI of the database that is left
	New         string // URI of the database that is moved to
	Collections []Collection
}

// Collection is one table whose rows are records.
type Collection struct {
	Name   string     `json:"name"`
	Table  string     `json:"table"` // its exact name in the old database; in PostgreSQL with its schema
	ID     []string   `json:"id"`    // names of the fields that are the id
	Fields []Field    `json:"fields"`
	Lists  [][]string `json:"lists,omitempty"` // fields that a list may be filtered by, by equality
}

// Field is one column of a collection's table.
type Field struct {
	Name    string `json:"name"`
	Column  string `json:"column"` // its exact name in the table
	Type    Type   `json:"-"`
	NotNull bool   `json:"not_null,omitempty"`

	// As says how the new database stores the field where a type has several
	// forms; empty: the type's first form. See [Forms].
	As string `json:"as,omitempty"`
	// True and False are the words by which the old database's text says a
	// Bool: those that are written, where the original reads several. Empty: 1
	// and 0.
	True  string `json:"true,omitempty"`
	False string `json:"false,omitempty"`
	// Stored says how the old database stores a Timestamp where it has no type
	// for it: s, ms or us since 1970, or a layout of Go's package time.
	Stored string `json:"stored,omitempty"`
	// Loose reads the old database's column as a program does that does not look
	// at types: NULL is the empty text and false, a text is one however it is
	// stored, a Bool is false where the column equals 0 and true elsewhere. It is
	// for a Text and for a Bool. Such a field is never NULL.
	Loose bool `json:"loose,omitempty"`
}

// Forms returns the values of [Field.As] for a type, the first one being the
// default; nil if the type has one form only.
func Forms(t Type) []string {
	switch t {
	case Decimal:
		return []string{"decimal", "text"}
	case Timestamp:
		return []string{"int", "text", "ms"}
	case JSON:
		return []string{"document", "text"}
	}
	return nil
}

// fill puts the defaults in.
func (c *Collection) fill() {
	if c.Table == "" {
		c.Table = c.Name
	}
	for n := range c.Fields {
		f := &c.Fields[n]
		if f.Column == "" {
			f.Column = f.Name
		}
		if forms := Forms(f.Type); f.As == "" && forms != nil {
			f.As = forms[0]
		}
		f.NotNull = f.NotNull || f.Loose || slices.Contains(c.ID, f.Name)
	}
}

// Field returns the field with this name.
func (c Collection) Field(name string) (Field, bool) {
	n := slices.IndexFunc(c.Fields, func(f Field) bool { return f.Name == name })
	if n < 0 {
		return Field{}, false
	}
	return c.Fields[n], true
}

// Key returns the fields of the id, in its order.
func (c Collection) Key() []Field {
	key := make([]Field, 0, len(c.ID))
	for _, name := range c.ID {
		if f, ok := c.Field(name); ok {
			key = append(key, f)
		}
	}
	return key
}

// Body returns the fields that are not part of the id, in the order of
// declaration.
func (c Collection) Body() []Field {
	return slices.DeleteFunc(slices.Clone(c.Fields), func(f Field) bool { return slices.Contains(c.ID, f.Name) })
}

// Check returns an error that wraps [ErrUnfit] and names the field if the
// record does not fit the collection.
func (c Collection) Check(id ID, body Body) error {
	key, fields := c.Key(), c.Body()
	values, rest := id.Values(), body.Values()
	if id.Collection() != c.Name || len(values) != len(key) {
		return fmt.Errorf("%w: collection %s: %q of %q is no id here", ErrUnfit, c.Name, shorten(id.String()), id.Collection())
	}
	if len(rest) != len(fields) {
		return fmt.Errorf("%w: collection %s: the body has %d fields, not %d", ErrUnfit, c.Name, len(rest), len(fields))
	}
	for n, v := range slices.Concat(values, rest) {
		f := slices.Concat(key, fields)[n]
		switch {
		case v.IsNull() && f.NotNull:
			return fmt.Errorf("%w: collection %s, id %q, field %s is NULL", ErrUnfit, c.Name, shorten(id.String()), f.Name)
		case !v.IsNull() && v.Type() != f.Type:
			return fmt.Errorf("%w: collection %s, id %q, field %s is %s, not %s", ErrUnfit, c.Name, shorten(id.String()), f.Name, v.Type(), f.Type)
		}
	}
	return nil
}

// MarshalJSON writes the field with its type's name.
func (f Field) MarshalJSON() ([]byte, error) {
	type plain Field
	return json.Marshal(struct {
		plain
		Type string `json:"type"`
	}{plain(f), f.Type.String()})
}

// Digest tells one declaration from another, see [Declaration.Canonical].
func (d Declaration) Digest() string {
	sum := sha256.Sum256([]byte(d.Canonical()))
	return hex.EncodeToString(sum[:16])
}

// Collection returns the collection with this name.
func (d Declaration) Collection(name string) (Collection, bool) {
	n := slices.IndexFunc(d.Collections, func(c Collection) bool { return c.Name == name })
	if n < 0 {
		return Collection{}, false
	}
	return d.Collections[n], true
}
