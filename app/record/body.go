package record

import (
	"crypto/sha256"
	"encoding/binary"
)

// Body holds the values of the declared fields that are not part of the id, in
// the order of [Collection.Body]: their canonical encodings, one behind the
// other. So bodies compare by ==. A tombstone has no body: the zero Body.
type Body string

// NewBody returns the body with these values.
func NewBody(values ...Value) Body {
	var some [short]byte
	b := some[:0]
	for _, v := range values {
		b = v.AppendCanonical(b)
	}
	return Body(b)
}

// short is how many bytes most encodings of ids and bodies have at the most.
const short = 256

// Values returns the values of the body.
func (b Body) Values() []Value {
	return b.AppendValues(make([]Value, 0, 8)) // as many as most bodies have
}

// AppendValues appends the values of the body.
func (b Body) AppendValues(values []Value) []Value {
	before := len(values)
	for rest := string(b); rest != ""; {
		var v Value
		if v, rest = cutValue(rest); rest == broken {
			return values[:before] // no function here has made it
		}
		values = append(values, v)
	}
	return values
}

// Digest returns the first 128 bits of the SHA-256 of the body.
func (b Body) Digest() [16]byte {
	sum := sha256.Sum256([]byte(b))
	return [16]byte(sum[:16])
}

// broken is what cutValue leaves of a text that is no encoding.
const broken = "\xff"

// cutValue takes a value from the beginning of canonical encodings.
func cutValue(s string) (v Value, rest string) {
	v.typ, rest = Type(s[0]), s[1:]
	switch v.typ {
	case 0:
		return v, rest
	case Int, Float, Bool, Timestamp, Date:
		if len(rest) < 8 {
			return Value{}, broken
		}
		v.num = int64(binary.BigEndian.Uint64([]byte(rest[:8])))
		return v, rest[8:]
	}
	size, n := binary.Uvarint([]byte(rest[:min(len(rest), binary.MaxVarintLen64)]))
	if n <= 0 || v.typ > Raw || uint64(len(rest)-n) < size {
		return Value{}, broken
	}
	v.text = rest[n : n+int(size)]
	return v, rest[n+int(size):]
}
