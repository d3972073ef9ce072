package record_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"migrate.invalid/migrate/app/record"
)

func orders(t *testing.T) record.Collection {
	t.Helper()
	c, ok := read(t, shop).Collection("orders")
	if !ok {
		t.Fatal("there is no collection orders")
	}
	return c
}

func order1(t *testing.T, c record.Collection) (record.ID, record.Body) {
	t.Helper()
	id, err := c.ParseID(`["berlin","7"]`)
	if err != nil {
		t.Fatal(err)
	}
	total, err := record.OfDecimal("12.50")
	if err != nil {
		t.Fatal(err)
	}
	return id, record.NewBody(total, record.OfBool(true), record.Value{})
}

func TestCollectionParts(t *testing.T) {
	c := orders(t)
	names := func(fields []record.Field) string {
		var all []string
		for _, f := range fields {
			all = append(all, f.Name)
		}
		return strings.Join(all, " ")
	}
	if got := names(c.Key()); got != "shop number" {
		t.Errorf("the key is %s", got)
	}
	if got := names(c.Body()); got != "total paid placed" {
		t.Errorf("the body is %s", got)
	}
	c.ID = []string{"number", "shop"} // the id's order is its own
	if got := names(c.Key()); got != "number shop" {
		t.Errorf("the key is %s", got)
	}
}

func TestCheck(t *testing.T) {
	c := orders(t)
	id, body := order1(t, c)
	if err := c.Check(id, body); err != nil {
		t.Fatal(err)
	}
	berlin, _ := record.OfText("berlin")
	short, _ := record.NewID("orders", berlin)
	strange, _ := record.NewID("customers", berlin, record.OfInt(7))
	with := func(n int, v record.Value) record.Body {
		changed := body.Values()
		changed[n] = v
		return record.NewBody(changed...)
	}
	for _, bad := range []struct {
		id   record.ID
		body record.Body
		want string
	}{
		{short, body, `"berlin" of "orders" is no id here`},
		{strange, body, `of "customers" is no id here`},
		{"", body, `"" of "" is no id here`},
		{id, record.NewBody(body.Values()[:2]...), "the body has 2 fields, not 3"},
		{id, with(1, record.Value{}), `id "[\"berlin\",\"7\"]", field paid is NULL`},
		{id, with(2, record.OfInt(1)), "field placed is int, not timestamp"},
	} {
		if err := c.Check(bad.id, bad.body); !errors.Is(err, record.ErrUnfit) || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%v, want %s", err, bad.want)
		}
	}
}

// Whatever a declaration says about records is in its digest; the order of
// collections and the places of the databases are not.
func TestDigest(t *testing.T) {
	was := read(t, shop)
	same := read(t, shop)
	same.Old, same.New = "sqlite:/elsewhere", ""
	slices.Reverse(same.Collections)
	if was.Digest() != same.Digest() {
		t.Error("the same declaration has two digests")
	}
	for _, change := range [][2]string{
		{"table: Orders", "table: orders"}, {"id: [shop, number]", "id: [number, shop]"}, {"name: text", "name: raw"},
		{"name: text", "nome: text"}, {"as: text", "as: decimal"}, {"null: false", "null: true"}, {"true: t", "true: 'yes'"},
		{"false: f", "false: 'no'"}, {"placed_at", "placed_on"}, {`"2006-01-02 15:04:05"`, "s"}, {"[[shop, paid]]", "[[paid, shop]]"},
		{"      name: text\n", "      name: text\n      more: text\n"}, {"customers:", "clients:"},
	} {
		text := strings.Replace(shop, change[0], change[1], 1)
		if text == shop {
			t.Fatalf("%q is not in the file", change[0])
		}
		if read(t, text).Digest() == was.Digest() {
			t.Errorf("%s instead of %s has the same digest", change[1], change[0])
		}
	}
}

func TestFilter(t *testing.T) {
	c := orders(t)
	id, body := order1(t, c)
	text := func(s string) record.Value { v, _ := record.OfText(s); return v }
	for _, f := range []struct {
		conditions []record.Equals
		want       bool
	}{
		{nil, true},
		{[]record.Equals{{"shop", text("berlin")}}, true},
		{[]record.Equals{{"shop", text("Berlin")}}, false},
		{[]record.Equals{{"number", record.OfInt(7)}, {"paid", record.OfBool(true)}}, true},
		{[]record.Equals{{"number", record.OfInt(7)}, {"paid", record.OfBool(false)}}, false},
		{[]record.Equals{{"placed", record.Value{}}}, true},
		{[]record.Equals{{"paid", record.Value{}}}, false},
	} {
		filter, err := c.Filter(f.conditions...)
		if err != nil || filter.Match(id, body) != f.want {
			t.Errorf("%v: want %v; %v", f.conditions, f.want, err)
		}
	}
	for _, bad := range []struct {
		conditions []record.Equals
		want       string
	}{
		{[]record.Equals{{"shpo", text("x")}}, `no field "shpo"; did you mean "shop"?`},
		{[]record.Equals{{"total", record.Value{}}}, "can't be filtered by total, of type decimal"},
		{[]record.Equals{{"paid", record.OfInt(1)}}, "paid is bool, not int"},
		{[]record.Equals{{"shop", text("a")}, {"shop", text("b")}}, "names shop twice"},
	} {
		if _, err := c.Filter(bad.conditions...); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%v: %v, want %s", bad.conditions, err, bad.want)
		}
	}
}

func TestBodiesAreComparedByTheirEncoding(t *testing.T) {
	all := types(t)
	rapid.Check(t, func(t *rapid.T) {
		draws := func(name string) []record.Value {
			return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) record.Value {
				if rapid.Bool().Draw(t, "null") {
					return record.Value{}
				}
				return draw(t, rapid.SampledFrom(all).Draw(t, "type"))
			}), 0, 3).Draw(t, name)
		}
		x, y := draws("a"), draws("b")
		a, b := record.NewBody(x...), record.NewBody(y...)
		same := slices.EqualFunc(x, y, record.Value.Equal)
		if same != (a == b) || same != (a.Digest() == b.Digest()) {
			t.Errorf("%v and %v: same %v, bodies %v, digests %v", x, y, same, a == b, a.Digest() == b.Digest())
		}
		if back := a.Values(); !slices.EqualFunc(back, x, record.Value.Equal) {
			t.Errorf("%v came back as %v", x, back)
		}
	})
}
