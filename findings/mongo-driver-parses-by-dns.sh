#!/usr/bin/env bash
# go.mongodb.org/mongo-driver v2.10.0: to parse a mongodb+srv:// string is to ask the DNS.
#
# Guess: options.Client().ApplyURI(…).Validate() tells a malformed string from a well-formed one, at once and offline, as
# url.Parse does. Whether the name resolves shows when the client connects, under that call's context.
#
# Seen: ApplyURI itself looks the SRV and TXT records up. It takes no context. While the DNS is away it fails, with the
# same prefix, "error parsing uri", as for a typing error; only a *net.DNSError deep inside tells the two apart. A program
# that validates its settings at start and takes any error for bad usage refuses to start when the network is down, with
# the wrong remedy. mongodb:// with the same name parses.
set -euo pipefail
command -v go >/dev/null || { echo "needs go"; exit 77; }
dir=$(mktemp -d); trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module finding
go 1.23
require go.mongodb.org/mongo-driver/v2 v2.10.0
MOD
cat >main.go <<'GO'
package main

import (
	"errors"
	"fmt"
	"net"
	"os"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func main() {
	validate := func(uri string) error {
		err := options.Client().ApplyURI(uri).Validate()
		var dns *net.DNSError
		fmt.Printf("%-34s %T %v (a *net.DNSError can be unwrapped: %v)\n", uri, err, err, errors.As(err, &dns))
		return err
	}
	plain := validate("mongodb://nowhere.invalid/")
	srv := validate("mongodb+srv://nowhere.invalid/")
	wrong := validate("mongodb://nowhere.invalid:port/")
	if plain != nil || srv == nil || wrong == nil {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}
GO
timeout 300 go mod tidy >/dev/null 2>&1 || { echo "the Go modules can't be had"; exit 77; }
timeout 300 go build -o finding . && timeout 120 ./finding
