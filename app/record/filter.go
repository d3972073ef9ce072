package record

import (
	"fmt"
	"slices"
)

// Filter selects records: each named field holds the value, by [Value.Equal].
// The zero Filter selects every record.
type Filter []Equals

// Equals is one condition of a [Filter].
type Equals struct {
	Field string
	Value Value
}

// Filter returns a filter after checking that each field exists, can be
// filtered by, has the value's type, and is named once.
func (c Collection) Filter(conditions ...Equals) (Filter, error) {
	for n, e := range conditions {
		f, ok := c.Field(e.Field)
		switch {
		case !ok:
			return nil, fmt.Errorf("collection %s has no field %q%s", c.Name, e.Field, nearest(e.Field, fieldNames(c)))
		case !f.Type.Filters():
			return nil, fmt.Errorf("collection %s can't be filtered by %s, of type %s", c.Name, f.Name, f.Type)
		case !e.Value.IsNull() && e.Value.Type() != f.Type:
			return nil, fmt.Errorf("collection %s: %s is %s, not %s", c.Name, f.Name, f.Type, e.Value.Type())
		case slices.ContainsFunc(conditions[:n], func(before Equals) bool { return before.Field == e.Field }):
			return nil, fmt.Errorf("collection %s: the filter names %s twice", c.Name, f.Name)
		}
	}
	return conditions, nil
}

// Match reports whether a record of the collection is selected.
func (c Collection) Match(f Filter, id ID, body Body) bool {
	for _, e := range f {
		if !c.value(e.Field, id, body).Equal(e.Value) {
			return false
		}
	}
	return true
}

// value returns what the named field of a record holds.
func (c Collection) value(name string, id ID, body Body) Value {
	if n := slices.Index(c.ID, name); n >= 0 {
		return id.Values()[n]
	}
	return body[slices.IndexFunc(c.Body(), func(f Field) bool { return f.Name == name })]
}
