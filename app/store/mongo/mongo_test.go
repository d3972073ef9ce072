package mongo_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/embeddedmongo"
	"migrate.invalid/migrate/app/store/mongo"
	"migrate.invalid/migrate/app/store/storetest"
)

type (
	taskStore  = mongo.Store
	collection = record.Collection
)

// The servers that the tests run against. The embedded one always runs: the
// proxy that misbehaves stands before it.
var (
	embeddedURI string
	serverURI   string // a real one if it is given, else the embedded one
	databases   atomic.Int64
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mongo-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	server, err := embeddedmongo.Start(context.Background(), embeddedmongo.Config{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	embeddedURI = server.URI()
	serverURI = cmp.Or(os.Getenv("MIGRATE_TEST_MONGO_URI"), embeddedURI)
	code := m.Run()
	// Nothing may be left running, of the stores or of the server.
	for _, err := range []error{server.Close(), goleak.Find()} {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}

// freshDatabase names a database that is dropped after the test, and returns
// a plain client for looking at it.
func freshDatabase(t testing.TB, uri string) (string, *driver.Database) {
	t.Helper()
	name := fmt.Sprintf("migrate_test_%d_%d", os.Getpid(), databases.Add(1))
	client, err := driver.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		if err := client.Database(name).Drop(ctx); err != nil {
			t.Errorf("drop %s: %v", name, err)
		}
		if err := client.Disconnect(ctx); err != nil {
			t.Error(err)
		}
	})
	return name, client.Database(name)
}

// open returns a store of tasks, unless other collections are declared.
func open(t testing.TB, uri, database string, timeout time.Duration, declared ...collection) *taskStore {
	t.Helper()
	if declared == nil {
		declared = storetest.Tasks().Collections
	}
	s, err := mongo.Open(t.Context(), mongo.Config{
		URI: uri, Database: database, Collections: declared, Timeout: timeout,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func fresh(t *testing.T, declared ...collection) (*taskStore, *driver.Database) {
	t.Helper()
	name, db := freshDatabase(t, serverURI)
	return open(t, serverURI, name, time.Minute, declared...), db
}

// key is the id of a task.
func key(text string) record.ID {
	id, err := storetest.Tasks().Collections[0].ParseID(text)
	if err != nil {
		panic(err) // every text is one
	}
	return id
}

// body is that of a task of bill's.
func body(description string, done bool) record.Body {
	return record.NewBody(record.UncheckedText("bill"), record.UncheckedText(description), record.OfBool(done))
}

func TestStore(t *testing.T) {
	storetest.RunNew(t, func(t *testing.T, d record.Declaration) store.New {
		s, _ := fresh(t, d.Collections...)
		return s
	})
}

// prepared is a store that belongs to a migration.
func prepared(t *testing.T, s *taskStore) *taskStore {
	t.Helper()
	if err := s.Prepare(t.Context(), "a migration"); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPreparedSaysWhatIsMissing(t *testing.T) {
	for what, remove := range map[string]func(context.Context, *driver.Database) error{
		"migrate_list_1": func(ctx context.Context, db *driver.Database) error {
			return db.Collection("tasks").Indexes().DropOne(ctx, "migrate_list_1")
		},
		"migrate_pending": func(ctx context.Context, db *driver.Database) error {
			return db.Collection("tasks").Indexes().DropOne(ctx, "migrate_pending")
		},
		"tasks is missing": func(ctx context.Context, db *driver.Database) error {
			return db.Collection("tasks").Drop(ctx)
		},
		"no migration id": func(ctx context.Context, db *driver.Database) error {
			return db.Collection("migrate").Drop(ctx)
		},
	} {
		t.Run(what, func(t *testing.T) {
			s, db := fresh(t)
			prepared(t, s)
			if id, err := s.Prepared(t.Context()); id != "a migration" || err != nil {
				t.Fatalf("Prepared: %q, %v", id, err)
			}
			if err := remove(t.Context(), db); err != nil {
				t.Fatal(err)
			}
			_, err := s.Prepared(t.Context())
			if !errors.Is(err, store.ErrStranger) || !strings.Contains(err.Error(), what) {
				t.Errorf("Prepared: %v; want ErrStranger that names %q", err, what)
			}
			// Preparing again mends it.
			prepared(t, s)
			if _, err := s.Prepared(t.Context()); err != nil {
				t.Errorf("Prepared after another Prepare: %v", err)
			}
		})
	}
}

func TestPrepareRefusesForeignDocuments(t *testing.T) {
	s, db := fresh(t)
	if _, err := db.Collection("tasks").InsertOne(t.Context(), bson.D{{Key: "title", Value: "not ours"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Prepare(t.Context(), "a migration"); !errors.Is(err, store.ErrStranger) {
		t.Errorf("Prepare: %v, want ErrStranger", err)
	}
	if _, err := s.Prepared(t.Context()); !errors.Is(err, store.ErrStranger) {
		t.Errorf("Prepared: %v, want ErrStranger", err)
	}
}

func TestOfManyWhoPrepareOneWins(t *testing.T) {
	name, _ := freshDatabase(t, serverURI)
	const rivals = 6
	errs := make([]error, rivals)
	var group sync.WaitGroup
	for i := range rivals {
		s := open(t, serverURI, name, time.Minute)
		group.Go(func() { errs[i] = s.Prepare(t.Context(), fmt.Sprint(i)) })
	}
	group.Wait()
	id, err := open(t, serverURI, name, time.Minute).Prepared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range errs {
		if fmt.Sprint(i) == id && err != nil {
			t.Errorf("the winner got %v", err)
		}
		if fmt.Sprint(i) != id && !errors.Is(err, store.ErrStranger) {
			t.Errorf("a loser got %v, want ErrStranger", err)
		}
	}
}

// Fields are at the top of a document, fit for other programs' eyes and for
// indexes, and what is the protocol's own is in one place.
func TestDocumentIsFlat(t *testing.T) {
	s, db := fresh(t)
	prepared(t, s)
	r := store.Record{ID: key("a"), Pair: store.Pair{Rev: 2, Epoch: 3}, Pending: true, Request: "hash", Body: body("text", true)}
	if err := s.CompareAndSwap(t.Context(), r, store.Pair{}); err != nil {
		t.Fatal(err)
	}
	var got bson.D
	if err := db.Collection("tasks").FindOne(t.Context(), bson.D{{Key: "_id", Value: "a"}}).Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := bson.D{
		{Key: "_id", Value: "a"}, {Key: "assignee", Value: "bill"}, {Key: "description", Value: "text"}, {Key: "done", Value: true},
		{Key: "_migrate", Value: bson.D{
			{Key: "rev", Value: int64(2)}, {Key: "epoch", Value: int64(3)},
			{Key: "pending", Value: true}, {Key: "deleted", Value: false}, {Key: "request", Value: "hash"},
		}},
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("document (-want +got):\n%s", d)
	}
}

func TestErrorsShowNoPassword(t *testing.T) {
	for _, uri := range []string{
		"mongodb://bill:s3cret@127.0.0.1:notaport/", "mongodb://bill:s3cret%zz@127.0.0.1/", "mongo://bill:s3cret@127.0.0.1/",
		"mongodb://bill:s3cret@127.0.0.1/?w=nonsense&readPreference=none", "mongodb://bill:s3:cret@h@127.0.0.1/",
		"mongodb://bill:s3cret@127.0.0.1:1/?authMechanism=SCRAM-SHA-256",
	} {
		s, err := mongo.Open(t.Context(), mongo.Config{URI: uri, Collections: storetest.Tasks().Collections, Timeout: 50 * time.Millisecond})
		if err == nil {
			_, err = s.Get(t.Context(), key("a"))
			if closeErr := s.Close(); closeErr != nil {
				t.Error(closeErr)
			}
		}
		if err == nil || strings.Contains(err.Error(), "s3") || strings.Contains(err.Error(), "cret") {
			t.Errorf("%s: %v", uri, err)
		}
	}
}
