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
	size := 0
	for _, v := range values {
		size += 1 + binary.MaxVarintLen64 + len(v.text)
	}
	b := make([]byte, 0, size)
	for _, v := range values {
		b = v.AppendCanonical(b)
	}
	return Body(b)
}

// Values returns the values of the body.
func (b Body) Values() []Value {
	values := make([]Value, 0, 8) // as many as most bodies have
	for rest := string(b); rest != ""; {
		var v Value
		if v, rest = cutValue(rest); rest == broken {
			return nil // no function here has made it
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
