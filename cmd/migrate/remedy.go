package main

import (
	"cmp"
	"strings"

	"migrate/app/store/mongo"
)

// remedy is what helps against one fault of a server that may be up.
type remedy struct {
	fault error
	text  string
}

func remedies() []remedy {
	return []remedy{
		{mongo.ErrName, "see that the host's name in MIGRATE_MONGO_URI is right, and that this machine can look it up; what runs goes on by itself once it can"},
		{mongo.ErrPassword, "set MIGRATE_MONGO_URI to a URI with the right user and password, and with ?authSource=DATABASE if the user is known to another database; an instance takes it when it is started anew"},
		{mongo.ErrReplicaSet, "correct replicaSet in MIGRATE_MONGO_URI, or leave it out; an instance takes it when it is started anew"},
		{mongo.ErrTLS, "see that the server takes TLS and that tlsCAFile in MIGRATE_MONGO_URI names the authority of its certificate; without TLS leave tls out"},
		{mongo.ErrPlain, "set tls=true in MIGRATE_MONGO_URI if the server wants TLS; else see the server's log"},
	}
}

// newRemedy says what helps against an error of the new database.
func newRemedy(text, uri string) string { return cmp.Or(knownRemedy(text), startNew(uri)) }

// knownRemedy goes by an error's text, which is all that an instance tells of
// it; empty if nothing particular helps.
func knownRemedy(text string) string {
	for _, r := range remedies() {
		if strings.Contains(text, r.fault.Error()) {
			return r.text
		}
	}
	return ""
}
