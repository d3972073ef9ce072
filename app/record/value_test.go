package record_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"migrate.invalid/migrate/app/record"
)

// draw returns any value of the type.
func draw(t *rapid.T, of record.Type) record.Value {
	must := func(v record.Value, err error) record.Value {
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	switch of {
	case record.Text:
		return must(record.OfText(rapid.String().Draw(t, "text")))
	case record.Raw:
		return must(record.OfRaw(rapid.String().Draw(t, "raw")))
	case record.Int:
		return record.OfInt(rapid.Int64().Draw(t, "int"))
	case record.Float:
		return record.OfFloat(math.Float64frombits(rapid.Uint64().Draw(t, "float")))
	case record.Decimal:
		return must(record.OfDecimal(rapid.StringMatching(`(-?[1-9]\d{0,40}|0)(\.\d{0,20}[1-9])?`).Draw(t, "decimal")))
	case record.Bool:
		return record.OfBool(rapid.Bool().Draw(t, "bool"))
	case record.Bytes:
		return record.OfBytes(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
	case record.Timestamp:
		return must(record.OfTime(time.UnixMicro(rapid.Int64Range(year1, year9999).Draw(t, "timestamp"))))
	case record.Date:
		return must(record.OfDate(time.UnixMicro(rapid.Int64Range(year1, year9999).Draw(t, "date")).UTC()))
	case record.UUID:
		return record.OfUUID(uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid")))
	case record.JSON:
		return must(record.OfJSON(rapid.SampledFrom(documents).Draw(t, "json")))
	}
	t.Fatalf("no value of type %s", of)
	return record.Value{}
}

var (
	year1    = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	year9999 = time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC).UnixMicro()
)

var documents = []string{`null`, `"null"`, `1`, `1.0`, `[]`, `{}`, `{"b":[1,{"a":null}],"a":"\u0000é"}`, `12345678901234567890.10`}

// types are all of them.
func types(t testing.TB) []record.Type {
	var all []record.Type
	for _, name := range record.TypeNames() {
		of, ok := record.ParseType(name)
		if !ok {
			t.Fatalf("%q is no type", name)
		}
		all = append(all, of)
	}
	if len(all) != 11 {
		t.Fatalf("%d types", len(all))
	}
	return all
}

func TestValuesComeBackFromTheirText(t *testing.T) {
	for _, of := range types(t) {
		t.Run(of.String(), rapid.MakeCheck(func(t *rapid.T) {
			v := draw(t, of)
			back, err := record.Parse(of, v.String())
			if err != nil || !back.Equal(v) {
				t.Errorf("%q came back as %q, %v", v, back, err)
			}
		}))
	}
}

// The canonical encoding tells apart exactly the values that are not equal, and
// none is the beginning of another one, so that a body's is as exact.
func TestCanonicalEncodingIsExact(t *testing.T) {
	all := types(t)
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t, rapid.SampledFrom(all).Draw(t, "a")), draw(t, rapid.SampledFrom(all).Draw(t, "b"))
		x, y := a.AppendCanonical(nil), b.AppendCanonical(nil)
		if bytes.Equal(x, y) != a.Equal(b) {
			t.Errorf("%s %q and %s %q: equal %v, encodings %x and %x", a.Type(), a, b.Type(), b, a.Equal(b), x, y)
		}
		if !a.Equal(b) && (bytes.HasPrefix(x, y) || bytes.HasPrefix(y, x)) {
			t.Errorf("%q and %q: one of %x and %x begins with the other", a, b, x, y)
		}
	})
}

func TestNullIsNoOtherValue(t *testing.T) {
	var null record.Value
	empty, _ := record.OfText("")
	text, _ := record.OfText("NULL")
	document, _ := record.OfJSON("null")
	for _, v := range []record.Value{empty, text, document, record.OfInt(0), record.OfBool(false), record.OfBytes(nil), record.OfFloat(0)} {
		if v.Equal(null) || v.IsNull() || bytes.Equal(v.AppendCanonical(nil), null.AppendCanonical(nil)) {
			t.Errorf("%s %q is taken for NULL", v.Type(), v)
		}
	}
	if !null.Equal(record.Value{}) || !null.IsNull() {
		t.Error("NULL is not NULL")
	}
}

func TestValuesThatDifferLittle(t *testing.T) {
	decimal := func(s string) record.Value { v, _ := record.OfDecimal(s); return v }
	for _, c := range []struct{ a, b record.Value }{
		{record.OfFloat(0), record.OfFloat(math.Copysign(0, -1))},
		{decimal("1"), decimal("1.0")},
		{decimal("1.50"), decimal("1.5")},
		{record.OfInt(1), record.OfBool(true)},
		{record.OfBytes([]byte{0}), record.OfBytes(nil)},
	} {
		if c.a.Equal(c.b) {
			t.Errorf("%s %q and %s %q are equal", c.a.Type(), c.a, c.b.Type(), c.b)
		}
	}
	if !record.OfFloat(math.NaN()).Equal(record.OfFloat(math.Float64frombits(0x7ff8dead00000000))) {
		t.Error("NaNs differ")
	}
}

func TestUnfitValues(t *testing.T) {
	for _, c := range []struct {
		of   record.Type
		text string
	}{
		{record.Text, "a\xff"}, {record.Raw, "\xc0\x80"},
		{record.Int, "9223372036854775808"}, {record.Int, "+1"}, {record.Int, "01"}, {record.Int, "1.0"}, {record.Int, ""},
		{record.Float, "1e400"}, {record.Float, "1.0"}, {record.Float, "inf"},
		{record.Decimal, "-0"}, {record.Decimal, "-0.00"}, {record.Decimal, "01"}, {record.Decimal, ".5"}, {record.Decimal, "5."}, {record.Decimal, "1e3"}, {record.Decimal, "NaN"}, {record.Decimal, ""}, {record.Decimal, "1,5"}, {record.Decimal, "--1"},
		{record.Bool, "t"}, {record.Bool, "1"},
		{record.Bytes, "00"}, {record.Bytes, `\x0`}, {record.Bytes, `\xAB`},
		{record.Timestamp, "2026-01-02T03:04:05.1234567Z"}, {record.Timestamp, "2026-01-02T03:04:05.10Z"}, {record.Timestamp, "2026-01-02T03:04:05+01:00"}, {record.Timestamp, "0000-01-01T00:00:00Z"}, {record.Timestamp, "infinity"},
		{record.Date, "2026-02-30"}, {record.Date, "0000-12-31"}, {record.Date, "10000-01-01"},
		{record.UUID, "C0FFEE00-0000-4000-8000-000000000000"}, {record.UUID, "c0ffee00000040008000000000000000"},
		{record.JSON, ""}, {record.JSON, "{}{}"}, {record.JSON, "[1,]"}, {record.JSON, "{'a':1}"}, {record.JSON, "01"}, {record.JSON, `{"a":1,"a":2}`},
		{record.JSON, `{"a":1,"\u0061":1}`}, {record.JSON, `"\ud800"`}, {record.JSON, `"\udc00x"`}, {record.JSON, `"\ud800\u0041"`}, {record.JSON, "\"\xff\""},
		{record.JSON, "1e1001"}, {record.JSON, "1e-1001"}, {record.JSON, strings.Repeat("[", 1002) + strings.Repeat("]", 1002)},
	} {
		if v, err := record.Parse(c.of, c.text); !errors.Is(err, record.ErrUnfit) {
			t.Errorf("%s %.40q: %q, %v", c.of, c.text, v, err)
		}
	}
	if _, err := record.OfTime(time.Date(2026, 1, 1, 0, 0, 0, 1, time.UTC)); !errors.Is(err, record.ErrUnfit) {
		t.Errorf("a nanosecond: %v", err)
	}
}

func TestCanonicalJSON(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{" { \"b\" : 1 , \"a\" : [ ] } ", `{"a":[],"b":1}`},
		{`{"a":{"y":1,"x":2}}`, `{"a":{"x":2,"y":1}}`},
		{`"\u00e9\/\u0041\ud83d\ude00"`, `"é/A😀"`},
		{`"\\ud800"`, `"\\ud800"`},
		{`"<&>"`, `"<&>"`},
		{`12345678901234567890123`, `12345678901234567890123`},
		{`1.50`, `1.50`}, {`-0`, `0`}, {`-0.0`, `0.0`}, {`1e2`, `100`}, {`1.5e1`, `15`}, {`1.50E1`, `15.0`}, {`1.5e-3`, `0.0015`}, {`-12e-1`, `-1.2`}, {`0e5`, `0`}, {`0.10e1`, `1.0`},
	} {
		v, err := record.OfJSON(c.text)
		if err != nil || v.String() != c.want {
			t.Errorf("%s: %s, %v; want %s", c.text, v, err, c.want)
			continue
		}
		if again, err := record.OfJSON(v.String()); err != nil || !again.Equal(v) {
			t.Errorf("%s: again %s, %v", v, again, err)
		}
	}
}

func FuzzJSON(f *testing.F) {
	for _, s := range documents {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := record.OfJSON(s)
		if err != nil {
			return
		}
		if again, err := record.OfJSON(v.String()); err != nil || !again.Equal(v) {
			t.Errorf("%q became %q, then %q, %v", s, v, again, err)
		}
	})
}

func TestMessagesStayShort(t *testing.T) {
	_, err := record.OfDecimal(strings.Repeat("é", 10_000))
	if err == nil || len(err.Error()) > 200 {
		t.Errorf("%.300v", err)
	}
}
