// Package mongo is the new database: [store.New] on MongoDB, for any body that
// marshals to a BSON document with the same fields for every value.
//
// A record is one flat document: _id, rev, epoch, pending, deleted, request
// and the body's fields beside them. What the migration keeps about itself is
// in a second collection, named after the first with "_migrate" behind it.
//
// Every write waits for a majority of the members and their journals, every
// call has a time limit, and every error says on purpose whether the call may
// have had an effect: see errors.go.
package mongo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"

	"migrate/app/store"
)

// Where the records are and how long a call may take, unless told otherwise.
const (
	DefaultDatabase   = "todo"
	DefaultCollection = "tasks"
	DefaultTimeout    = 5 * time.Second
)

// Config says where the database is and how to search it.
type Config[F any] struct {
	// URI is a MongoDB connection string. Its readConcernLevel is honoured if it
	// is linearizable; its write concern and read preference are not.
	URI        string
	Database   string         // empty: DefaultDatabase
	Collection string         // empty: DefaultCollection
	Filter     func(F) bson.D // the filter in MongoDB's words, on the body's fields
	ListKeys   []string       // body fields that lists are searched by; indexed, with the id last
	Timeout    time.Duration  // of each call, if its context ends no sooner; zero: DefaultTimeout
	Select     time.Duration  // how long a call looks for a server; zero: Timeout
	Logger     *slog.Logger   // nil: none
}

// Store is a [store.New] on MongoDB. It is safe for concurrent use.
type Store[B, F any] struct {
	cfg     Config[F]
	link    *link
	records *mongo.Collection // nil until it is connected, as all below

	// What is kept about the migration goes through one connection: on a server
	// without sessions that is what makes a read causal, see [Store.causal].
	metaClient *mongo.Client
	meta       *mongo.Collection

	looks bool // its reads write nothing first, see [Store.Look]
}

// Open returns a store that connects when it is first used: a server out of
// reach, or a name that does not resolve, is no error here. A connection string
// that can't be one is; its error never quotes a secret.
func Open[B, F any](ctx context.Context, cfg Config[F]) (*Store[B, F], error) {
	if cfg.Database == "" {
		cfg.Database = DefaultDatabase
	}
	if cfg.Collection == "" {
		cfg.Collection = DefaultCollection
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
	if cfg.Filter == nil {
		return nil, errors.New("mongo: no filter given")
	}
	if err := checkBody[B](); err != nil {
		return nil, err
	}
	if err := Validate(cfg.URI); err != nil {
		return nil, err
	}
	s := &Store[B, F]{cfg: cfg, link: newLink(cfg.URI, cfg.Select)}
	if s.link.service == "" { // no name has to be looked up for it
		return s, s.open()
	}
	return s, nil
}

// open makes the clients, which look for a server by themselves.
func (s *Store[B, F]) open() error {
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
	s.records = client.Database(s.cfg.Database).Collection(s.cfg.Collection)
	s.metaClient, s.meta = metaClient, metaClient.Database(s.cfg.Database).Collection(s.cfg.Collection+"_migrate")
	return nil
}

// closeWait bounds how long Close waits for a server that does not answer: each
// write that was acknowledged is there.
const closeWait = time.Second

// Close ends the connections. Calls that are under way may fail.
func (s *Store[B, F]) Close() error {
	s.link.turn <- struct{}{} // of one who may just connect
	defer func() { <-s.link.turn }()
	if s.records == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(closeWait, s.cfg.Timeout))
	defer cancel()
	meta := make(chan error, 1)
	go func() { meta <- s.metaClient.Disconnect(ctx) }()
	return errors.Join(s.records.Database().Client().Disconnect(ctx), <-meta)
}

// reservedFields are the fields of a document that the body can't have.
var reservedFields = []string{"_id", "rev", "epoch", "pending", "deleted", "request"}

// checkBody refuses a body type whose fields would collide with the record's.
func checkBody[B any]() error {
	var zero B
	fields, err := bodyFields(zero)
	if err != nil {
		return fmt.Errorf("mongo: %T can't be a body: %w", zero, err)
	}
	for _, f := range fields {
		if slices.Contains(reservedFields, f.Key) {
			return fmt.Errorf("mongo: %T can't be a body: its field %q is taken", zero, f.Key)
		}
	}
	return nil
}

var _ store.New[struct{}, struct{}] = (*Store[struct{}, struct{}])(nil)
