package mongo

import (
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// Stored says for people what a real MongoDB holds for a value of a field, as
// extended JSON; an [store.ErrUnfit] says why it can't hold it.
func Stored(f record.Field, v record.Value) (string, error) {
	stored, err := encodeValue(f, v, real)
	if err != nil {
		return "", fmt.Errorf("%w: field %s: %w", store.ErrUnfit, f.Name, err)
	}
	if stored == nil {
		return Shown(bson.RawValue{Type: bson.TypeNull}), nil
	}
	typ, data, err := bson.MarshalValue(stored)
	if err != nil {
		return "", fmt.Errorf("%w: field %s: %w", store.ErrUnfit, f.Name, err)
	}
	return Shown(bson.RawValue{Type: typ, Value: data}), nil
}

// Shown is a value of BSON for people: its type's name in the shell, and its text.
func Shown(v bson.RawValue) string {
	switch v.Type {
	case bson.TypeNull:
		return "null"
	case bson.TypeInt64:
		return fmt.Sprintf("Long(%d)", v.Int64())
	case bson.TypeDouble:
		return fmt.Sprintf("Double(%v)", v.Double())
	case bson.TypeString:
		return fmt.Sprintf("%q", v.StringValue())
	case bson.TypeDecimal128:
		return fmt.Sprintf("Decimal128(%s)", v.Decimal128())
	case bson.TypeDateTime:
		return fmt.Sprintf("ISODate(%s)", v.Time().UTC().Format("2006-01-02T15:04:05.000Z"))
	case bson.TypeBinary:
		subtype, data := v.Binary()
		return fmt.Sprintf("BinData(%d, %x)", subtype, data)
	}
	return v.String()
}
