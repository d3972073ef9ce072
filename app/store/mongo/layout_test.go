package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/mongo"
	"migrate.invalid/migrate/app/store/storetest"
)

// shop returns a declared collection of the suite's.
func shop(t testing.TB, name string) collection {
	t.Helper()
	c, ok := storetest.Shop().Collection(name)
	if !ok {
		t.Fatalf("no collection %s", name)
	}
	return c
}

// blank is a record with no value but in the fields that must have one.
func blank(t testing.TB, c collection, id ...record.Value) store.Record {
	t.Helper()
	key, err := c.MakeID(id...)
	if err != nil {
		t.Fatal(err)
	}
	values := make([]record.Value, len(c.Body()))
	for n, f := range c.Body() {
		if f.NotNull {
			values[n] = record.OfBool(false)
		}
	}
	return store.Record{ID: key, Pair: store.Pair{Rev: 1, Epoch: 1}, Body: record.NewBody(values...)}
}

// An _id is the natural value: what somebody would have made by hand.
func TestNaturalIDs(t *testing.T) {
	s, db := fresh(t, storetest.Shop().Collections...)
	prepared(t, s)
	u := uuid.MustParse("0198c5a2-7d1e-7c3b-8f00-1234567890ab")
	for name, c := range map[string]struct {
		id   []record.Value
		want any
	}{
		"items":    {[]record.Value{record.OfInt(7)}, int64(7)},
		"accounts": {[]record.Value{record.OfUUID(u)}, bson.Binary{Subtype: 4, Data: u[:]}},
		"orders":   {[]record.Value{record.UncheckedText("a"), record.OfInt(7)}, bson.D{{Key: "shop", Value: "a"}, {Key: "number", Value: int64(7)}}},
	} {
		if err := s.PutIfNewer(t.Context(), blank(t, shop(t, name), c.id...)); err != nil {
			t.Fatal(err)
		}
		var got bson.D
		if err := db.Collection(name).FindOne(t.Context(), bson.D{{Key: "_id", Value: c.want}}).Decode(&got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := gocmp.Diff(c.want, got[0].Value); d != "" {
			t.Errorf("%s: _id (-want +got):\n%s", name, d)
		}
		// The columns of the id are there and nowhere else; each other field is there, too.
		var keys []string
		for _, e := range got {
			keys = append(keys, e.Key)
		}
		want := []string{"_id"}
		for _, f := range shop(t, name).Body() {
			want = append(want, f.Name)
		}
		if want = append(want, "_migrate"); !slices.Equal(keys, want) {
			t.Errorf("%s: fields %q, want %q", name, keys, want)
		}
	}
}

// Fields that nobody declared are somebody else's.
func TestUndeclaredFieldsStay(t *testing.T) {
	s, db := fresh(t)
	prepared(t, s)
	r := store.Record{ID: key("a"), Pair: store.Pair{Rev: 1, Epoch: 1}, Body: body("first", false)}
	if err := s.PutIfNewer(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	tasks := db.Collection("tasks")
	if _, err := tasks.UpdateByID(t.Context(), "a", bson.D{{Key: "$set", Value: bson.D{{Key: "theirs", Value: 1}, {Key: "_migrate.left", Value: 1}}}}); err != nil {
		t.Fatal(err)
	}
	r.Rev = 2
	if err := s.CompareAndSwap(t.Context(), r, store.Pair{Rev: 1, Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	r.Rev, r.Deleted, r.Body = 3, true, ""
	if err := s.PutIfNewer(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	var got bson.M
	if err := tasks.FindOne(t.Context(), bson.D{}).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got["theirs"] == nil || got["description"] != nil {
		t.Errorf("after a write and a deletion: %v", got)
	}
	// What is the protocol's own is set whole.
	own, _ := got["_migrate"].(bson.D)
	if slices.ContainsFunc(own, func(e bson.E) bool { return e.Key == "left" }) || len(own) != 5 {
		t.Errorf("_migrate is %v", own)
	}
}

// Another layout and another declaration are refused by each way in, with what
// is the matter.
func TestOtherLayoutsAreRefused(t *testing.T) {
	other := storetest.Tasks().Collections
	other[0].Fields = slices.Clone(other[0].Fields)
	other[0].Fields[1].Type, other[0].Fields[1].Loose = record.Raw, false
	for what, c := range map[string]struct {
		spoil func(context.Context, *driver.Database) error
		open  []collection
		says  []string
	}{
		"a walk of before": {func(ctx context.Context, db *driver.Database) error {
			if err := db.Drop(ctx); err != nil {
				return err
			}
			_, err := db.Collection("tasks_migrate").InsertOne(ctx, bson.D{{Key: "_id", Value: "migration"}, {Key: "migration", Value: "a migration"}})
			return err
		}, nil, []string{"tasks_migrate", "finish that walk with the version of migrate that began it"}},
		"a later format": {func(ctx context.Context, db *driver.Database) error {
			_, err := db.Collection("migrate").UpdateByID(ctx, "migration", bson.D{{Key: "$set", Value: bson.D{{Key: "format", Value: 3}}}})
			return err
		}, nil, []string{"format 3", "writes 2"}},
		"another declaration": {func(context.Context, *driver.Database) error { return nil }, other,
			[]string{"another declaration", `tasks.fields.assignee.type is "text" in the database and "raw" here`}},
	} {
		t.Run(what, func(t *testing.T) {
			name, db := freshDatabase(t, serverURI)
			prepared(t, open(t, serverURI, name, time.Minute))
			if err := c.spoil(t.Context(), db); err != nil {
				t.Fatal(err)
			}
			s := open(t, serverURI, name, time.Minute, c.open...)
			_, prepared := s.Prepared(t.Context())
			_, looked := s.Look().Prepared(t.Context())
			_, identified := s.Identify(t.Context())
			_, mirrored := s.Mirror(t.Context())
			for way, err := range map[string]error{
				"Prepare": s.Prepare(t.Context(), "a migration"), "Prepared": prepared, "Look": looked, "Identify": identified, "Mirror": mirrored,
				"RaiseMirror": s.RaiseMirror(t.Context(), store.Mirror{Migration: "a migration", Epoch: 1, Primary: store.PrimaryOld}),
			} {
				if way == "RaiseMirror" && what != "a walk of before" {
					continue // it has moved one of its own migration
				}
				if !errors.Is(err, store.ErrStranger) {
					t.Errorf("%s: %v, want ErrStranger", way, err)
					continue
				}
				for _, part := range c.says {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%s: %v doesn't say %q", way, err, part)
					}
				}
			}
		})
	}
}

func TestOrderOfCollectionsIsNoDifference(t *testing.T) {
	name, _ := freshDatabase(t, serverURI)
	declared := storetest.Shop().Collections
	prepared(t, open(t, serverURI, name, time.Minute, declared...))
	slices.Reverse(declared)
	prepared(t, open(t, serverURI, name, time.Minute, declared...))
}

func TestCollectionCalledMigrateIsRefused(t *testing.T) {
	c := storetest.Tasks().Collections[0]
	c.Name = "migrate"
	if _, err := mongo.Open(t.Context(), mongo.Config{URI: serverURI, Collections: []collection{c}}); err == nil || !strings.Contains(err.Error(), `"migrate"`) {
		t.Errorf("Open: %v, want an error that names the collection", err)
	}
}

// A document that nobody put there by the protocol counts as no record, is never
// written over, and is listed.
func TestStrangers(t *testing.T) {
	s, db := fresh(t, storetest.Shop().Collections...)
	prepared(t, s)
	ours := blank(t, shop(t, "items"), record.OfInt(5))
	if err := s.PutIfNewer(t.Context(), ours); err != nil {
		t.Fatal(err)
	}
	for _, id := range []any{int64(1), 1.5, "text", bson.ObjectID{1}} {
		if _, err := db.Collection("items").InsertOne(t.Context(), bson.D{{Key: "_id", Value: id}, {Key: "title", Value: "theirs"}}); err != nil {
			t.Fatal(err)
		}
	}
	order := bson.D{{Key: "_id", Value: bson.D{{Key: "shop", Value: "a"}, {Key: "number", Value: int64(1)}}}}
	if _, err := db.Collection("orders").InsertOne(t.Context(), order); err != nil {
		t.Fatal(err)
	}
	found, n, err := s.Strangers(t.Context(), 100)
	want := []store.Stranger{{Collection: "items", ID: "1"}, {Collection: "items", ID: "1.5"}, {Collection: "items", ID: "text"},
		{Collection: "items", ID: bson.ObjectID{1}.Hex()}, {Collection: "orders", ID: `["a","1"]`}}
	if err != nil || n != 5 || len(found) != 5 {
		t.Fatalf("Strangers: %v, %d, %v", found, n, err)
	}
	for i := range want {
		if found[i].Collection != want[i].Collection || !strings.Contains(found[i].ID, want[i].ID) {
			t.Errorf("stranger %v, want %v", found[i], want[i])
		}
	}
	if found, n, err := s.Strangers(t.Context(), 2); err != nil || n != 5 || len(found) != 2 {
		t.Errorf("Strangers, two: %v, %d, %v", found, n, err)
	}
	if err := s.ProbeRecord(t.Context()); err != nil {
		t.Error(err)
	}
	mine := blank(t, shop(t, "items"), record.OfInt(1))
	for what, err := range map[string]error{
		"create": s.CompareAndSwap(t.Context(), mine, store.Pair{}), "put": s.PutIfNewer(t.Context(), mine),
	} {
		wantOnly(t, what, err, store.ErrRule)
		for _, part := range []string{"items", `"1"`, "did not write"} {
			if !strings.Contains(fmt.Sprint(err), part) {
				t.Errorf("%s: %v doesn't say %s", what, err, part)
			}
		}
	}
	held, err := s.Get(t.Context(), mine.ID, ours.ID)
	if err != nil || held[mine.ID] != (store.Record{ID: mine.ID}) || held[ours.ID] != ours {
		t.Errorf("Get: %v, %v; want the stranger at the zero pair", held, err)
	}
	// Whatever the limit is, all pages together show each record, and the strangers
	// that can be told by a record's id.
	for _, limit := range []int{1, 2, 3, 10} {
		var ids []string
		for after := record.ID(""); ; {
			page, err := s.Scan(t.Context(), after, limit)
			if err != nil || len(page.Records) > limit {
				t.Fatalf("Scan by %d: %d, %v", limit, len(page.Records), err)
			}
			for _, r := range page.Records {
				ids = append(ids, fmt.Sprintf("%s %v", r.ID, r.Pair))
			}
			if after = page.Next; page.End {
				break
			}
		}
		if got := strings.Join(ids, ", "); got != `1 (0,0), 5 (1,1), ["a","1"] (0,0)` {
			t.Errorf("Scan by %d: %s", limit, got)
		}
	}
	page, err := s.List(t.Context(), record.Filter{}, "", 10)
	if err != nil || len(page.Records) != 1 {
		t.Errorf("List: %v, %v; want the one that is ours", page, err)
	}
}

// A page ends when its documents are large, and never without a record.
func TestPagesEndByBytes(t *testing.T) {
	name, _ := freshDatabase(t, serverURI)
	s, err := mongo.Open(t.Context(), mongo.Config{
		URI: serverURI, Database: name, Collections: storetest.Tasks().Collections, Timeout: time.Minute, PageBytes: 10_000,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	prepared(t, s)
	for n := range 7 {
		r := store.Record{ID: key(fmt.Sprint(n)), Pair: store.Pair{Rev: 1, Epoch: 1}, Body: body(strings.Repeat("x", n*3_000), false)}
		if err := s.PutIfNewer(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	var sizes []int
	for after := record.ID(""); ; {
		page, err := s.Scan(t.Context(), after, 100)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(page.Records))
		if after = page.Next; page.End {
			break
		}
	}
	if got := fmt.Sprint(sizes); got != "[4 1 1 1 0]" {
		t.Errorf("pages of %s records", got)
	}
}

// The server is looked at once, and only where a value needs it.
func TestServerIsLookedAtOnce(t *testing.T) {
	p := startProxy(t)
	name, _ := freshDatabase(t, embeddedURI)
	s := prepared(t, open(t, p.uri(), name, time.Minute, storetest.Shop().Collections...))
	p.requests()
	for range 3 {
		if err := s.PutIfNewer(t.Context(), blank(t, shop(t, "orders"), record.UncheckedText("a"), record.OfInt(1))); err != nil {
			t.Fatal(err)
		}
	}
	if sent := p.requests("buildInfo"); len(sent) != 0 {
		t.Errorf("looked %d times for values that every server holds", len(sent))
	}
	for n := range int64(3) {
		if err := s.PutIfNewer(t.Context(), blank(t, shop(t, "items"), record.OfInt(n))); err != nil {
			t.Fatal(err)
		}
	}
	if sent := p.requests("buildInfo"); len(sent) != 1 {
		t.Errorf("looked %d times, want once", len(sent))
	}
}
