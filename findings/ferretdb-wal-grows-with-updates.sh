#!/usr/bin/env bash
# FerretDB 1.24.2 on its SQLite backend: updates of one document make the write-ahead log grow without end.
#
# Guess: SQLite copies its write-ahead log into the database at 1,000 pages (4 MB) and begins it anew, as it does by
# default for every program. So the -wal file of a database to which one document is written again and again stays at
# about 4 MB.
#
# Seen: 3,000 updates of one document of 100 bytes leave a -wal file of more than 10 MB, and it goes on growing by about
# 12 kB an update. One insert lets it begin anew. An update reads the document through a cursor and commits while that
# cursor is still open: there is always a reader, so the log is copied but never begun anew. A program that only updates
# fills the disk.
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

	"github.com/FerretDB/FerretDB/ferretdb"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const (
	updates = 3_000
	limit   = 8 << 20 // twice the size at which SQLite begins its log anew
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
	must(docs.InsertOne(ctx, bson.D{{Key: "_id", Value: "a"}, {Key: "n", Value: 0}, {Key: "text", Value: fmt.Sprintf("%0100d", 0)}}))
	for n := range updates {
		must(docs.UpdateOne(ctx, bson.D{{Key: "_id", Value: "a"}}, bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: n}}}}))
	}
	logs := must(filepath.Glob(files + "*-wal"))
	var size int64
	for _, log := range logs {
		size = max(size, must(os.Stat(log)).Size())
	}
	fmt.Printf("after %d updates of one document the write-ahead log has %d bytes\n", updates, size)
	if size < limit {
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
