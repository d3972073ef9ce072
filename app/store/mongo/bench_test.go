package mongo_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// keyed are ids of each kind; a collection of one field has them.
var keyed = map[string]struct {
	key []record.Field
	id  func(n int) []record.Value
}{
	"text": {[]record.Field{{Name: "id", Type: record.Text}}, func(n int) []record.Value { return []record.Value{record.UncheckedText(fmt.Sprint(n))} }},
	"int":  {[]record.Field{{Name: "id", Type: record.Int}}, func(n int) []record.Value { return []record.Value{record.OfInt(int64(n))} }},
	"uuid": {[]record.Field{{Name: "id", Type: record.UUID}}, func(n int) []record.Value {
		return []record.Value{record.OfUUID(uuid.NewSHA1(uuid.Nil, fmt.Append(nil, n)))}
	}},
	"composite": {[]record.Field{{Name: "shop", Type: record.Text}, {Name: "number", Type: record.Int}}, func(n int) []record.Value {
		return []record.Value{record.UncheckedText(fmt.Sprint(n % 7)), record.OfInt(int64(n))}
	}},
}

// What a call on one record costs must not grow with the collection, whatever
// its ids are: the embedded server alone looks at every document.
func BenchmarkAmong10000(b *testing.B) {
	for kind, k := range keyed {
		c := record.Collection{Name: "many", Fields: append(k.key, record.Field{Name: "note", Type: record.Text})}
		for _, f := range k.key {
			c.ID = append(c.ID, f.Name)
		}
		d := record.Declaration{Collections: []record.Collection{c}}
		if err := d.Complete(); err != nil {
			b.Fatal(err)
		}
		c = d.Collections[0]
		name, _ := freshDatabase(b, serverURI)
		s := open(b, serverURI, name, 10*time.Minute, c)
		if err := s.Prepare(b.Context(), "a migration"); err != nil {
			b.Fatal(err)
		}
		at := func(n int, rev int64) store.Record {
			id, err := c.MakeID(k.id(n)...)
			if err != nil {
				b.Fatal(err)
			}
			return store.Record{ID: id, Pair: store.Pair{Rev: rev, Epoch: 1}, Body: record.NewBody(record.UncheckedText(fmt.Sprint("note of ", rev)))}
		}
		for n := 0; n < 10_000; n++ {
			if err := s.CompareAndSwap(b.Context(), at(n, 1), store.Pair{}); err != nil {
				b.Fatal(err)
			}
		}
		rev := map[int]int64{}
		b.Run(kind+"/swap", func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				n := i * 7919 % 10_000
				rev[n]++
				if err := s.CompareAndSwap(b.Context(), at(n, rev[n]+1), store.Pair{Rev: rev[n], Epoch: 1}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(kind+"/put", func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if err := s.PutIfNewer(b.Context(), at(i*7907%10_000, 1_000_000+int64(i))); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(kind+"/get", func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if found, err := s.Get(b.Context(), at(i*7901%10_000, 1).ID); err != nil || len(found) != 1 {
					b.Fatal(found, err)
				}
			}
		})
	}
}
