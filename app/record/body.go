package record

import (
	"crypto/sha256"
	"slices"
)

// Body holds the values of the declared fields that are not part of the id, in
// the order of [Collection.Body]. A tombstone has no body: nil.
type Body []Value

// Equal reports whether two bodies hold the same values.
func (b Body) Equal(other Body) bool { return slices.EqualFunc(b, other, Value.Equal) }

// AppendCanonical appends the canonical encoding of the body: that of each of
// its values.
func (b Body) AppendCanonical(to []byte) []byte {
	for _, v := range b {
		to = v.AppendCanonical(to)
	}
	return to
}

// Digest returns the first 128 bits of the SHA-256 of the canonical encoding.
func (b Body) Digest() [16]byte {
	sum := sha256.Sum256(b.AppendCanonical(nil))
	return [16]byte(sum[:16])
}
