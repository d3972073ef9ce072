package driver

import (
	"context"
	"errors"
	"strings"

	"migrate.invalid/migrate/app/redact"
	"migrate.invalid/migrate/app/store"
	"migrate.invalid/migrate/app/store/postgres"
)

// SchemePostgres and SchemePostgreSQL are those of a connection string as psql has
// it.
const (
	SchemePostgres   = "postgres"
	SchemePostgreSQL = "postgresql"
)

func checkPostgres(uri string) error {
	if err := postgres.Validate(uri); err != nil {
		return badURI{err}
	}
	return nil
}

func postgresConfig(uri string, o Options) postgres.Config {
	return postgres.Config{
		URI: uri, Collections: o.Declaration.Collections, Logger: o.Log, Timeout: o.Timeout, Look: o.Look, Create: o.Create, SameServer: o.SameServer,
	}
}

// oldPostgres is PostgreSQL as the database that is left.
type oldPostgres struct{}

func (oldPostgres) Resolve(uri, _ string) (string, error) { return uri, checkPostgres(uri) }

func (oldPostgres) Place(uri string) Place {
	return Place{Scheme: Scheme(uri), Where: redact.URI(uri)}
}

// Missing is false: a server that can't be reached may have it.
func (oldPostgres) Missing(string) bool { return false }

func (oldPostgres) Bring() string {
	return "see that the server runs and that the database is there, as it was last"
}

func (oldPostgres) Remedy(text string) string {
	help := postgresRemedy(text, "MIGRATE_OLD")
	if help == "" && strings.Contains(text, "dial error") {
		help = "start the server, or correct its host and port in MIGRATE_OLD; what runs goes on by itself once it answers"
	}
	return help
}

// Room is none: nothing is copied beside the database.
func (oldPostgres) Room(string) (string, uint64) { return ".", 0 }

func (oldPostgres) Identify(ctx context.Context, uri string) (string, error) {
	id, err := postgres.Identify(ctx, uri)
	if errors.Is(err, store.ErrStranger) {
		return "", nil
	}
	return id, err
}

func (oldPostgres) Same(a, b string) (bool, error) { return postgres.SameDatabase(a, b) }

func (oldPostgres) Prepare(string) error { return nil }

func (oldPostgres) Open(ctx context.Context, uri string, o Options) (store.Old, error) {
	s, err := postgres.OpenOld(ctx, postgresConfig(uri, o))
	if errors.Is(err, postgres.ErrMalformed) {
		err = badURI{err}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// newPostgres is PostgreSQL as the database that is moved to.
type newPostgres struct{}

func (newPostgres) Check(uri string) error { return checkPostgres(uri) }

func (newPostgres) Named(uri string) string { return postgres.DatabaseOf(uri) }

// Naming leaves a URI that names a database as it is.
func (newPostgres) Naming(uri, name string) string { return postgres.Naming(uri, name) }

func (d newPostgres) Place(uri, name string) Place {
	if d.Named(uri) != "" {
		name = ""
	}
	return Place{Scheme: Scheme(uri), Where: redact.URI(uri), Name: name}
}

func (newPostgres) Remedy(text string) string { return postgresRemedy(text, "MIGRATE_NEW") }

func (d newPostgres) Open(ctx context.Context, uri string, o Options) (NewStore, error) {
	s, err := postgres.OpenNew(ctx, postgresConfig(d.Naming(uri, o.Name), o))
	if errors.Is(err, postgres.ErrMalformed) {
		err = badURI{err}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

const otherHost = "name the host in %s as its certificate does, or set sslmode=verify-ca"

// postgresRemedies are what helps against errors of PostgreSQL's, by a part of
// their texts. The first that fits is the one.
var postgresRemedies = []struct{ fault, remedy string }{
	{"SQLSTATE 28P01", "set %s to a URI with the right user and password (or correct the file that PGPASSFILE names); an instance takes it when it is started anew"},
	{"does not exist (SQLSTATE 28000)", "name a role of the server in %s, or create this one"},
	{"SQLSTATE 28000", "see that the server's pg_hba.conf lets this user in from this machine, with TLS or without as sslmode in %s says"},
	{"SQLSTATE 3D000", "create the database, or name another one in %s"},
	{"SQLSTATE 42501", "give the role of %s the right that is named"},
	{"SQLSTATE 53300", "raise max_connections of the server, or let a pooler stand before it"},
	{"SQLSTATE 57P03", "wait until the server has started; what runs goes on by itself then"},
	{"unsupported startup parameter", "leave the option that is named out of %s: the pooler before the server does not take it"},
	{"server refused TLS", "set sslmode=disable in %s if the server has no TLS"},
	{"x509: certificate is valid for", otherHost},
	{"x509: certificate is not valid for", otherHost},
	{"x509: cannot validate certificate for", otherHost},
	{"x509:", "see that sslrootcert in %s names the authority of the server's certificate"},
	{"tls", "see that the server takes TLS as sslmode in %s says"},
	{"ValidateConnect failed", "see that one of the hosts in %s takes writes: promote a standby; what runs goes on by itself then"},
	{"no such host", "see that the host's name in %s is right, and that this machine can look it up; what runs goes on by itself once it can"},
	{"hostname resolving error", "see that this machine can look up the host's name in %s; what runs goes on by itself once it can"},
	{"another server has taken over", "migrate accept-server --dry-run"},
}

// postgresRemedy says what helps against an error of PostgreSQL's, by its text.
func postgresRemedy(text, variable string) string {
	for _, r := range postgresRemedies {
		if strings.Contains(text, r.fault) {
			return strings.ReplaceAll(r.remedy, "%s", variable)
		}
	}
	return ""
}
