package storetest

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/record"
)

// The suite is worth what its declaration covers: every type, in every form, and
// every type of an id.
func TestShopHasEveryType(t *testing.T) {
	forms, ids := map[string]bool{}, map[record.Type]bool{}
	for _, c := range Shop().Collections {
		for _, f := range c.Body() {
			forms[f.Type.String()+" "+f.As] = true
		}
		for _, f := range c.Key() {
			ids[f.Type] = true
		}
	}
	for _, name := range record.TypeNames() {
		typ, _ := record.ParseType(name)
		for _, form := range append(record.Forms(typ), "")[:max(1, len(record.Forms(typ)))] {
			if !forms[name+" "+form] {
				t.Errorf("no field of type %s, form %q", name, form)
			}
		}
		if typ.Identifies() && !ids[typ] {
			t.Errorf("no id with a column of type %s", name)
		}
	}
	if !slices.ContainsFunc(Shop().Collections, func(c record.Collection) bool { return len(c.ID) > 1 }) {
		t.Error("no id of several columns")
	}
}

// The page of hazards names each store that breaks a rule about ids, values,
// collections, or about what one of the two databases can't hold.
func TestBrokenStoresAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/hazards.md")
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Collect(maps.Keys(brokenShops()))
	for name := range brokenOlds() {
		if strings.HasPrefix(name, "Isolate") || strings.HasPrefix(name, "PutTogether") {
			names = append(names, name)
		}
	}
	for _, name := range append(names, "a rule is a value that does not fit") {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/hazards.md doesn't name %q", name)
		}
	}
}
