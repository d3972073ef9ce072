package driver

import (
	"context"
	"errors"
	"strings"

	"migrate.invalid/migrate/app/redact"
	"migrate.invalid/migrate/app/store/mongo"
)

// authDatabase is where MongoDB keeps its users. A URI that names it says where
// to log in, not where the records are.
const authDatabase = "admin"

type mongoDriver struct{}

func (mongoDriver) Check(uri string) error {
	if err := mongo.Validate(uri); err != nil {
		return badURI{err}
	}
	return nil
}

func (mongoDriver) Named(uri string) string {
	if name := mongo.DatabaseOf(uri); name != authDatabase {
		return name
	}
	return ""
}

func (mongoDriver) Naming(uri, name string) string { return mongo.Naming(uri, name) }

func (mongoDriver) Place(uri, name string) Place {
	return Place{Scheme: Scheme(uri), Where: redact.URI(uri), Name: name}
}

// remedy is what helps against one fault of a server that may be up.
type remedy struct {
	fault error
	text  string
}

func mongoRemedies() []remedy {
	return []remedy{
		{mongo.ErrName, "see that the host's name in MIGRATE_NEW is right, and that this machine can look it up; what runs goes on by itself once it can"},
		{mongo.ErrPassword, "set MIGRATE_NEW to a URI with the right user and password, and with ?authSource=DATABASE if the user is known to another database; an instance takes it when it is started anew"},
		{mongo.ErrReplicaSet, "correct replicaSet in MIGRATE_NEW, or leave it out; an instance takes it when it is started anew"},
		{mongo.ErrTLS, "see that the server takes TLS and that tlsCAFile in MIGRATE_NEW names the authority of its certificate; without TLS leave tls out"},
		{mongo.ErrPlain, "set tls=true in MIGRATE_NEW if the server wants TLS; else see the server's log"},
	}
}

func (mongoDriver) Remedy(text string) string {
	for _, r := range mongoRemedies() {
		if strings.Contains(text, r.fault.Error()) {
			return r.text
		}
	}
	return ""
}

func (mongoDriver) Open(ctx context.Context, uri string, o Options) (NewStore, error) {
	s, err := mongo.Open(ctx, mongo.Config{
		URI: uri, Database: o.Name, Collections: o.Declaration.Collections, Logger: o.Log, Timeout: o.Timeout, Select: o.Look,
	})
	if errors.Is(err, mongo.ErrMalformed) {
		err = badURI{err}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}
