package embeddedmongo

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// verdict is what is known about whether a document matches. The order makes
// "and" the least and "or" the greatest.
type verdict int

const (
	no verdict = iota
	unsure
	yes
)

func decided(b bool) verdict {
	if b {
		return yes
	}
	return no
}

// predicate is a filter of a form that is understood here: conditions on
// fields of the document or of documents in it, and any nesting of $and and $or.
type predicate struct {
	op    string // $and, $or; $eq, $ne, $lt, $lte, $gt, $gte
	parts []predicate
	field string
	value bson.RawValue
}

// parsePredicate reads a filter, or reports false if any of it has another
// form. Such a filter is for the backend to judge.
func parsePredicate(filter bson.Raw) (predicate, bool) {
	elements, err := filter.Elements()
	if err != nil {
		return predicate{}, false
	}
	all := predicate{op: "$and"}
	for _, e := range elements {
		key, value := e.Key(), e.Value()
		var ok bool
		switch {
		case key == "$and", key == "$or":
			var p predicate
			p, ok = parseLogical(key, value)
			all.parts = append(all.parts, p)
		case strings.HasPrefix(key, "$") || slices.Contains(strings.Split(key, "."), ""):
		default:
			var conditions []predicate
			conditions, ok = parseConditions(key, value)
			all.parts = append(all.parts, conditions...)
		}
		if !ok {
			return predicate{}, false
		}
	}
	return all, true
}

func parseLogical(op string, value bson.RawValue) (predicate, bool) {
	array, ok := value.ArrayOK()
	if !ok {
		return predicate{}, false
	}
	values, err := array.Values()
	if err != nil || len(values) == 0 {
		return predicate{}, false
	}
	p := predicate{op: op}
	for _, v := range values {
		filter, ok := v.DocumentOK()
		if !ok {
			return predicate{}, false
		}
		part, ok := parsePredicate(filter)
		if !ok {
			return predicate{}, false
		}
		p.parts = append(p.parts, part)
	}
	return p, true
}

// parseConditions reads what a filter says of one field: a value, or operators.
func parseConditions(field string, value bson.RawValue) ([]predicate, bool) {
	if field == "_id" && shelved(value) {
		return []predicate{{op: "$eq", field: field, value: value}}, true
	}
	operators, isDocument := value.DocumentOK()
	if !isDocument {
		return []predicate{{op: "$eq", field: field, value: value}}, kindOf(value) != kindOther
	}
	elements, err := operators.Elements()
	if err != nil || len(elements) == 0 {
		return nil, false
	}
	var conditions []predicate
	for _, e := range elements {
		p := predicate{op: e.Key(), field: field, value: e.Value()}
		kind := kindOf(p.value)
		switch p.op {
		case "$eq", "$ne":
			if kind == kindOther && !(field == "_id" && p.op == "$eq" && shelved(p.value)) {
				return nil, false
			}
		case "$lt", "$lte", "$gt", "$gte":
			if kind != kindNumber && kind != kindString {
				return nil, false
			}
		default:
			return nil, false
		}
		conditions = append(conditions, p)
	}
	return conditions, true
}

// match says whether doc matches, as MongoDB does; unsure where a value of doc
// is of a kind that is not understood here (an array, say).
func (p predicate) match(doc bson.Raw) verdict {
	switch p.op {
	case "$and":
		v := yes
		for _, part := range p.parts {
			v = min(v, part.match(doc))
		}
		return v
	case "$or":
		v := no
		for _, part := range p.parts {
			v = max(v, part.match(doc))
		}
		return v
	}
	stored := at(doc, p.field)
	kind := kindOf(stored)
	if kind == kindOther {
		return unsure
	}
	if kindOf(p.value) == kindOther {
		return unsure
	}
	if kind != kindOf(p.value) {
		return decided(p.op == "$ne") // values of different kinds have no order
	}
	order, ok := compare(kind, stored, p.value)
	if !ok {
		return unsure
	}
	switch p.op {
	case "$eq":
		return decided(order == 0)
	case "$ne":
		return decided(order != 0)
	case "$lt":
		return decided(order < 0)
	case "$lte":
		return decided(order <= 0)
	case "$gt":
		return decided(order > 0)
	case "$gte":
		return decided(order >= 0)
	}
	return unsure
}

// at returns the value at a path, an array if one is on the way. A field that
// isn't there equals null.
func at(doc bson.Raw, path string) bson.RawValue {
	null := bson.RawValue{Type: bson.TypeNull}
	for {
		name, rest, more := strings.Cut(path, ".")
		stored, err := doc.LookupErr(name)
		switch {
		case err != nil:
			return null
		case !more || stored.Type == bson.TypeArray:
			return stored
		}
		var ok bool
		if doc, ok = stored.DocumentOK(); !ok {
			return null
		}
		path = rest
	}
}

// equalities returns the fields that any matching document has with one
// certain value: those that an upsert's new document gets from the filter. It
// reports false when a field is named twice, which MongoDB refuses, and when one
// is in a document, which the backend must make.
func (p predicate) equalities() (bson.D, bool) {
	switch {
	case p.op == "$eq" && strings.Contains(p.field, "."):
		return nil, false
	case p.op == "$eq":
		return bson.D{{Key: p.field, Value: p.value}}, true
	case p.op == "$and", p.op == "$or" && len(p.parts) == 1:
	default:
		return nil, true
	}
	var all bson.D
	seen := make(map[string]bool)
	for _, part := range p.parts {
		fields, ok := part.equalities()
		if !ok {
			return nil, false
		}
		for _, f := range fields {
			if seen[f.Key] {
				return nil, false
			}
			seen[f.Key] = true
			all = append(all, f)
		}
	}
	return all, true
}

// kind groups the types whose values are compared with one another.
type kind int

const (
	kindOther kind = iota // not compared here
	kindNull
	kindNumber
	kindString
	kindBool
	kindObjectID
)

func kindOf(v bson.RawValue) kind {
	switch v.Type {
	case bson.TypeNull:
		return kindNull
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble:
		return kindNumber
	case bson.TypeString:
		return kindString
	case bson.TypeBoolean:
		return kindBool
	case bson.TypeObjectID:
		return kindObjectID
	}
	return kindOther
}

// compare orders two values of one kind, strings by their bytes. It reports
// false for a NaN.
func compare(k kind, a, b bson.RawValue) (int, bool) {
	switch k {
	case kindNumber:
		return compareNumbers(a, b)
	case kindString:
		return strings.Compare(a.StringValue(), b.StringValue()), true
	}
	// Null has no bytes; false is before true, and an ObjectID's bytes order it.
	return bytes.Compare(a.Value, b.Value), true
}

// compareNumbers compares by value, exactly, whatever the types.
func compareNumbers(a, b bson.RawValue) (int, bool) {
	if a.Type == bson.TypeDouble && b.Type == bson.TypeDouble {
		x, y := a.Double(), b.Double()
		return cmp.Compare(x, y), !math.IsNaN(x) && !math.IsNaN(y)
	}
	if a.Type == bson.TypeDouble {
		order, ok := compareNumbers(b, a)
		return -order, ok
	}
	n := a.AsInt64()
	if b.Type != bson.TypeDouble {
		return cmp.Compare(n, b.AsInt64()), true
	}
	switch f := b.Double(); {
	case math.IsNaN(f):
		return 0, false
	case f >= 1<<63:
		return -1, true
	case f < -1<<63:
		return 1, true
	default: // its whole part is an int64, exactly
		whole, fraction := math.Modf(f)
		return cmp.Or(cmp.Compare(n, int64(whole)), cmp.Compare(0, fraction)), true
	}
}
