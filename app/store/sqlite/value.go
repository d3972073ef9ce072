package sqlite

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// written is how a Timestamp is stored where the declaration doesn't say: as
// SQLite's own CURRENT_TIMESTAMP, with a fraction where there is one.
const written = "2006-01-02 15:04:05.999999"

// exact is how many decimal digits each double keeps.
const exact = 15

// field is a declared field in its column.
type field struct{ record.Field }

// column returns the column's quoted name.
func (f field) column() string { return ident(f.Column) }

// read returns the expression that reads the column of a table t. A bare column
// would be turned into another type by the driver, by the type that it was
// declared with.
func (f field) read() string {
	switch {
	case f.Loose && f.Type == record.Bool:
		return "NOT coalesce(t." + f.column() + "=0,0)"
	case f.Loose:
		return "coalesce(CAST(t." + f.column() + " AS TEXT),'')"
	}
	return "+t." + f.column()
}

// decode returns the value that is stored, or why there is none.
func (f field) decode(stored any) (v record.Value, reason string) {
	if stored == nil {
		if f.NotNull {
			return v, f.Name + " is NULL"
		}
		return v, ""
	}
	v, why := f.value(stored)
	if why != "" {
		return record.Value{}, f.Name + " " + why
	}
	return v, ""
}

// value is decode for what is not NULL.
func (f field) value(stored any) (record.Value, string) {
	switch f.Type {
	case record.Text, record.Raw:
		if s, ok := stored.(string); ok {
			return f.parsed(s)
		}
	case record.Int:
		if n, ok := stored.(int64); ok {
			return record.OfInt(n), ""
		}
	case record.Float:
		switch n := stored.(type) {
		case float64:
			return record.OfFloat(n), ""
		case int64: // a column of numbers stores a whole one so
			if -1<<53 <= n && n <= 1<<53 {
				return record.OfFloat(float64(n)), ""
			}
			return record.Value{}, fmt.Sprintf("is %d, which no double is", n)
		}
	case record.Bool:
		return f.truth(stored)
	case record.Bytes:
		if b, ok := stored.([]byte); ok {
			return record.OfBytes(b), ""
		}
	case record.Decimal:
		return f.decimal(stored)
	case record.Timestamp:
		return f.time(stored)
	case record.Date, record.UUID:
		if s, ok := stored.(string); ok {
			return f.parsed(s)
		}
	case record.JSON:
		switch j := stored.(type) {
		case string:
			return f.parsed(j)
		case int64:
			return f.parsed(strconv.FormatInt(j, 10))
		}
	}
	return record.Value{}, "is stored as " + class(stored) + ", which is no " + f.Type.String()
}

func (f field) parsed(s string) (record.Value, string) {
	v, err := record.Parse(f.Type, s)
	if err != nil {
		return record.Value{}, record.Reason(err)
	}
	return v, ""
}

func class(stored any) string {
	switch stored.(type) {
	case nil:
		return "NULL"
	case int64, bool:
		return "an integer"
	case float64:
		return "a real number"
	case []byte:
		return "a blob"
	}
	return "a text"
}

// truth reads a Bool: the declared words, or 0 and 1.
func (f field) truth(stored any) (record.Value, string) {
	if f.Loose {
		n, _ := stored.(int64)
		return record.OfBool(n != 0), ""
	}
	yes, no := f.words()
	var text string
	switch s := stored.(type) {
	case string:
		if f.True == "" {
			return record.Value{}, "is the text " + literal(s) + ", neither 0 nor 1"
		}
		text = s
	case int64:
		text = strconv.FormatInt(s, 10)
	default:
		return record.Value{}, "is stored as " + class(stored) + ", which is no bool"
	}
	switch text {
	case yes:
		return record.OfBool(true), ""
	case no:
		return record.OfBool(false), ""
	}
	return record.Value{}, fmt.Sprintf("is %s, neither %s nor %s", literal(stored), no, yes)
}

// words returns the texts of true and of false.
func (f field) words() (yes, no string) {
	if f.True == "" {
		return "1", "0"
	}
	return f.True, f.False
}

// decimal reads a Decimal from a text, or from a number that shows exactly.
func (f field) decimal(stored any) (record.Value, string) {
	switch n := stored.(type) {
	case string:
		return f.parsed(n)
	case int64:
		return f.parsed(strconv.FormatInt(n, 10))
	case float64:
		text := strconv.FormatFloat(n, 'f', -1, 64)
		if digits := strings.Trim(strings.ReplaceAll(strings.TrimPrefix(text, "-"), ".", ""), "0"); len(digits) > exact || math.IsInf(n, 0) {
			return record.Value{}, fmt.Sprintf("is the double %v, which keeps %d digits exactly", n, exact)
		}
		return f.parsed(text)
	}
	return record.Value{}, "is stored as " + class(stored) + ", which is no decimal"
}

// units are how many microseconds the numbers of a Timestamp count.
var units = map[string]int64{"s": 1_000_000, "ms": 1_000, "us": 1}

// layout returns the layout of a Timestamp that is stored as a text.
func (f field) layout() string {
	if f.Stored == "" {
		return written
	}
	return f.Stored
}

func (f field) time(stored any) (record.Value, string) {
	if unit, ok := units[f.Stored]; ok {
		n, ok := stored.(int64)
		if !ok {
			return record.Value{}, "is stored as " + class(stored) + ", not as a number of " + f.Stored
		}
		if n > math.MaxInt64/unit || n < math.MinInt64/unit {
			return record.Value{}, fmt.Sprintf("is %d %s, beyond the year 9999", n, f.Stored)
		}
		return timestamp(time.UnixMicro(n * unit))
	}
	s, ok := stored.(string)
	if !ok {
		return record.Value{}, "is stored as " + class(stored) + ", not as a text of the layout " + f.layout()
	}
	at, err := time.Parse(f.layout(), s)
	if err != nil {
		return record.Value{}, literal(s) + " is not of the layout " + f.layout()
	}
	if back := at.UTC().Format(f.layout()); back != s {
		return record.Value{}, literal(s) + " would come back as " + literal(back)
	}
	return timestamp(at)
}

func timestamp(at time.Time) (record.Value, string) {
	v, err := record.OfTime(at)
	if err != nil {
		return record.Value{}, record.Reason(err)
	}
	return v, ""
}

// encode returns what is stored for a value: what the original program reads.
func (f field) encode(v record.Value) (any, error) {
	if v.IsNull() {
		if f.NotNull {
			return nil, f.unfit("is NULL")
		}
		return nil, nil
	}
	if v.Type() != f.Type {
		return nil, f.unfit("is " + v.Type().String() + ", not " + f.Type.String())
	}
	switch f.Type {
	case record.Int:
		return v.Int64(), nil
	case record.Float:
		if math.IsNaN(v.Float64()) {
			return nil, f.unfit("is NaN, which SQLite stores as NULL")
		}
		return v.Float64(), nil
	case record.Bool:
		return f.word(v.Bool()), nil
	case record.Bytes:
		return v.Bytes(), nil
	case record.Timestamp:
		return f.instant(v.Time())
	}
	text := v.String()
	if !utf8.ValidString(text) {
		return nil, f.unfit("is not valid UTF-8")
	}
	return text, nil
}

func (f field) word(b bool) any {
	switch {
	case f.True == "" && b:
		return int64(1)
	case f.True == "":
		return int64(0)
	case b:
		return f.True
	}
	return f.False
}

func (f field) instant(at time.Time) (any, error) {
	if unit, ok := units[f.Stored]; ok {
		if at.UnixMicro()%unit != 0 {
			return nil, f.unfit(fmt.Sprintf("is %s, which is stored in %s", at.Format(time.RFC3339Nano), f.Stored))
		}
		return at.UnixMicro() / unit, nil
	}
	text := at.Format(f.layout())
	if back, err := time.Parse(f.layout(), text); err != nil || !back.Equal(at) {
		return nil, f.unfit(fmt.Sprintf("is %s, which the layout %s can't say", at.Format(time.RFC3339Nano), f.layout()))
	}
	return text, nil
}

func (f field) unfit(reason string) error {
	return fmt.Errorf("%w: %s %s", store.ErrUnfit, f.Name, reason)
}

// fits returns the condition under which a column of the id, in this
// expression, holds a value of its type. It runs in foreign programs, too.
func (f field) fits(expression string) string {
	switch f.Type {
	case record.Int:
		return "typeof(" + expression + ")='integer'"
	case record.UUID:
		hex := func(n int) string { return strings.Repeat("[0-9a-f]", n) }
		return "typeof(" + expression + ")='text' AND " + expression + " GLOB '" +
			hex(8) + "-" + hex(4) + "-" + hex(4) + "-" + hex(4) + "-" + hex(12) + "'"
	}
	return "typeof(" + expression + ")='text'"
}

// least returns a value of a column of the id which none comes before.
func (f field) least() record.Value {
	switch f.Type {
	case record.Int:
		return record.OfInt(math.MinInt64)
	case record.UUID:
		return record.OfUUID(uuid.Nil)
	}
	return record.UncheckedText("")
}
