package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"migrate.invalid/migrate/app/store"
)

// ErrMalformed: a connection string can't be one. The text quotes none of it.
var ErrMalformed = errors.New("this is no PostgreSQL connection string")

// newPool connects when it is first used. Statements are not prepared, and nothing
// is asked for when a session begins: a pooler in transaction mode bears neither.
func newPool(ctx context.Context, config Config) (*pgxpool.Pool, error) {
	cfg, err := parse(config.URI)
	if err != nil {
		return nil, err
	}
	patience(cfg.ConnConfig, config)
	cfg.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		listen(c)
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w: %w", store.ErrUnavailable, err)
	}
	return pool, nil
}

func parse(uri string) (*pgxpool.Config, error) {
	if scheme, rest, ok := strings.Cut(uri, "://"); ok {
		uri = strings.ToLower(scheme) + "://" + rest
	}
	cfg, err := pgxpool.ParseConfig(uri)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrMalformed, withoutSecrets(err))
	}
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.ConnConfig.StatementCacheCapacity = 0
	cfg.ConnConfig.DescriptionCacheCapacity = 0
	cfg.MinConns = 0
	if cfg.MaxConns < leastConns {
		cfg.MaxConns = leastConns
	}
	if len(hosts(cfg.ConnConfig)) > 1 && cfg.ConnConfig.ValidateConnect == nil {
		cfg.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	return cfg, nil
}

// hosts are those of a connection string, with their ports, in its order.
func hosts(c *pgx.ConnConfig) []string {
	all := []string{fmt.Sprint(c.Host, ":", c.Port)}
	for _, f := range c.Fallbacks {
		if h := fmt.Sprint(f.Host, ":", f.Port); !slices.Contains(all, h) {
			all = append(all, h)
		}
	}
	return all
}

// longest is how long one host may take to let a session begin, unless the
// connection string says otherwise.
const longest = 2 * time.Second

// patience divides the time for a call among the hosts, so that one that does not
// answer leaves some for the next, and what fails can be told.
func patience(c *pgx.ConnConfig, config Config) {
	each := min(longest, config.Timeout/time.Duration(len(hosts(c))+1))
	switch {
	case config.Look > 0:
		c.ConnectTimeout = config.Look
	case c.ConnectTimeout == 0:
		c.ConnectTimeout = each
	}
	lookup := c.LookupFunc
	c.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
		ctx, cancel := context.WithTimeout(ctx, each)
		defer cancel()
		return lookup(ctx, host)
	}
}

// session is what is kept about one connection.
type session struct {
	committing atomic.Bool
	doubt      string // what a warning has said while it was committing
}

// ofSession is the name of a connection's [session] in its data.
const ofSession = "migrate"

// errNoCancel is the answer to a request to cancel a COMMIT.
var errNoCancel = errors.New("a COMMIT is not cancelled")

// listen hears the server's warnings, and keeps the driver from cancelling a COMMIT
// whose client gives up. Cancelled, it would no longer wait for its standby, and
// everybody would see what a failover loses.
func listen(c *pgx.ConnConfig) {
	s := &session{}
	dial := c.DialFunc
	c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if s.committing.Load() {
			return nil, errNoCancel
		}
		return dial(ctx, network, address)
	}
	c.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if s.committing.Load() && doubts(n) {
			s.doubt = n.Message
		}
	}
	c.AfterConnect = func(_ context.Context, conn *pgconn.PgConn) error {
		conn.CustomData()[ofSession] = s
		return nil
	}
}

// Validate returns ErrMalformed for a connection string that can't be one.
func Validate(uri string) error {
	_, err := parse(uri)
	return err
}

// SameDatabase reports whether two connection strings name one database.
func SameDatabase(a, b string) (bool, error) {
	one, err := parse(a)
	if err != nil {
		return false, err
	}
	other, err := parse(b)
	if err != nil {
		return false, err
	}
	x, y := one.ConnConfig, other.ConnConfig
	shared := slices.ContainsFunc(hosts(x), func(h string) bool { return slices.Contains(hosts(y), h) })
	return shared && x.Database == y.Database, nil
}

// DatabaseOf returns the name of the database that a connection string, or what it
// refers to, names; "" for none.
func DatabaseOf(uri string) string {
	cfg, err := parse(uri)
	if err != nil {
		return ""
	}
	return cfg.ConnConfig.Database
}

// Naming adds the name of a database to a connection string that names none.
func Naming(uri, name string) string {
	if Validate(uri) != nil || DatabaseOf(uri) != "" {
		return uri
	}
	head, options, ok := strings.Cut(uri, "?")
	uri = strings.TrimSuffix(head, "/") + "/" + url.PathEscape(name)
	if ok {
		uri += "?" + options
	}
	return uri
}

// Identify returns the id of the migration that an old database is in; ErrStranger
// if it is in none. It changes nothing.
func Identify(ctx context.Context, uri string) (id string, err error) {
	b := &base{role: asOld, cfg: Config{URI: uri, Timeout: DefaultTimeout}} // of any declaration
	if b.pool, err = newPool(ctx, b.cfg); err != nil {
		return "", err
	}
	defer b.pool.Close()
	err = b.readAny(ctx, "look whose database this is", func(ctx context.Context, t tx) error {
		f, err := b.readFence(ctx, t)
		id = f.Migration
		return err
	})
	return id, err
}

// leastConns is how many calls can be under way at once, at least.
const leastConns = 8

// withoutSecrets is what the parser says of a connection string, without the
// string.
func withoutSecrets(err error) string {
	text := err.Error()
	if _, reason, ok := strings.Cut(text, "`: "); ok {
		return reason
	}
	return "it can't be parsed"
}

// settings are those of every transaction: the text of each value follows from
// them, and from nothing that a role or a database may have set.
var settings = []string{
	"search_path", "pg_catalog", "timezone", "UTC", "datestyle", "ISO, YMD", "intervalstyle", "postgres", "extra_float_digits", "1",
	"bytea_output", "hex", "xmloption", "content", "lc_monetary", "C", "row_security", "off",
}

// writeSettings are those of a transaction that writes: it is acknowledged once it
// is kept as durably as the server can.
var writeSettings = []string{"synchronous_commit", "on"}

func setSQL(pairs []string) string {
	var b strings.Builder
	for n := 0; n < len(pairs); n += 2 {
		fmt.Fprintf(&b, "set local %s to %s;", pairs[n], literal(pairs[n+1]))
	}
	return b.String()
}

var (
	beginRead  = "begin isolation level read committed read only;" + setSQL(settings)
	beginWrite = "begin isolation level read committed read write;" + setSQL(settings) + setSQL(writeSettings)
)

// tx is a transaction. Its connection is the caller's as long as it runs.
type tx struct{ *pgx.Conn }

// exec runs one statement and returns how many rows it changed.
func (t tx) exec(ctx context.Context, sql string, args ...any) (int64, error) {
	tag, err := t.Exec(ctx, sql, args...)
	return tag.RowsAffected(), err
}

// script runs statements without parameters in one round trip.
func (t tx) script(ctx context.Context, sql string) error {
	_, err := t.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// work is what a transaction does.
type work func(ctx context.Context, t tx) error

// read runs fn in a transaction that can't write. Each statement sees what was
// committed before it.
func (b *base) read(ctx context.Context, op string, fn work) error {
	return b.run(ctx, op, beginRead+b.sameServer(), fn)
}

// write runs fn in a transaction. It has changed something only if write returns
// nil, or store.ErrUnknown.
func (b *base) write(ctx context.Context, op string, fn work) error {
	return b.run(ctx, op, beginWrite+b.sameServer(), fn)
}

// readAny and writeAny are for what may be asked of any server, also of one that
// has just taken over, and before anything of ours is there.
func (b *base) readAny(ctx context.Context, op string, fn work) error {
	return b.run(ctx, op, beginRead, fn)
}

func (b *base) writeAny(ctx context.Context, op string, fn work) error {
	return b.run(ctx, op, beginWrite, fn)
}

// sameServer is the statement that fails on a server that has taken over.
func (b *base) sameServer() string {
	if !b.cfg.SameServer {
		return ""
	}
	return "select " + b.schema + ".same_server();"
}

// run runs fn in a transaction of its own, within the store's patience.
func (b *base) run(ctx context.Context, op, begin string, fn work) error {
	bounded, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	for {
		err := b.transact(bounded, begin, fn)
		if err == nil {
			return nil
		}
		if c := code(err); c != codeDeadlock && c != codeSerialization || errors.Is(err, store.ErrUnknown) || bounded.Err() != nil {
			return b.meaning(ctx, op, err)
		}
		// It has changed nothing, and another transaction has gone on instead.
	}
}

func (b *base) transact(ctx context.Context, begin string, fn work) error {
	writes := strings.HasPrefix(begin, beginWrite)
	if writes {
		select {
		case b.writers <- struct{}{}:
		case <-ctx.Done():
			return unsent{ctx.Err()}
		}
	}
	conn, err := b.begin(ctx, begin+limits(ctx))
	if err != nil {
		if writes {
			<-b.writers
		}
		return err
	}
	defer conn.Release()
	t := tx{conn.Conn()}
	if writes {
		defer t.leave(b.writers)
	}
	if err := fn(ctx, t); err != nil {
		return t.rollback(err)
	}
	if err := ctx.Err(); err != nil {
		return t.rollback(err)
	}
	if strings.HasPrefix(begin, beginRead) {
		return t.script(ctx, "commit")
	}
	return t.commit(ctx)
}

// leave gives a writer's place back once its connection can be another's: that of a
// COMMIT that was given up is kept for some seconds.
func (t tx) leave(writers <-chan struct{}) {
	if !t.IsClosed() {
		<-writers
		return
	}
	ended := t.PgConn().CleanupDone()
	go func() {
		<-ended
		<-writers
	}()
}

// begin begins a transaction on a connection of the pool. One that has ended since
// it was last used, as all have after a restart, says nothing about the server.
func (b *base) begin(ctx context.Context, sql string) (*pgxpool.Conn, error) {
	for tries := 0; ; tries++ {
		conn, err := b.pool.Acquire(ctx)
		if err != nil {
			return nil, unsent{err}
		}
		t := tx{conn.Conn()}
		err = t.script(ctx, sql)
		if err == nil {
			return conn, nil
		}
		ended := t.IsClosed()
		err = t.rollback(err)
		conn.Release()
		if !ended || ctx.Err() != nil || tries == leastConns {
			return nil, err
		}
	}
}

func (t tx) commit(ctx context.Context) error {
	s, _ := t.PgConn().CustomData()[ofSession].(*session)
	if s == nil {
		return fmt.Errorf("%w: a connection that was not listened to", store.ErrUnavailable)
	}
	s.doubt = ""
	s.committing.Store(true)
	tag, err := t.Exec(ctx, "commit")
	switch {
	case err != nil && t.IsClosed(): // the driver may be about to cancel it
		return committing(err)
	case err != nil:
		err = committing(err)
	case tag.String() != "COMMIT":
		err = fmt.Errorf("%w: the server rolled the transaction back", store.ErrUnavailable)
	case s.doubt != "":
		err = fmt.Errorf("%w: commit: %s", store.ErrUnknown, s.doubt)
	}
	s.committing.Store(false)
	return err
}

// limits bound how long the server goes on with what its client has given up. An
// idle session would hold the gate.
func limits(ctx context.Context) string {
	until, ok := ctx.Deadline()
	if !ok {
		return ""
	}
	ms := max(time.Until(until).Milliseconds(), 1)
	return fmt.Sprintf("set local statement_timeout to %d;set local idle_in_transaction_session_timeout to %d;", ms, ms+1000)
}

// rollback ends the transaction, which changes nothing. A connection that can't do
// that is closed, and the server rolls back.
func (t tx) rollback(cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if !t.IsClosed() {
		if err := t.script(ctx, "rollback"); err != nil {
			_ = t.Close(ctx) // the pool opens another one
		}
	}
	return cause
}
