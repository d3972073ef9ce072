package postgres

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

// field is a declared field in its column. Every value goes over the wire as the
// text that PostgreSQL shows under the settings of [settings], and comes back as
// it: pgx's own types lose digits of numeric, and more.
type field struct {
	record.Field
	role role
}

func (f field) column() string { return ident(f.Column) }

// own is PostgreSQL's own type for a field, by which a table of ours is made and a
// parameter is read.
func (f field) own() string {
	switch f.Type {
	case record.Int:
		return "bigint"
	case record.Float:
		return "double precision"
	case record.Decimal:
		return "numeric"
	case record.Bool:
		if f.words() {
			return "text"
		}
		return "boolean"
	case record.Bytes:
		return "bytea"
	case record.Timestamp:
		switch _, number := units[f.stored()]; {
		case number:
			return "bigint"
		case f.stored() != "":
			return "text"
		}
		return "timestamp with time zone"
	case record.Date:
		return "date"
	case record.UUID:
		return "uuid"
	case record.JSON:
		return "jsonb"
	}
	return "text"
}

// words reports whether a Bool is stored as one of two declared words: so it is
// where the person's own program says it so.
func (f field) words() bool { return f.True != "" && f.role.foreign }

// stored is how the person's own program stores a Timestamp; "" for PostgreSQL's
// own types.
func (f field) stored() string {
	if !f.role.foreign {
		return ""
	}
	return f.Stored
}

// read returns the expression that reads the column as a text. The row is known
// by a name such as "t.".
func (f field) read(row string) string {
	column := row + f.column()
	switch {
	case f.Loose && f.Type == record.Bool:
		return "coalesce(" + column + ", false)::text"
	case f.Loose:
		return "coalesce(" + column + "::text, '')"
	case f.Type == record.Float: // a real shows fewer digits than it has
		return column + "::double precision::text"
	}
	return column + "::text"
}

// written returns the expression that turns a text into the type of the column it
// is put into. The type comes without its limits: PostgreSQL would apply them in
// silence, where an assignment that changes the value is seen by reading it back.
func (f field) written(text, typ string) string {
	if f.Type == record.Float {
		return "(" + text + ")::double precision::" + typ
	}
	return "(" + text + ")::" + typ
}

// parameter is a column of the id that is passed as a text.
func (f field) parameter(n int) string {
	text := "$" + strconv.Itoa(n) + "::text"
	if f.Type == record.Text {
		return f.ordered(text)
	}
	return text + "::" + f.own()
}

// ordered is a column of the id in the order of ids: a text bytewise.
func (f field) ordered(expression string) string {
	if f.Type == record.Text {
		return "(" + expression + "::text) collate \"C\""
	}
	return expression
}

// bytewise declares the order of a column of an id.
func (f field) bytewise() string {
	if f.own() == "text" {
		return ` collate "C"`
	}
	return ""
}

// decode returns the value of a text that was read, or why there is none.
func (f field) decode(text *string) (v record.Value, reason string) {
	if text == nil {
		if f.NotNull {
			return v, f.Name + " is NULL"
		}
		return v, ""
	}
	v, why := f.value(*text)
	if why != "" {
		return record.Value{}, f.Name + " " + why
	}
	return v, ""
}

func (f field) value(s string) (record.Value, string) {
	switch f.Type {
	case record.Float:
		n, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return record.Value{}, quote(s) + " is no double"
		}
		return record.OfFloat(n), ""
	case record.Bool:
		switch yes, no := f.truth(); s {
		case yes:
			return record.OfBool(true), ""
		case no:
			return record.OfBool(false), ""
		default:
			return record.Value{}, fmt.Sprintf("is %s, neither %s nor %s", quote(s), no, yes)
		}
	case record.Timestamp:
		return f.time(s)
	}
	return parsed(f.Type, s)
}

func parsed(t record.Type, s string) (record.Value, string) {
	v, err := record.Parse(t, s)
	if err != nil {
		return record.Value{}, record.Reason(err)
	}
	return v, ""
}

// truth returns the texts of true and of false.
func (f field) truth() (yes, no string) {
	if f.words() {
		return f.True, f.False
	}
	return "true", "false"
}

// units are how many microseconds the numbers of a Timestamp count.
var units = map[string]int64{"s": 1_000_000, "ms": 1_000, "us": 1}

// shown are the layouts of timestamp and of timestamp with time zone under the
// settings of every transaction.
const (
	shownPlain = "2006-01-02 15:04:05.999999"
	shownZone  = shownPlain + "+00"
)

func (f field) time(s string) (record.Value, string) {
	stored := f.stored()
	if unit, ok := units[stored]; ok {
		n, err := strconv.ParseInt(s, 10, 64)
		switch {
		case err != nil:
			return record.Value{}, quote(s) + " is no number of " + stored
		case n > math.MaxInt64/unit || n < math.MinInt64/unit:
			return record.Value{}, fmt.Sprintf("is %d %s, beyond the year 9999", n, stored)
		}
		return instant(time.UnixMicro(n * unit))
	}
	if stored == "" {
		for _, layout := range []string{shownZone, shownPlain} {
			if at, err := time.Parse(layout, s); err == nil {
				return instant(at)
			}
		}
		return record.Value{}, "is " + quote(s) + ", outside the years 1 to 9999"
	}
	at, err := time.Parse(stored, s)
	if err != nil {
		return record.Value{}, quote(s) + " is not of the layout " + stored
	}
	if back := at.UTC().Format(stored); back != s {
		return record.Value{}, quote(s) + " would come back as " + quote(back)
	}
	return instant(at)
}

func instant(at time.Time) (record.Value, string) {
	v, err := record.OfTime(at)
	if err != nil {
		return record.Value{}, record.Reason(err)
	}
	return v, ""
}

// encode returns the text that is written for a value; nil for NULL.
func (f field) encode(v record.Value) (*string, error) {
	if v.IsNull() {
		if f.NotNull {
			return nil, f.unfit("is NULL")
		}
		return nil, nil
	}
	if v.Type() != f.Type {
		return nil, f.unfit("is " + v.Type().String() + ", not " + f.Type.String())
	}
	text := v.String()
	switch f.Type {
	case record.Bool:
		yes, no := f.truth()
		text = no
		if v.Bool() {
			text = yes
		}
	case record.Float:
		text = strings.Replace(text, "Inf", "Infinity", 1)
	case record.Timestamp:
		var err error
		if text, err = f.instant(v.Time()); err != nil {
			return nil, err
		}
	case record.Text, record.JSON, record.Raw:
		switch {
		case !utf8.ValidString(text):
			return nil, f.unfit("is not valid UTF-8")
		case strings.Contains(text, "\x00"), f.Type == record.JSON && zeroInJSON(text):
			return nil, f.unfit("has a zero byte, which PostgreSQL's texts can't have")
		}
	}
	return &text, nil
}

// zeroInJSON reports whether a JSON text spells a zero byte.
func zeroInJSON(text string) bool {
	for n := strings.IndexByte(text, '\\'); n >= 0 && n+1 < len(text); {
		if strings.HasPrefix(text[n+1:], "u0000") {
			return true
		}
		next := strings.IndexByte(text[n+2:], '\\') // behind what is escaped
		if next < 0 {
			break
		}
		n += 2 + next
	}
	return false
}

func (f field) instant(at time.Time) (string, error) {
	stored := f.stored()
	if unit, ok := units[stored]; ok {
		if at.UnixMicro()%unit != 0 {
			return "", f.unfit(fmt.Sprintf("is %s, which is stored in %s", at.Format(time.RFC3339Nano), stored))
		}
		return strconv.FormatInt(at.UnixMicro()/unit, 10), nil
	}
	if stored == "" {
		return at.Format(shownZone), nil
	}
	text := at.Format(stored)
	if back, err := time.Parse(stored, text); err != nil || !back.Equal(at) {
		return "", f.unfit(fmt.Sprintf("is %s, which the layout %s can't say", at.Format(time.RFC3339Nano), stored))
	}
	return text, nil
}

func (f field) unfit(reason string) error {
	return fmt.Errorf("%w: %s %s", store.ErrUnfit, f.Name, reason)
}

// is returns the condition under which the field of a row holds the value, which
// is passed as the parameter if there is one.
func (f field) is(row string, v record.Value, n int) (condition string, text *string) {
	column := row + f.column()
	if f.Loose {
		column = f.read(row)
	}
	text, err := f.encode(v)
	switch {
	case err != nil:
		return "false", nil // what can't be stored is not there
	case text == nil:
		return column + " is null", nil
	}
	switch {
	case f.Loose, f.Type == record.Raw, f.own() == "text":
		return "(" + column + "::text) collate \"C\" = $" + strconv.Itoa(n) + "::text", text
	}
	return column + " = $" + strconv.Itoa(n) + "::text::" + f.own(), text
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

// quote shows a value to people, whatever it is.
func quote(s string) string { return fmt.Sprintf("%.60q", s) }
