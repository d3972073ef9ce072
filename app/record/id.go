package record

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// ID names a record of a collection: the values of its id columns, none of
// them NULL. IDs compare by == and by [ID.Compare]. The zero ID is no id: where
// a position is meant, it is the beginning.
type ID struct {
	// The values in an encoding whose bytewise order is the order of the
	// values, column by column: text bytewise, int by number, uuid bytewise.
	key string
}

// An encoded text ends with terminator; a zero byte in it is followed by
// escaped, which is greater, so that the order of texts is kept.
const (
	terminator = 0x01
	escaped    = 0xff
)

// NewID returns the id with these values, in the order of the id's columns. A
// NULL, and a value of a type that can't be part of an id, is unfit.
func NewID(values ...Value) (ID, error) {
	if len(values) == 0 {
		return ID{}, fmt.Errorf("%w: an id has at least one column", ErrUnfit)
	}
	var key []byte
	for n, v := range values {
		if !v.typ.Identifies() {
			what := v.typ.String()
			if v.IsNull() {
				what = "NULL"
			}
			return ID{}, fmt.Errorf("%w: column %d of an id is %s", ErrUnfit, n+1, what)
		}
		key = append(key, byte(v.typ))
		switch v.typ {
		case Int:
			key = binary.BigEndian.AppendUint64(key, uint64(v.num)^1<<63)
		case UUID:
			key = append(key, v.text...)
		case Text:
			key = append(key, strings.ReplaceAll(v.text, "\x00", "\x00\xff")...)
			key = append(key, 0, terminator)
		}
	}
	return ID{string(key)}, nil
}

// TextID returns the id of a collection whose id is one text.
func TextID(s string) (ID, error) {
	v, err := OfText(s)
	if err != nil {
		return ID{}, err
	}
	return NewID(v)
}

// IsZero reports whether there is no id.
func (id ID) IsZero() bool { return id.key == "" }

// Compare returns -1, 0 or 1 as id is less than, equal to or greater than
// other. No id is less than any.
func (id ID) Compare(other ID) int { return strings.Compare(id.key, other.key) }

// Values returns the values of the id's columns; none for the zero ID.
func (id ID) Values() []Value {
	var values []Value
	for key := []byte(id.key); len(key) > 0; {
		t := Type(key[0])
		key = key[1:]
		v := Value{typ: t}
		switch t {
		case Int:
			v.num = int64(binary.BigEndian.Uint64(key) ^ 1<<63)
			key = key[8:]
		case UUID:
			v.text = string(key[:len(uuid.UUID{})])
			key = key[len(uuid.UUID{}):]
		case Text:
			v.text, key = cutText(key)
		}
		values = append(values, v)
	}
	return values
}

// cutText takes the text from the beginning of an encoded key.
func cutText(key []byte) (text string, rest []byte) {
	var b []byte
	for {
		zero := bytes.IndexByte(key, 0)
		b = append(b, key[:zero]...)
		end := key[zero+1] == terminator
		key = key[zero+2:]
		if end {
			return string(b), key
		}
		b = append(b, 0)
	}
}

// String returns the id's text: the text of its one value, or a JSON array of
// the texts of several. It is empty for the zero ID, and for an empty text.
func (id ID) String() string {
	values := id.Values()
	if len(values) == 1 {
		return values[0].String()
	}
	texts := make([]string, len(values))
	for n, v := range values {
		texts[n] = v.String()
	}
	if len(texts) == 0 {
		return ""
	}
	b := []byte{'['}
	for n, text := range texts {
		if n > 0 {
			b = append(b, ',')
		}
		b = appendString(b, text)
	}
	return string(append(b, ']'))
}

// parseID is the inverse of [ID.String] for columns of these types.
func parseID(types []Type, s string) (ID, error) {
	texts := []string{s}
	if len(types) > 1 {
		texts = nil
		if err := json.Unmarshal([]byte(s), &texts); err != nil || len(texts) != len(types) {
			return ID{}, fmt.Errorf("%w: the id %q is not a JSON array of %d texts", ErrUnfit, shorten(s), len(types))
		}
	}
	values := make([]Value, len(types))
	for n, t := range types {
		var err error
		if values[n], err = Parse(t, texts[n]); err != nil {
			return ID{}, fmt.Errorf("the id %q: %w", shorten(s), err)
		}
	}
	return NewID(values...)
}

// AppendCanonical appends the id's canonical encoding: its length, then the
// bytes by whose order ids are ordered.
func (id ID) AppendCanonical(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(id.key)))
	return append(b, id.key...)
}
