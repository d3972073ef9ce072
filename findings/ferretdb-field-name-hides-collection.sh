#!/usr/bin/env bash
# FerretDB 1.24.2 on its SQLite backend: one document with a backslash in a field's name makes the others unreadable.
#
# Guess: a field's name may hold a backslash, as in MongoDB. A server that can't hold such a name refuses the document.
# Either way the other documents of the collection are read as before.
#
# Seen: the insert is acknowledged. From then on each find over the collection fails, also one by the _id of another
# document, with an internal error: sjson.Unmarshal misses the key. The server writes the names of a document's top level
# into its JSON without escaping them; the names inside a sub-document are escaped, and do no harm.
set -euo pipefail
command -v go >/dev/null || { echo "needs go"; exit 77; }
dir=$(mktemp -d); trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module finding
go 1.23
require (
	github.com/FerretDB/FerretDB v1.24.2
	go.mongodb.org/mongo-driver/v2 v2.10.0
)
MOD
cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/FerretDB/FerretDB/ferretdb"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func main() {
	ctx, stop := context.WithCancel(context.Background())
	files := filepath.Join(must(os.Getwd()), "files") + "/"
	check(os.Mkdir(files, 0o700))
	server := must(ferretdb.New(&ferretdb.Config{
		Listener: ferretdb.ListenerConfig{TCP: "127.0.0.1:0"}, Handler: "sqlite", SQLiteURL: "file:" + files,
	}))
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	defer func() { stop(); <-done }()

	client := must(mongo.Connect(options.Client().ApplyURI(server.MongoDBURI())))
	defer client.Disconnect(context.Background())
	docs := client.Database("x").Collection("docs")
	count := func() (int, error) {
		cursor, err := docs.Find(ctx, bson.D{})
		if err != nil {
			return 0, err
		}
		var all []bson.D
		err = cursor.All(ctx, &all)
		return len(all), err
	}
	must(docs.InsertOne(ctx, bson.D{{Key: "_id", Value: "innocent"}, {Key: "n", Value: 1}}))
	must(docs.InsertOne(ctx, bson.D{{Key: "_id", Value: "within"}, {Key: "sub", Value: bson.D{{Key: `a\b`, Value: 1}}}}))
	before := must(count())
	_, inserted := docs.InsertOne(ctx, bson.D{{Key: "_id", Value: "odd"}, {Key: `a\b`, Value: 1}})
	after, err := count()
	fmt.Printf("before: %d documents are found; the insert: %v; after it: %d documents, %.120v\n", before, inserted, after, err)
	if inserted != nil || before != 2 || err == nil || !strings.Contains(err.Error(), "InternalError") {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}

func must[T any](v T, err error) T { check(err); return v }

func check(err error) {
	if err != nil {
		panic(err)
	}
}
GO
timeout 600 go mod tidy >/dev/null 2>&1 || { echo "the Go modules can't be had"; exit 77; }
timeout 900 go build -o finding . && timeout 300 ./finding 2>finding.log || { status=$?; tail -n 3 finding.log; exit $status; }
