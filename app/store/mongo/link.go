package mongo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"migrate.invalid/migrate/app/redact"
)

// ErrMalformed: a text can't be a connection string.
var ErrMalformed = errors.New("the connection string is not valid")

// srvScheme is that of a connection string whose hosts are looked up by name.
const srvScheme = "mongodb+srv://"

// Validate returns ErrMalformed for a connection string that can't be one,
// whatever answers there. It looks up no name, and never quotes a secret.
func Validate(uri string) error {
	err := parse(uri)
	if err == nil {
		return nil
	}
	if !redact.Secrets(uri) {
		return fmt.Errorf("mongo: %w: %w", ErrMalformed, err)
	}
	// What the driver says of it may quote a part of the password.
	shown := redact.URI(uri)
	if err := parse(shown); err != nil {
		return fmt.Errorf("mongo: %w: %s: %w", ErrMalformed, shown, err)
	}
	return fmt.Errorf("mongo: %w: in %s the user, the password or an option has a character that must be escaped there, such as @ as %%40, : as %%3A, / as %%2F and %% as %%25", ErrMalformed, shown)
}

// parse returns what the driver says of a connection string, without looking up
// the hosts of one that names a record of services.
func parse(uri string) error {
	rest, srv := strings.CutPrefix(uri, srvScheme)
	if !srv {
		return options.Client().ApplyURI(uri).Validate()
	}
	hosts, query, _ := strings.Cut(rest, "?")
	hosts, _, _ = strings.Cut(hosts[strings.LastIndex(hosts, "@")+1:], "/")
	if strings.Contains(hosts, ",") || strings.Contains(hosts, ":") {
		return errors.New("behind mongodb+srv:// stands one name, without a port")
	}
	kept := slices.DeleteFunc(strings.Split(query, "&"), func(option string) bool {
		name, _, _ := strings.Cut(strings.ToLower(option), "=")
		return name == "srvservicename" || name == "srvmaxhosts"
	})
	before, _, _ := strings.Cut(rest, "?")
	if !strings.Contains(before, "/") || strings.HasSuffix(before, "@"+hosts) {
		before += "/"
	}
	return options.Client().ApplyURI("mongodb://" + before + "?" + strings.Join(kept, "&")).Validate()
}

// DatabaseOf is the database that a connection string names; empty if it names
// none, or is none.
func DatabaseOf(uri string) string {
	_, rest, ok := strings.Cut(uri, "://")
	if !ok || Validate(uri) != nil {
		return ""
	}
	rest, _, _ = strings.Cut(rest[strings.LastIndex(rest, "@")+1:], "?")
	_, name, _ := strings.Cut(rest, "/")
	if plain, err := url.PathUnescape(name); err == nil {
		return plain
	}
	return name
}

// Naming returns the connection string with another database named in it. A
// user goes on to be looked for where it was.
func Naming(uri, database string) string {
	was := DatabaseOf(uri)
	if was == "" || was == database {
		return uri
	}
	before, query, _ := strings.Cut(uri, "?")
	before = before[:strings.LastIndex(before, "/")+1] + url.PathEscape(database)
	if strings.Contains(before, "@") && !strings.Contains(strings.ToLower(query), "authsource=") {
		query = strings.Trim(query+"&authSource="+url.QueryEscape(was), "&")
	}
	if query != "" {
		before += "?" + query
	}
	return before
}

// again is how long a name that did not resolve is not asked for.
const again = time.Second

// link is what a store knows of its way to the server.
type link struct {
	uri     string
	secrets *redact.Redactor
	service string        // the name that has to be looked up first; empty if there is none
	limit   time.Duration // of looking it up
	faults  *faults

	turn   chan struct{} // of who connects; it guards what follows
	opened bool
	failed error
	at     time.Time // of the failure
}

func newLink(uri string, limit time.Duration) *link {
	l := &link{uri: uri, limit: limit, secrets: redact.Knowing(uri), turn: make(chan struct{}, 1), faults: newFaults(options.Client())}
	rest, srv := strings.CutPrefix(uri, srvScheme)
	if !srv {
		l.opened = true // Open does it at once
		return l
	}
	host, query, _ := strings.Cut(rest[strings.LastIndex(rest, "@")+1:], "?")
	host, _, _ = strings.Cut(host, "/")
	service := "mongodb"
	for option := range strings.SplitSeq(query, "&") {
		if name, value, _ := strings.Cut(option, "="); strings.EqualFold(name, "srvServiceName") {
			service = value
		}
	}
	l.service = "_" + service + "._tcp." + host
	return l
}

// ready connects, unless that has been done: it looks the name up, within the
// context, before the driver does, which knows no limit. A name that does not
// resolve is a server out of reach: another call tries again.
func (l *link) ready(ctx context.Context, open func() error) error {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l.turn }()
	if l.opened {
		return nil
	}
	if l.failed != nil && time.Since(l.at) < again {
		return l.failed
	}
	ctx, cancel := context.WithTimeout(ctx, l.limit)
	defer cancel()
	_, _, err := net.DefaultResolver.LookupSRV(ctx, "", "", l.service)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrName, err)
	} else {
		err = open()
	}
	l.opened, l.failed, l.at = err == nil, err, time.Now()
	return err
}

// client makes a client. Every write waits for a majority and its journals.
func (l *link) client(selection time.Duration, more func(*options.ClientOptions)) (*mongo.Client, error) {
	journal := true
	o := options.Client().ApplyURI(l.uri)
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("mongo: %w: %w", ErrMalformed, l.secrets.Error(err))
	}
	l.faults.expect(o)
	o.SetAppName("migrate").
		SetWriteConcern(&writeconcern.WriteConcern{W: "majority", Journal: &journal}).
		SetReadPreference(readpref.Primary()).
		SetServerSelectionTimeout(selection).
		SetMonitor(&event.CommandMonitor{Started: noteSent}).
		SetServerMonitor(l.faults.monitor())
	more(o)
	client, err := mongo.Connect(o)
	return client, l.secrets.Error(err)
}

// cause is what is known to keep a call from its server; nil if nothing is.
func (l *link) cause(err error) error { return l.faults.cause(err) }
