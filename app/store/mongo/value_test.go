package mongo

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// valueOf draws a value of a type.
func valueOf(t *rapid.T, typ record.Type) record.Value {
	ok := func(v record.Value, err error) record.Value {
		if err != nil {
			t.Skip(err)
		}
		return v
	}
	digits := rapid.StringMatching(`-?(0|[1-9][0-9]{0,36})(\.[0-9]{1,36})?`)
	switch typ {
	case record.Text:
		return record.UncheckedText(rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "text"))
	case record.Raw:
		return ok(record.OfRaw(rapid.String().Draw(t, "raw")))
	case record.Int:
		return record.OfInt(rapid.Int64().Draw(t, "int"))
	case record.Float:
		return record.OfFloat(math.Float64frombits(rapid.Uint64().Draw(t, "bits")))
	case record.Decimal:
		return ok(record.OfDecimal(digits.Draw(t, "decimal")))
	case record.Bool:
		return record.OfBool(rapid.Bool().Draw(t, "bool"))
	case record.Bytes:
		return record.OfBytes(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
	case record.UUID:
		return record.OfUUID([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid")))
	case record.Timestamp, record.Date:
		at := time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "second"), 1000*rapid.Int64Range(0, 999_999).Draw(t, "µs"))
		if typ == record.Date {
			return ok(record.OfDate(at.UTC()))
		}
		return ok(record.OfTime(at))
	}
	text := rapid.Map(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"$a", "a.b", "", "\x00"})), func(s string) string {
		b, _ := json.Marshal(s)
		return string(b)
	})
	value := rapid.OneOf(rapid.SampledFrom([]string{"null", "true", "[]", "{}", "1e30", "1.0"}), text, digits)
	for range 3 {
		inner := value
		value = rapid.OneOf(inner, rapid.Map(rapid.SliceOfN(inner, 0, 3), func(l []string) string { return "[" + strings.Join(l, ",") + "]" }),
			rapid.Custom(func(t *rapid.T) string { return "{" + text.Draw(t, "key") + ":" + inner.Draw(t, "member") + "}" }))
	}
	return ok(record.OfJSON(value.Draw(t, "json")))
}

// everyForm are fields of each type in each form.
func everyForm() (fields []record.Field) {
	for _, name := range record.TypeNames() {
		typ, _ := record.ParseType(name)
		fields = append(fields, record.Field{Name: name, Type: typ})
		for _, form := range record.Forms(typ) {
			fields = append(fields, record.Field{Name: name + " as " + form, Type: typ, As: form})
		}
	}
	return fields
}

// Every value of every type comes back equal from BSON, or it is refused: by a
// real server's measure, and by the embedded one's.
func TestValuesComeBackOrAreRefused(t *testing.T) {
	for _, f := range everyForm() {
		t.Run(f.Name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				v := valueOf(t, f.Type)
				for _, can := range []limits{real, embedded} {
					stored, err := encodeValue(f, v, can)
					if err != nil {
						continue
					}
					typ, data, err := bson.MarshalValue(stored)
					if err != nil {
						t.Fatalf("%s: %v", v, err)
					}
					back, err := decodeValue(f, bson.RawValue{Type: typ, Value: data})
					if err != nil || !back.Equal(v) {
						t.Fatalf("%s came back as %s, %v, by way of %v", v, back, err, stored)
					}
				}
			})
		})
	}
}

func TestNullIsNull(t *testing.T) {
	for _, f := range everyForm() {
		stored, err := encodeValue(f, record.Value{}, embedded)
		if stored != nil || err != nil {
			t.Errorf("%s: NULL is stored as %v, %v", f.Name, stored, err)
		}
		for _, raw := range []bson.RawValue{{}, {Type: bson.TypeNull}} {
			if v, err := decodeValue(f, raw); err != nil || !v.IsNull() {
				t.Errorf("%s: %v is read as %s, %v", f.Name, raw, v, err)
			}
		}
	}
}

// What is held at all, by whom, and what is said where it isn't.
func TestWhatIsHeld(t *testing.T) {
	digits := func(n int) string { return strings.Repeat("9", n) }
	for _, test := range []struct {
		field          record.Field
		text           string
		real, embedded string // a part of the refusal; empty: it is held
	}{
		{record.Field{Type: record.Decimal}, "1.0", "", "Decimal128"},
		{record.Field{Type: record.Decimal}, digits(34), "", "Decimal128"},
		{record.Field{Type: record.Decimal}, "0." + strings.Repeat("0", 40) + digits(34), "", "Decimal128"},
		{record.Field{Type: record.Decimal}, digits(35), "35 digits", "Decimal128"},
		{record.Field{Type: record.Decimal}, digits(20) + "." + digits(15), "35 digits", "Decimal128"},
		{record.Field{Type: record.Decimal, As: "text"}, digits(60), "", ""},
		{record.Field{Type: record.Float}, "NaN", "", "NaN"},
		{record.Field{Type: record.Float}, "-Inf", "", "infinity"},
		{record.Field{Type: record.Float}, "-0", "", "-0"},
		{record.Field{Type: record.Float}, "0", "", ""},
		{record.Field{Type: record.Timestamp, As: "ms"}, "2026-11-30T12:00:00.123Z", "", ""},
		{record.Field{Type: record.Timestamp, As: "ms"}, "2026-11-30T12:00:00.123001Z", "milliseconds", "milliseconds"},
		{record.Field{Type: record.Timestamp}, "2026-11-30T12:00:00.123001Z", "", ""},
		{record.Field{Type: record.JSON}, "null", "NULL", "NULL"},
		{record.Field{Type: record.JSON}, "9223372036854775807", "", ""},
		{record.Field{Type: record.JSON}, "9223372036854775808", "", "Decimal128"},
		{record.Field{Type: record.JSON}, "1.0", "", "Decimal128"},
		{record.Field{Type: record.JSON}, "1.5", "", ""},
		{record.Field{Type: record.JSON}, digits(35), "35 digits", "Decimal128"},
		{record.Field{Type: record.JSON}, `[[1]]`, "", "array in an array"},
		{record.Field{Type: record.JSON}, `{"a":{"$b":1}}`, "dollar sign", "dollar sign"},
		{record.Field{Type: record.JSON}, `{"a.b":1}`, "dot", "dot"},
		{record.Field{Type: record.JSON}, `{"a\u0000":1}`, "NUL", "NUL"},
		{record.Field{Type: record.JSON}, `"\u0000"`, "", ""},
		{record.Field{Type: record.JSON}, strings.Repeat(`{"a":`, 95) + "1" + strings.Repeat("}", 95), "nested", "nested"},
		{record.Field{Type: record.JSON, As: "text"}, `{"$a.b":[[null]]}`, "", ""},
	} {
		v, err := record.Parse(test.field.Type, test.text)
		if err != nil {
			t.Fatal(err)
		}
		for _, server := range []struct {
			can  limits
			says string
		}{{real, test.real}, {embedded, test.embedded}} {
			_, err := encodeValue(test.field, v, server.can)
			switch {
			case server.says == "" && err != nil:
				t.Errorf("%s %.40s, %+v: %v", test.field.Type, test.text, server.can, err)
			case server.says != "" && (err == nil || !strings.Contains(err.Error(), server.says)):
				t.Errorf("%s %.40s, %+v: %v, want a refusal that says %q", test.field.Type, test.text, server.can, err, server.says)
			}
		}
	}
	if _, err := Stored(record.Field{Name: "note", Type: record.Text}, record.UncheckedText("\xff")); !errors.Is(err, store.ErrUnfit) || !strings.Contains(err.Error(), "note") {
		t.Errorf("text that is not UTF-8: %v", err)
	}
}

// What others may have written by hand is read where it means the same, and
// refused where it is of another type.
func TestValuesOfOthers(t *testing.T) {
	decimal := func(s string) bson.Decimal128 {
		d, err := bson.ParseDecimal128(s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, test := range []struct {
		typ    record.Type
		stored any
		want   string // empty: refused
	}{
		{record.Int, int32(5), "5"},
		{record.Int, 5.0, ""},
		{record.Int, "5", ""},
		{record.Float, int64(5), ""},
		{record.Decimal, decimal("1E+3"), "1000"},
		{record.Decimal, decimal("-0.00"), "0.00"},
		{record.Decimal, decimal("NaN"), ""},
		{record.Decimal, "1e3", ""},
		{record.Timestamp, int32(5), "1970-01-01T00:00:00.000005Z"},
		{record.Timestamp, bson.DateTime(1), "1970-01-01T00:00:00.001Z"},
		{record.UUID, bson.Binary{Subtype: 3, Data: make([]byte, 16)}, ""},
		{record.UUID, bson.Binary{Subtype: 4, Data: make([]byte, 15)}, ""},
		{record.Bytes, bson.Binary{Subtype: 4, Data: make([]byte, 16)}, ""},
		{record.Date, "2026-11-31", ""},
		{record.JSON, bson.D{{Key: "b", Value: int32(1)}, {Key: "a", Value: bson.A{1.5, nil}}}, `{"a":[1.5,null],"b":1}`},
		{record.JSON, bson.DateTime(1), ""},
		{record.JSON, math.NaN(), ""},
		{record.Bool, int32(1), ""},
	} {
		typ, data, err := bson.MarshalValue(test.stored)
		if err != nil {
			t.Fatal(err)
		}
		v, err := decodeValue(record.Field{Type: test.typ}, bson.RawValue{Type: typ, Value: data})
		if test.want == "" && err == nil || test.want != "" && (err != nil || v.String() != test.want) {
			t.Errorf("%v as %s: %s, %v; want %q", test.stored, test.typ, v, err, test.want)
		}
	}
}
