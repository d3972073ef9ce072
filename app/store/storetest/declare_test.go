package storetest

import (
	"slices"
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
