package record

import (
	"strings"
	"testing"
)

func shop(t *testing.T, edit func(*Declaration)) string {
	t.Helper()
	d := Declaration{Collections: []Collection{
		{Name: "orders", ID: []string{"shop", "number"}, Fields: []Field{
			{Name: "shop", Type: Text}, {Name: "number", Type: Int}, {Name: "total", Type: Decimal}, {Name: "paid", Type: Bool},
		}, Lists: [][]string{{"paid"}}},
		{Name: "customers", ID: []string{"id"}, Fields: []Field{{Name: "id", Type: UUID}, {Name: "name", Type: Text}}},
	}}
	edit(&d)
	if err := d.Complete(); err != nil {
		t.Fatal(err)
	}
	return d.Canonical()
}

func TestDifference(t *testing.T) {
	held := shop(t, func(*Declaration) {})
	for want, edit := range map[string]func(*Declaration){
		"": func(d *Declaration) {
			d.Old, d.Collections[0], d.Collections[1] = "sqlite:elsewhere", d.Collections[1], d.Collections[0]
		},
		"customers is in the database's declaration and not here": func(d *Declaration) { d.Collections = d.Collections[:1] },
		"stock is here and not in the database's declaration": func(d *Declaration) {
			d.Collections = append(d.Collections, Collection{Name: "stock", ID: []string{"id"}, Fields: []Field{{Name: "id", Type: Int}}})
		},
		`orders.fields.total.type is "decimal" in the database and "text" here`: func(d *Declaration) { d.Collections[0].Fields[2].Type = Text },
		`orders.fields.total.as is "decimal" in the database and "text" here`:   func(d *Declaration) { d.Collections[0].Fields[2].As = "text" },
		`orders.fields.paid.true is unset in the database and "t" here`: func(d *Declaration) {
			d.Collections[0].Fields[3].True, d.Collections[0].Fields[3].False = "t", "f"
		},
		"customers.fields are in another order: id, name in the database, name, id here": func(d *Declaration) {
			f := d.Collections[1].Fields
			f[0], f[1] = f[1], f[0]
		},
		`orders.id is ["shop","number"] in the database and ["number","shop"] here`: func(d *Declaration) {
			d.Collections[0].ID = []string{"number", "shop"}
		},
		`orders.lists is [["paid"]] in the database and unset here`: func(d *Declaration) { d.Collections[0].Lists = nil },
	} {
		if got := Difference(held, shop(t, edit)); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := Difference("no JSON", held); got == "" {
		t.Error("a declaration that can't be read equals every other")
	}
}
