package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// ErrUnfit is wrapped by every error about a value that its type, or a database,
// can't hold as it is.
var ErrUnfit = errors.New("can't be held exactly")

// Value is one value of a field, or NULL. The zero Value is NULL. A Value is
// never changed. Compare values with [Value.Equal].
type Value struct {
	_    [0]func() // == would tell values apart that are equal
	typ  Type      // 0: NULL
	num  int64     // Int; Bool: 0 or 1; Float: its bits; Timestamp: microseconds; Date: days; both since 1970
	text string    // Text, Decimal, JSON, Raw: canonical text; Bytes, UUID: the bytes
}

// The texts of timestamps and dates.
const (
	timestampLayout = "2006-01-02T15:04:05.999999Z"
	dateLayout      = time.DateOnly
	day             = 24 * time.Hour
)

// OfText returns a text, which must be valid UTF-8.
func OfText(s string) (Value, error) { return utf8Value(Text, s) }

// OfRaw returns the text by which a database shows a value of its own type.
func OfRaw(s string) (Value, error) { return utf8Value(Raw, s) }

func utf8Value(t Type, s string) (Value, error) {
	if !utf8.ValidString(s) {
		return Value{}, unfit(t, "is not valid UTF-8")
	}
	return Value{typ: t, text: s}, nil
}

// OfInt returns an integer.
func OfInt(n int64) Value { return Value{typ: Int, num: n} }

// OfFloat returns a floating-point number. All NaNs are one value; 0 and -0
// are two.
func OfFloat(f float64) Value {
	if math.IsNaN(f) {
		f = math.NaN()
	}
	return Value{typ: Float, num: int64(math.Float64bits(f))}
}

// UncheckedText returns a text that may not be valid UTF-8, as a database has
// it: the record that holds it is unfit for one that wants UTF-8.
func UncheckedText(s string) Value { return Value{typ: Text, text: s} }

// OfDecimal returns the decimal number that the text spells, such as "-12.50".
// Its scale is kept. A spelling that formatting would not give back, such as
// "+1", "01", "1e3" or "-0", is unfit.
func OfDecimal(s string) (Value, error) {
	if reason := decimalFault(s); reason != "" {
		return Value{}, unfit(Decimal, "%q %s", shorten(s), reason)
	}
	return Value{typ: Decimal, text: s}, nil
}

// OfBool returns a truth value.
func OfBool(b bool) Value {
	v := Value{typ: Bool}
	if b {
		v.num = 1
	}
	return v
}

// OfBytes returns a string of bytes.
func OfBytes(b []byte) Value { return Value{typ: Bytes, text: string(b)} }

// OfTime returns a timestamp. A time between two microseconds, or outside the
// years 1 to 9999, is unfit.
func OfTime(t time.Time) (Value, error) {
	t = t.UTC()
	switch {
	case t.Year() < 1 || t.Year() > 9999:
		return Value{}, unfit(Timestamp, "the year %d is outside 1 to 9999", t.Year())
	case t.Nanosecond()%1000 != 0:
		return Value{}, unfit(Timestamp, "%s has a fraction of a microsecond", t.Format(time.RFC3339Nano))
	}
	return Value{typ: Timestamp, num: t.UnixMicro()}, nil
}

// OfDate returns the day that t is in, in t's own zone. A day outside the
// years 1 to 9999 is unfit.
func OfDate(t time.Time) (Value, error) {
	if t.Year() < 1 || t.Year() > 9999 {
		return Value{}, unfit(Date, "the year %d is outside 1 to 9999", t.Year())
	}
	midnight := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	return Value{typ: Date, num: midnight.Unix() / int64(day/time.Second)}, nil
}

// OfUUID returns a UUID.
func OfUUID(u uuid.UUID) Value { return Value{typ: UUID, text: string(u[:])} }

// OfJSON returns the JSON value that the text spells, in its canonical text:
// without blanks, an object's keys in bytewise order, each number as a plain
// decimal. An object with a key twice is unfit, and so is a number that has no
// plain decimal of at most 1,000 digits.
func OfJSON(s string) (Value, error) {
	text, err := canonicalJSON(s)
	if err != nil {
		return Value{}, unfit(JSON, "%s", err)
	}
	return Value{typ: JSON, text: text}, nil
}

// Parse returns the value of this type whose canonical text is s; the inverse
// of [Value.String] for all but NULL.
func Parse(t Type, s string) (Value, error) {
	switch t {
	case Text:
		return OfText(s)
	case Raw:
		return OfRaw(s)
	case Int:
		n, err := strconv.ParseInt(s, 10, 64)
		return canonical(t, s, OfInt(n), err)
	case Float:
		f, err := strconv.ParseFloat(s, 64)
		return canonical(t, s, OfFloat(f), err)
	case Decimal:
		return OfDecimal(s)
	case Bool:
		b, err := strconv.ParseBool(s)
		return canonical(t, s, OfBool(b), err)
	case Bytes:
		b, err := bytesOf(s)
		return canonical(t, s, OfBytes(b), err)
	case Timestamp:
		at, err := time.Parse(timestampLayout, s)
		if err != nil {
			return canonical(t, s, Value{}, err)
		}
		v, err := OfTime(at)
		return canonical(t, s, v, err)
	case Date:
		at, err := time.Parse(dateLayout, s)
		if err != nil {
			return canonical(t, s, Value{}, err)
		}
		v, err := OfDate(at)
		return canonical(t, s, v, err)
	case UUID:
		u, err := uuid.Parse(s)
		return canonical(t, s, OfUUID(u), err)
	case JSON:
		return OfJSON(s)
	}
	return Value{}, fmt.Errorf("record: parse %q as %s", shorten(s), t)
}

// canonical returns v if s is its text: another spelling would not come back.
func canonical(t Type, s string, v Value, err error) (Value, error) {
	switch {
	case err != nil:
		return Value{}, unfit(t, "%q can't be read", shorten(s))
	case v.String() != s:
		return Value{}, unfit(t, "%q would come back as %q", shorten(s), v)
	}
	return v, nil
}

// IsNull reports whether the value is NULL.
func (v Value) IsNull() bool { return v.typ == 0 }

// Type returns the type of the value; 0 for NULL.
func (v Value) Type() Type { return v.typ }

// Int64 returns an Int.
func (v Value) Int64() int64 { return v.num }

// Float64 returns a Float.
func (v Value) Float64() float64 { return math.Float64frombits(uint64(v.num)) }

// Bool returns a Bool.
func (v Value) Bool() bool { return v.num != 0 }

// Bytes returns Bytes.
func (v Value) Bytes() []byte { return []byte(v.text) }

// Time returns a Timestamp, or the beginning of a Date, in UTC.
func (v Value) Time() time.Time {
	if v.typ == Date {
		return time.Unix(v.num*int64(day/time.Second), 0).UTC()
	}
	return time.UnixMicro(v.num).UTC()
}

// UUID returns a UUID.
func (v Value) UUID() uuid.UUID { return uuid.UUID([]byte(v.text)) }

// String returns the canonical text of the value, and "NULL" for NULL.
func (v Value) String() string {
	switch v.typ {
	case 0:
		return "NULL"
	case Int:
		return strconv.FormatInt(v.num, 10)
	case Float:
		return strconv.FormatFloat(v.Float64(), 'g', -1, 64)
	case Bool:
		return strconv.FormatBool(v.Bool())
	case Bytes:
		return fmt.Sprintf("\\x%x", v.text)
	case Timestamp:
		return v.Time().Format(timestampLayout)
	case Date:
		return v.Time().Format(dateLayout)
	case UUID:
		return v.UUID().String()
	}
	return v.text
}

// Equal reports whether two values are the same: the same type and the same
// canonical encoding. NULL equals NULL.
func (v Value) Equal(w Value) bool { return v.typ == w.typ && v.num == w.num && v.text == w.text }

// AppendCanonical appends the value's canonical encoding: the number of its
// type, then eight bytes for numbers and times, or the length and the bytes of
// anything else. NULL is one zero byte. No encoding is the beginning of another
// one.
func (v Value) AppendCanonical(b []byte) []byte {
	b = append(b, byte(v.typ))
	switch v.typ {
	case 0:
		return b
	case Int, Float, Bool, Timestamp, Date:
		return binary.BigEndian.AppendUint64(b, uint64(v.num))
	}
	b = binary.AppendUvarint(b, uint64(len(v.text)))
	return append(b, v.text...)
}

func unfit(t Type, format string, args ...any) error {
	return fmt.Errorf("%w as %s: %s", ErrUnfit, t, fmt.Sprintf(format, args...))
}

// Reason is what an error about a value says beyond which type the value is of.
func Reason(err error) string {
	text := strings.TrimPrefix(err.Error(), ErrUnfit.Error()+" ")
	if _, rest, ok := strings.Cut(text, ": "); ok {
		text = rest
	}
	return text
}

// shorten keeps a message readable whatever the value is.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	end := most
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}
