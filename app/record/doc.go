// Package record describes the records that a migration moves: which
// collections there are, which fields a record has, and of which types.
//
// A [Declaration] is written once, as a Go value or in YAML, and every driver
// works from it. A [Value] holds one typed value or NULL, a [Body] holds the
// values of a record, and an [ID] names the record.
//
// Each value has one canonical encoding. Two values are equal if their
// encodings are equal; no driver's own text and no reflection decides that.
// The bytewise order of encoded ids is the order of ids in every database.
//
// The package does no input or output besides parsing, and knows no database.
package record
