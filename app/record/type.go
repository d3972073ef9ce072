package record

import "slices"

// Type is the declared type of a field. The type alone decides how a database
// stores the field, never the values that are there.
type Type byte

// The types. Their numbers are part of the canonical encoding.
const (
	Text      Type = iota + 1 // valid UTF-8, compared bytewise
	Int                       // 64 bits, signed
	Float                     // IEEE 754 double; NaN, infinities and -0 included
	Decimal                   // a decimal number of any size; 1.0 and 1 are two values
	Bool                      //
	Bytes                     //
	Timestamp                 // a microsecond in the years 1 to 9999, UTC
	Date                      // a day in the years 1 to 9999
	UUID                      //
	JSON                      // one JSON value; the order of an object's keys means nothing
	Raw                       // the database's own text of a type that has no better one here
)

var typeNames = []string{
	Text: "text", Int: "int", Float: "float", Decimal: "decimal", Bool: "bool", Bytes: "bytes",
	Timestamp: "timestamp", Date: "date", UUID: "uuid", JSON: "json", Raw: "raw",
}

// String returns the name by which a declaration calls the type.
func (t Type) String() string {
	if t == 0 || int(t) >= len(typeNames) {
		return "no type"
	}
	return typeNames[t]
}

// ParseType returns the type with this name.
func ParseType(name string) (t Type, ok bool) {
	n := slices.Index(typeNames, name)
	return Type(max(n, 0)), n > 0
}

// TypeNames returns the names of all types.
func TypeNames() []string { return slices.Clone(typeNames[Text:]) }

// Identifies reports whether a column of this type may be part of an id: equal
// values must have equal text in every database.
func (t Type) Identifies() bool { return t == Text || t == Int || t == UUID }

// Filters reports whether a list may be filtered by a field of this type. The
// other types have several spellings of one value, or values that equal
// nothing.
func (t Type) Filters() bool {
	switch t {
	case Text, Int, Bool, Timestamp, Date, UUID, Raw:
		return true
	}
	return false
}
