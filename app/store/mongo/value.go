package mongo

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"

	"migrate.invalid/migrate/app/record"
)

// The binary subtypes in use.
const (
	subtypeBytes = 0x00
	subtypeUUID  = 0x04
)

// encodeValue returns what a field is stored as. What would not come back the
// same is an error that says why; docs/types.md has the table.
func encodeValue(f record.Field, v record.Value, can limits) (any, error) {
	if v.IsNull() {
		return nil, nil
	}
	switch f.Type {
	case record.Text, record.Raw, record.Date:
		return encodeText(v.String())
	case record.Int:
		return v.Int64(), nil
	case record.Float:
		return encodeFloat(v.Float64(), can)
	case record.Decimal:
		if f.As == "text" {
			return v.String(), nil
		}
		return encodeDecimal(v.String(), can)
	case record.Bool:
		return v.Bool(), nil
	case record.Bytes:
		return bson.Binary{Subtype: subtypeBytes, Data: v.Bytes()}, nil
	case record.Timestamp:
		return encodeTimestamp(f, v)
	case record.UUID:
		u := v.UUID()
		return bson.Binary{Subtype: subtypeUUID, Data: u[:]}, nil
	case record.JSON:
		if f.As == "text" {
			return encodeText(v.String())
		}
		return encodeJSON(v.String(), can)
	}
	return nil, fmt.Errorf("the type %s has no form in MongoDB", f.Type)
}

func encodeText(s string) (any, error) {
	if !utf8.ValidString(s) {
		return nil, errors.New("the text is not valid UTF-8")
	}
	return s, nil
}

func encodeFloat(f float64, can limits) (any, error) {
	switch {
	case can.anyDouble:
	case math.IsNaN(f):
		return nil, errors.New("the embedded server can't hold NaN; a real MongoDB can")
	case math.IsInf(f, 0):
		return nil, errors.New("the embedded server can't hold an infinity; a real MongoDB can")
	case f == 0 && math.Signbit(f):
		return nil, errors.New("the embedded server stores -0 as 0; a real MongoDB keeps it")
	}
	return f, nil
}

func encodeTimestamp(f record.Field, v record.Value) (any, error) {
	switch f.As {
	case "text":
		return v.String(), nil
	case "ms":
		if v.Time().Nanosecond()%int(time.Millisecond) != 0 {
			return nil, fmt.Errorf("a date has milliseconds, and %s has a fraction of one; declare as: int", v)
		}
		return bson.DateTime(v.Time().UnixMilli()), nil
	}
	return v.Time().UnixMicro(), nil
}

// errOtherType says of a stored value that no function here has written it.
var errOtherType = errors.New("is stored as another type")

// decodeValue returns the value that is stored; the inverse of encodeValue.
func decodeValue(f record.Field, raw bson.RawValue) (record.Value, error) {
	if raw.IsZero() || raw.Type == bson.TypeNull {
		return record.Value{}, nil
	}
	switch f.Type {
	case record.Text:
		s, err := decodeText(raw)
		if err != nil {
			return record.Value{}, err
		}
		return record.UncheckedText(s), nil
	case record.Raw:
		return decodeBy(raw, record.OfRaw)
	case record.Date:
		return decodeBy(raw, func(s string) (record.Value, error) { return record.Parse(record.Date, s) })
	case record.Int:
		n, ok := integer(raw)
		return typed(record.OfInt(n), ok)
	case record.Float:
		d, ok := raw.DoubleOK()
		return typed(record.OfFloat(d), ok)
	case record.Decimal:
		return decodeDecimal(raw)
	case record.Bool:
		b, ok := raw.BooleanOK()
		return typed(record.OfBool(b), ok)
	case record.Bytes:
		subtype, data, ok := raw.BinaryOK()
		return typed(record.OfBytes(data), ok && subtype == subtypeBytes)
	case record.Timestamp:
		return decodeTimestamp(raw)
	case record.UUID:
		subtype, data, ok := raw.BinaryOK()
		if !ok || subtype != subtypeUUID || len(data) != len(uuid.UUID{}) {
			return record.Value{}, errOtherType
		}
		return record.OfUUID(uuid.UUID(data)), nil
	case record.JSON:
		if f.As == "text" {
			return decodeBy(raw, record.OfJSON)
		}
		return decodeJSON(raw)
	}
	return record.Value{}, errOtherType
}

func typed(v record.Value, ok bool) (record.Value, error) {
	if !ok {
		return record.Value{}, errOtherType
	}
	return v, nil
}

func decodeText(raw bson.RawValue) (string, error) {
	s, ok := raw.StringValueOK()
	if !ok {
		return "", errOtherType
	}
	return s, nil
}

func decodeBy(raw bson.RawValue, read func(string) (record.Value, error)) (record.Value, error) {
	s, err := decodeText(raw)
	if err != nil {
		return record.Value{}, err
	}
	return read(s)
}

// integer reads a whole number; others may have written it with 32 bits.
func integer(raw bson.RawValue) (int64, bool) {
	if raw.Type != bson.TypeInt32 && raw.Type != bson.TypeInt64 {
		return 0, false
	}
	return raw.AsInt64OK()
}

func decodeTimestamp(raw bson.RawValue) (record.Value, error) {
	switch raw.Type {
	case bson.TypeDateTime:
		return record.OfTime(time.UnixMilli(raw.DateTime()))
	case bson.TypeString:
		return decodeBy(raw, func(s string) (record.Value, error) { return record.Parse(record.Timestamp, s) })
	}
	n, ok := integer(raw)
	if !ok {
		return record.Value{}, errOtherType
	}
	return record.OfTime(time.UnixMicro(n))
}
