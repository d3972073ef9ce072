package record_test

import (
	"cmp"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"migrate.invalid/migrate/app/record"
)

var idTypes = []record.Type{record.Text, record.Int, record.UUID}

// order is the order of two values in their own type.
func order(a, b record.Value) int {
	if a.Type() == record.Int {
		return cmp.Compare(a.Int64(), b.Int64())
	}
	if a.Type() == record.UUID {
		u, w := a.UUID(), b.UUID()
		return strings.Compare(string(u[:]), string(w[:]))
	}
	return strings.Compare(a.String(), b.String())
}

// drawText draws texts that lie close to one another, with zero bytes.
func drawText(t *rapid.T) record.Value {
	v, err := record.OfText(rapid.StringOfN(rapid.RuneFrom([]rune{0, 1, 'a', 'é', '😀'}), 0, 4, -1).Draw(t, "text"))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func drawPart(t *rapid.T, of record.Type) record.Value {
	if of == record.Text {
		return drawText(t)
	}
	return draw(t, of)
}

func TestIDsAreOrderedByTheirValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		types := rapid.SliceOfN(rapid.SampledFrom(idTypes), 1, 3).Draw(t, "types")
		var a, b []record.Value
		ca, cb := drawText(t).String(), drawText(t).String()
		if rapid.Bool().Draw(t, "one collection") {
			cb = ca
		}
		want := strings.Compare(ca, cb)
		for _, of := range types {
			x, y := drawPart(t, of), drawPart(t, of)
			if rapid.Bool().Draw(t, "same") {
				y = x
			}
			a, b = append(a, x), append(b, y)
			if want == 0 {
				want = order(x, y)
			}
		}
		x, err := record.NewID(ca, a...)
		if err != nil {
			t.Fatal(err)
		}
		y, err := record.NewID(cb, b...)
		if err != nil {
			t.Fatal(err)
		}
		if got := cmp.Compare(x, y); got != want || (x == y) != (want == 0) {
			t.Errorf("%s and %s: %d, want %d", x, y, got, want)
		}
		for n, v := range x.Values() {
			if !v.Equal(a[n]) {
				t.Errorf("column %d of %s is %q, not %q", n, x, v, a[n])
			}
		}
	})
}

func TestIDsComeBackFromTheirText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		types := rapid.SliceOfN(rapid.SampledFrom(idTypes), 1, 3).Draw(t, "types")
		c := record.Collection{Name: "things"}
		var values []record.Value
		for n, of := range types {
			name := string(rune('a' + n))
			c.ID = append(c.ID, name)
			c.Fields = append(c.Fields, record.Field{Name: name, Type: of})
			values = append(values, drawPart(t, of))
		}
		id, err := c.MakeID(values...)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := c.ParseID(id.String()); err != nil || back != id {
			t.Errorf("%q came back as %q, %v", id, back, err)
		}
	})
}

// The zero ID is the beginning: less than every id, also than those whose value
// is a zero value.
func TestNoIDIsTheBeginning(t *testing.T) {
	text, err := record.OfText("")
	if err != nil {
		t.Fatal(err)
	}
	empty, err := record.NewID("c", text)
	if err != nil {
		t.Fatal(err)
	}
	least, err := record.NewID("c", record.OfInt(-1<<63))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []record.ID{empty, least} {
		if none := record.ID(""); id.IsZero() || !none.IsZero() || none >= id || record.Start("c") >= id || id >= record.End("c") {
			t.Errorf("%q is not after the beginning", id)
		}
	}
}

func TestWhatIsNoID(t *testing.T) {
	float := record.OfFloat(1)
	text, _ := record.OfText("a")
	for _, values := range [][]record.Value{nil, {{}}, {text, {}}, {float}, {record.OfBool(true)}} {
		if id, err := record.NewID("c", values...); !errors.Is(err, record.ErrUnfit) {
			t.Errorf("%v became %q, %v", values, id, err)
		}
	}
	two := record.Collection{ID: []string{"a", "b"}, Fields: []record.Field{{Name: "a", Type: record.Text}, {Name: "b", Type: record.Int}}}
	for _, s := range []string{"", "a", `["a"]`, `["a","1","2"]`, `["a",1]`, `["a","x"]`, `{"a":"1"}`} {
		if id, err := two.ParseID(s); !errors.Is(err, record.ErrUnfit) {
			t.Errorf("%s became %q, %v", s, id, err)
		}
	}
}

// Positions of a collection are around its ids, and outside those of every other.
func TestPositionsOfACollection(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawText(t).String(), drawText(t).String()
		id, err := record.NewID(b, drawPart(t, rapid.SampledFrom(idTypes).Draw(t, "type")))
		if err != nil {
			t.Fatal(err)
		}
		switch inside := record.Start(a) < id && id < record.End(a); {
		case inside != (a == b):
			t.Errorf("%q of %q is inside %q: %v", id, b, a, inside)
		case id.Collection() != b, record.Start(b).Collection() != b, record.End(b).Collection() != b:
			t.Errorf("%q is of %q", id, id.Collection())
		}
		if len(record.Start(a).Values())+len(record.End(a).Values()) != 0 || record.End(a).String() != "" {
			t.Error("a position names a record")
		}
	})
}

// What no function here has made names nothing, and is shown as it is.
func TestBrokenEncodings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 9, 'a', 0xff}), 0, 12).Draw(t, "bytes")
		id := record.ID(text)
		if values := id.Values(); len(values) > 0 {
			if again, err := record.NewID(id.Collection(), values...); err != nil || again != id {
				t.Errorf("%q is read as %v of %q", text, values, id.Collection())
			}
		}
		body := record.Body(text)
		if values := body.Values(); len(values) > 0 && record.NewBody(values...) != body {
			t.Errorf("%q is read as %v", text, values)
		}
	})
}
