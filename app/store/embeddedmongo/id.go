package embeddedmongo

import (
	"bytes"
	"cmp"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// indexed reports whether FerretDB looks an _id up by an index of its own.
func indexed(id bson.RawValue) bool {
	return id.Type == bson.TypeString || id.Type == bson.TypeObjectID
}

// shelved reports whether an _id is one that the shelf looks up: a whole number,
// bytes such as a UUID, or a document of those and of texts.
func shelved(id bson.RawValue) bool {
	switch id.Type {
	case bson.TypeInt32, bson.TypeInt64, bson.TypeBinary:
		return true
	case bson.TypeEmbeddedDocument:
		elements, err := id.Document().Elements()
		if err != nil || len(elements) == 0 {
			return false
		}
		for _, e := range elements {
			v := e.Value()
			if e.Key() == "" || e.Key()[0] == '$' || v.Type == bson.TypeEmbeddedDocument || !indexed(v) && !shelved(v) {
				return false
			}
		}
		return true
	}
	return false
}

// idRank is the place of an _id's type in the order of BSON.
func idRank(v bson.RawValue) int {
	switch v.Type {
	case bson.TypeInt32, bson.TypeInt64, bson.TypeDouble:
		return 1
	case bson.TypeString:
		return 2
	case bson.TypeEmbeddedDocument:
		return 3
	case bson.TypeBinary:
		return 4
	case bson.TypeObjectID:
		return 5
	}
	return 0
}

// compareIDs orders two _ids as BSON does. It reports false for those of types
// that are not compared here.
func compareIDs(a, b bson.RawValue) (order int, ok bool) {
	rank := idRank(a)
	if rank == 0 || idRank(b) == 0 {
		return 0, false
	}
	if rank != idRank(b) {
		return cmp.Compare(rank, idRank(b)), true
	}
	switch rank {
	case 1:
		return compareNumbers(a, b)
	case 2:
		return compare(kindString, a, b)
	case 3:
		return compareDocuments(a.Document(), b.Document())
	case 4:
		return compareBinaries(a, b), true
	}
	return bytes.Compare(a.Value, b.Value), true
}

// compareBinaries goes by length, by subtype, then by the bytes.
func compareBinaries(a, b bson.RawValue) int {
	aType, aData := a.Binary()
	bType, bData := b.Binary()
	return cmp.Or(cmp.Compare(len(aData), len(bData)), cmp.Compare(aType, bType), bytes.Compare(aData, bData))
}

// compareDocuments goes field by field: by the value's type, the name, the value.
func compareDocuments(a, b bson.Raw) (int, bool) {
	as, errA := a.Elements()
	bs, errB := b.Elements()
	if errA != nil || errB != nil {
		return 0, false
	}
	for n := range min(len(as), len(bs)) {
		x, y := as[n], bs[n]
		if order := cmp.Or(cmp.Compare(idRank(x.Value()), idRank(y.Value())), cmp.Compare(x.Key(), y.Key())); order != 0 {
			return order, true
		}
		if order, ok := compareIDs(x.Value(), y.Value()); order != 0 || !ok {
			return order, ok
		}
	}
	return cmp.Compare(len(as), len(bs)), true
}
