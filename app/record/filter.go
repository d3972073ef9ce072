package record

import (
	"fmt"
	"slices"
)

// Filter selects records of a collection: each named field holds the value, by
// [Value.Equal]. The zero Filter selects every record of every collection.
type Filter struct {
	collection Collection
	equals     []Equals
}

// Equals is one condition of a [Filter].
type Equals struct {
	Field string
	Value Value
}

// Filter returns a filter after checking that each field exists, can be
// filtered by, has the value's type, and is named once. Without conditions it
// selects every record of the collection.
func (c Collection) Filter(conditions ...Equals) (Filter, error) {
	for n, e := range conditions {
		f, ok := c.Field(e.Field)
		switch {
		case !ok:
			return Filter{}, fmt.Errorf("collection %s has no field %q%s", c.Name, e.Field, nearest(e.Field, fieldNames(c)))
		case !f.Type.Filters():
			return Filter{}, fmt.Errorf("collection %s can't be filtered by %s, of type %s", c.Name, f.Name, f.Type)
		case !e.Value.IsNull() && e.Value.Type() != f.Type:
			return Filter{}, fmt.Errorf("collection %s: %s is %s, not %s", c.Name, f.Name, f.Type, e.Value.Type())
		case slices.ContainsFunc(conditions[:n], func(before Equals) bool { return before.Field == e.Field }):
			return Filter{}, fmt.Errorf("collection %s: the filter names %s twice", c.Name, f.Name)
		}
	}
	return Filter{c, conditions}, nil
}

// Collection returns the name of the collection; empty for the zero Filter.
func (f Filter) Collection() string { return f.collection.Name }

// Equals returns the conditions, all of which must hold.
func (f Filter) Equals() []Equals { return f.equals }

// Match reports whether a record is selected.
func (f Filter) Match(id ID, body Body) bool {
	if f.collection.Name == "" {
		return true
	}
	if id.Collection() != f.collection.Name {
		return false
	}
	if len(f.equals) == 0 {
		return true
	}
	key, values := id.Values(), body.Values()
	if len(values) < len(f.collection.Fields)-len(f.collection.ID) {
		return false // a tombstone
	}
	for _, e := range f.equals {
		if !f.collection.value(e.Field, key, values).Equal(e.Value) {
			return false
		}
	}
	return true
}

// value returns what the named field of a record holds.
func (c Collection) value(name string, key, body []Value) Value {
	if n := slices.Index(c.ID, name); n >= 0 {
		return key[n]
	}
	n := slices.IndexFunc(c.Body(), func(f Field) bool { return f.Name == name })
	if n < 0 || n >= len(body) {
		return Value{}
	}
	return body[n]
}
