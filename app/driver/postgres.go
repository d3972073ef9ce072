package driver

import (
	"context"
	"errors"
	"net/url"
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

func (newPostgres) Named(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(u.Path, "/")
}

// Naming leaves a URI that names a database as it is.
func (d newPostgres) Naming(uri, name string) string {
	u, err := url.Parse(uri)
	if err != nil || d.Named(uri) != "" {
		return uri
	}
	u.Path = "/" + name
	return u.String()
}

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

// postgresRemedy says what helps against an error of PostgreSQL's, by its text.
func postgresRemedy(text, variable string) string {
	for _, r := range []struct{ fault, remedy string }{
		{"SQLSTATE 28P01", "set " + variable + " to a URI with the right user and password; an instance takes it when it is started anew"},
		{"SQLSTATE 28000", "see that the server's pg_hba.conf lets this user in from this machine, with or without TLS as sslmode in " + variable + " says"},
		{"SQLSTATE 3D000", "create the database, or name another one in " + variable},
		{"SQLSTATE 42501", "give the role of " + variable + " the right that is named"},
		{"SQLSTATE 53300", "raise max_connections of the server, or let a pooler stand before it"},
		{"server refused TLS", "set sslmode=disable in " + variable + " if the server has no TLS"},
		{"tls:", "see that sslrootcert in " + variable + " names the authority of the server's certificate"},
		{"no such host", "see that the host's name in " + variable + " is right, and that this machine can look it up; what runs goes on by itself once it can"},
		{"another server has taken over", "migrate accept-server --dry-run"},
	} {
		if strings.Contains(text, r.fault) {
			return r.remedy
		}
	}
	return ""
}
