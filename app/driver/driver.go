// Package driver finds the driver of a database by its URI's scheme, so that
// what stands above names a database, opens it and describes it without knowing
// which product it is.
package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"migrate.invalid/migrate/app/record"
	"migrate.invalid/migrate/app/store"
)

// ErrURI: a text names no database that can be used.
var ErrURI = errors.New("this URI names no database")

// badURI is what a driver says of a URI that can't be one.
type badURI struct{ error }

func (e badURI) Is(target error) bool { return target == ErrURI }
func (e badURI) Unwrap() error        { return e.error }

// Place is where a database is, as people may read it.
type Place = store.Place

// Options say how a database is opened.
type Options struct {
	Declaration record.Declaration
	Log         *slog.Logger  // nil: none
	Name        string        // of the database, where the URI names a server
	Create      bool          // make an old one that is missing
	Timeout     time.Duration // of one call; 0: the driver's own
	Look        time.Duration // how long a call looks for the server; 0: as long as for the call
	SameServer  bool          // refuse a server that has taken over and that nobody has accepted
}

// Old opens databases that are left.
type Old interface {
	// Resolve returns the URI with a relative path in it made absolute, seen from
	// the folder; ErrURI if it can't be one.
	Resolve(uri, folder string) (string, error)
	Place(uri string) Place
	// Missing reports whether the database is certainly not there.
	Missing(uri string) bool
	// Bring says how one that is missing is brought back.
	Bring() string
	// Remedy says what helps against an error of this database, by its text; "" if
	// nothing particular helps.
	Remedy(text string) string
	// Room returns a folder, and how many bytes a take-over needs in it.
	Room(uri string) (folder string, bytes uint64)
	// Identify returns the id of the migration that the database is in, "" if it
	// is in none. It changes nothing; an error that wraps fs.ErrNotExist means
	// that the database is not there.
	Identify(ctx context.Context, uri string) (string, error)
	// Same reports whether two URIs name one database, and not a copy of it.
	Same(a, b string) (bool, error)
	// Prepare makes the place for a database that is to be created.
	Prepare(uri string) error
	Open(ctx context.Context, uri string, o Options) (store.Old, error)
}

// NewStore is a new database with what is asked of it before it is prepared.
type NewStore interface {
	store.New
	// Identify returns the id of the migration that the database is in, "" if it
	// is in none. It changes nothing.
	Identify(ctx context.Context) (string, error)
	// LastProbe names the last probing write, "" before any. It changes nothing.
	LastProbe(ctx context.Context) (string, error)
}

// New opens databases that are moved to.
type New interface {
	// Check returns ErrURI for a URI that can't be one, without a look at what is there.
	Check(uri string) error
	// Named returns the name of the database that the URI names, "" for none.
	Named(uri string) string
	// Naming returns the URI with another database named in it.
	Naming(uri, name string) string
	Place(uri, name string) Place
	// Remedy says what helps against an error of this database, by its text, which
	// is all that an instance tells; "" if nothing particular helps.
	Remedy(text string) string
	Open(ctx context.Context, uri string, o Options) (NewStore, error)
}

// Schemes are those of the URIs that each role takes.
func Schemes() (old, new []string) {
	return []string{SchemeSQLite, SchemePostgres, SchemePostgreSQL}, []string{"mongodb", "mongodb+srv", SchemePostgres, SchemePostgreSQL}
}

// OfOld returns the driver of an old database.
func OfOld(uri string) (Old, error) {
	switch scheme := Scheme(uri); scheme {
	case SchemeSQLite:
		return sqliteDriver{}, nil
	case SchemePostgres, SchemePostgreSQL:
		return oldPostgres{}, nil
	default:
		known, others := Schemes()
		return nil, unknown("old", scheme, known, others)
	}
}

// OfNew returns the driver of a new database.
func OfNew(uri string) (New, error) {
	switch scheme := Scheme(uri); scheme {
	case "mongodb", "mongodb+srv":
		return mongoDriver{}, nil
	case SchemePostgres, SchemePostgreSQL:
		return newPostgres{}, nil
	default:
		others, known := Schemes()
		return nil, unknown("new", scheme, known, others)
	}
}

// Scheme is what stands before a URI's first colon, in small letters.
func Scheme(uri string) string {
	scheme, _, ok := strings.Cut(uri, ":")
	if !ok {
		return ""
	}
	return strings.ToLower(scheme)
}

// unknown quotes no more of a URI than its scheme: it may hold a password.
func unknown(role, scheme string, known, others []string) error {
	want := strings.Join(known, ", ")
	switch {
	case slices.Contains(others, scheme):
		return fmt.Errorf("%w: a database of scheme %s can't be the %s one, whose scheme is one of %s", ErrURI, scheme, role, want)
	case scheme == "":
		return fmt.Errorf("%w: it has no scheme; the %s database's is one of %s", ErrURI, role, want)
	}
	return fmt.Errorf("%w: nothing here opens the scheme %q; the %s database's is one of %s", ErrURI, shorten(scheme), role, want)
}

// shorten is for a text that should have been a scheme.
func shorten(text string) string {
	const most = 20
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
