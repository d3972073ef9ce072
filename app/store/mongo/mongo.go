// Package mongo is the new database: [store.New] on MongoDB.
//
// A declared collection is a collection of documents. A record is one document:
// its id is the _id, as the natural value, or as a document of the columns of
// an id that has several; the declared fields are beside it, and what is the
// protocol's own is in one sub-document, _migrate. Each write sets every
// declared field and the whole of _migrate; other fields stay as they are. What
// a value of each type becomes is in value.go and, as a table, in docs/types.md.
//
// What the migration keeps about itself is in a collection called migrate.
//
// Every write waits for a majority of the members and their journals, every
// call has a time limit, and every error says on purpose whether the call may
// have had an effect: see errors.go.
package mongo

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// Where the records are and how long a call may take, unless told otherwise.
const (
	DefaultDatabase = "todo"
	DefaultTimeout  = 5 * time.Second

	DefaultPageBytes = 32 << 20
)

// Config says where the database is and how to search it.
type Config struct {
	// URI is a MongoDB connection string. Its readConcernLevel is honoured if it
	// is linearizable; its write concern and read preference are not.
	URI         string
	Database    string // empty: DefaultDatabase
	Collections []record.Collection
	Timeout     time.Duration // of each call, if its context ends no sooner; zero: DefaultTimeout
	Select      time.Duration // how long a call looks for a server; zero: Timeout
	PageBytes   int           // a page ends when its documents have so many bytes; zero: DefaultPageBytes
	Logger      *slog.Logger  // nil: none
}

// Store is a [store.New] on MongoDB. It is safe for concurrent use.
type Store struct {
	cfg         Config
	declaration string // the canonical one
	collections map[string]*collection
	names       []string // of the collections, in the order of ids
	link        *link
	looked      *looked
	db          *mongo.Database // nil until it is connected, as all below

	// What is kept about the migration goes through one connection: on a server
	// without sessions that is what makes a read causal, see [Store.causal].
	metaClient *mongo.Client
	meta       *mongo.Collection

	looks bool // its reads write nothing first, see [Store.Look]
}

// Open returns a store that connects when it is first used: a server out of
// reach, or a name that does not resolve, is no error here. A connection string
// that can't be one is; its error never quotes a secret.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Database == "" {
		cfg.Database = DefaultDatabase
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Select == 0 {
		cfg.Select = cfg.Timeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.PageBytes == 0 {
		cfg.PageBytes = DefaultPageBytes
	}
	collections, names, err := newCollections(cfg.Collections)
	if err != nil {
		return nil, err
	}
	if err := Validate(cfg.URI); err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, declaration: record.Declaration{Collections: cfg.Collections}.Canonical(), collections: collections, names: names,
		link: newLink(cfg.URI, cfg.Select), looked: &looked{},
	}
	if s.link.service == "" { // no name has to be looked up for it
		return s, s.open()
	}
	return s, nil
}

// open makes the clients, which look for a server by themselves.
func (s *Store) open() error {
	client, err := s.link.client(s.cfg.Select, func(o *options.ClientOptions) {
		if o.ReadConcern == nil || o.ReadConcern.Level != readconcern.Linearizable().Level {
			o.SetReadConcern(readconcern.Majority())
		}
	})
	if err != nil {
		return err
	}
	metaClient, err := s.link.client(s.cfg.Select, func(o *options.ClientOptions) {
		o.SetReadConcern(readconcern.Majority()).SetMinPoolSize(0).SetMaxPoolSize(1)
	})
	if err != nil {
		return errors.Join(err, client.Disconnect(context.Background()))
	}
	s.db = client.Database(s.cfg.Database)
	for name, c := range s.collections {
		c.docs = s.db.Collection(name)
	}
	s.metaClient, s.meta = metaClient, metaClient.Database(s.cfg.Database).Collection(metaName)
	return nil
}

// closeWait bounds how long Close waits for a server that does not answer: each
// write that was acknowledged is there.
const closeWait = time.Second

// Close ends the connections. Calls that are under way may fail.
func (s *Store) Close() error {
	s.link.turn <- struct{}{} // of one who may just connect
	defer func() { <-s.link.turn }()
	if s.db == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(closeWait, s.cfg.Timeout))
	defer cancel()
	meta := make(chan error, 1)
	go func() { meta <- s.metaClient.Disconnect(ctx) }()
	return errors.Join(s.db.Client().Disconnect(ctx), <-meta)
}

// metaName is the collection of what the migration keeps about itself.
const metaName = "migrate"

var (
	_ store.New     = (*Store)(nil)
	_ store.Strange = (*Store)(nil)
)
