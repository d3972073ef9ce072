package record

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// ID names a record: its collection, and the values of its id columns, none of
// them NULL.
//
// It is an encoding whose bytewise order is the order of ids: by collection,
// then column by column, a text bytewise, an int by its number, a uuid bytewise.
// So IDs compare by == and <, and a position in one order of all records of all
// collections is an ID, too. The zero ID is no id: where a position is meant, it
// is the beginning.
type ID string

// A text is encoded with a terminator; a zero byte in it is followed by escaped,
// which is greater, so that the order of texts is kept. The position behind a
// collection ends with beyond, which is between the two.
const (
	terminator = 0x01
	beyond     = 0x02
	escaped    = 0xff

	escapedZero = "\x00\xff"
)

// NewID returns the id with these values, in the order of the id's columns. A
// NULL, and a value of a type that can't be part of an id, is unfit.
func NewID(collection string, values ...Value) (ID, error) {
	if len(values) == 0 {
		return "", fmt.Errorf("%w: an id has at least one column", ErrUnfit)
	}
	var some [short]byte
	key := appendText(some[:0], collection, terminator)
	for n, v := range values {
		if !v.typ.Identifies() {
			what := v.typ.String()
			if v.IsNull() {
				what = "NULL"
			}
			return "", fmt.Errorf("%w: column %d of an id is %s", ErrUnfit, n+1, what)
		}
		key = append(key, byte(v.typ))
		switch v.typ {
		case Int:
			key = binary.BigEndian.AppendUint64(key, uint64(v.num)^1<<63)
		case UUID:
			key = append(key, v.text...)
		case Text:
			key = appendText(key, v.text, terminator)
		}
	}
	return ID(key), nil
}

func appendText(key []byte, text string, end byte) []byte {
	key = append(key, strings.ReplaceAll(text, "\x00", escapedZero)...)
	return append(key, 0, end)
}

// Start returns the position before every id of a collection.
func Start(collection string) ID { return ID(appendText(nil, collection, terminator)) }

// End returns the position after every id of a collection.
func End(collection string) ID { return ID(appendText(nil, collection, beyond)) }

// IsZero reports whether there is no id.
func (id ID) IsZero() bool { return id == "" }

// Collection returns the name of the collection; empty for the zero ID.
func (id ID) Collection() string {
	name, _, _, _ := cutText(string(id))
	return name
}

// Values returns the values of the id's columns; none for a position that names
// no record.
func (id ID) Values() []Value { return id.AppendValues(nil) }

// AppendValues appends the values of the id's columns.
func (id ID) AppendValues(values []Value) []Value {
	all, ok := id.split(values)
	if !ok {
		return values
	}
	return all
}

// split reads the encoding and appends the values. ok is false for what no
// function here has made.
func (id ID) split(values []Value) (all []Value, ok bool) {
	_, key, end, ok := cutText(string(id))
	if !ok || end == beyond {
		return values, ok
	}
	for len(key) > 0 {
		v := Value{typ: Type(key[0])}
		key = key[1:]
		switch {
		case v.typ == Int && len(key) >= 8:
			v.num = int64(binary.BigEndian.Uint64([]byte(key[:8])) ^ 1<<63)
			key = key[8:]
		case v.typ == UUID && len(key) >= len(uuid.UUID{}):
			v.text = key[:len(uuid.UUID{})]
			key = key[len(uuid.UUID{}):]
		case v.typ == Text:
			if v.text, key, end, ok = cutText(key); !ok || end != terminator {
				return nil, false
			}
		default:
			return nil, false
		}
		values = append(values, v)
	}
	return values, true
}

// cutText takes the text from the beginning of an encoded key. One without a
// zero byte is a part of the key, and is not copied.
func cutText(key string) (text, rest string, end byte, ok bool) {
	for {
		zero := strings.IndexByte(key, 0)
		if zero < 0 || zero+1 == len(key) {
			return "", "", 0, false
		}
		part, end := key[:zero], key[zero+1]
		key = key[zero+2:]
		switch end {
		case terminator, beyond:
			return text + part, key, end, true
		case escaped:
			text += part + "\x00"
		default:
			return "", "", 0, false
		}
	}
}

// String returns the id's text: the text of its one value, or a JSON array of
// the texts of several. It is empty for the zero ID, and for an empty text. It
// leaves the collection out: see [ID.Collection].
func (id ID) String() string {
	var some [4]Value
	values, ok := id.split(some[:0])
	switch {
	case !ok:
		return string(id)
	case len(values) == 0:
		return ""
	case len(values) == 1:
		return values[0].String()
	}
	b := []byte{'['}
	for n, v := range values {
		if n > 0 {
			b = append(b, ',')
		}
		b = appendString(b, v.String())
	}
	return string(append(b, ']'))
}

// MarshalText writes the id's text, for people; [Collection.ParseID] reads it.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// MakeID returns the id of a record of the collection, if the values are those of
// its id columns.
func (c Collection) MakeID(values ...Value) (ID, error) {
	key := c.Key()
	if len(values) != len(key) {
		return "", fmt.Errorf("%w: an id of %s has %d columns, not %d", ErrUnfit, c.Name, len(key), len(values))
	}
	for n, v := range values {
		if !v.IsNull() && v.typ != key[n].Type {
			return "", fmt.Errorf("%w: the id of %s: %s is %s, not %s", ErrUnfit, c.Name, key[n].Name, v.typ, key[n].Type)
		}
	}
	return NewID(c.Name, values...)
}

// ParseID returns the id with this text; see [ID.String].
func (c Collection) ParseID(s string) (ID, error) {
	key := c.Key()
	texts := []string{s}
	if len(key) > 1 {
		texts = nil
		if err := json.Unmarshal([]byte(s), &texts); err != nil || len(texts) != len(key) {
			return "", fmt.Errorf("%w: the id %q is not a JSON array of %d texts", ErrUnfit, shorten(s), len(key))
		}
	}
	values := make([]Value, len(key))
	for n, f := range key {
		var err error
		if values[n], err = Parse(f.Type, texts[n]); err != nil {
			return "", fmt.Errorf("the id %q: %w", shorten(s), err)
		}
	}
	return NewID(c.Name, values...)
}

// AppendCanonical appends the id's canonical encoding: its length, then the
// bytes by whose order ids are ordered.
func (id ID) AppendCanonical(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(id)))
	return append(b, id...)
}
