package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver
)

// wait is how long SQLite itself waits for a lock. It does so deaf to the
// context, so it is short and [Store.run] tries again.
const wait = 100 * time.Millisecond

var errClosed = errors.New("the store is closed")

// conn is one connection with the statements that were prepared on it.
type conn struct {
	*sql.Conn
	stmts map[string]*sql.Stmt
	file  os.FileInfo // what the path named just before the connection was opened

	migration string // the migration whose declaration was compared

	seen int64 // the greatest epoch that the store had seen when the transaction began

	// What Guarded found, and the version of the schema that it looked at.
	looked  bool
	version int64
	guarded error
}

// pool holds a fixed number of connections, opened when first needed. Not
// database/sql's own: a transaction here begins and ends by statements, so that
// nothing but our COMMIT commits and no context can interrupt that.
type pool struct {
	seen   *atomic.Int64 // the greatest epoch of the fence that the store has seen
	db     *sql.DB
	path   string
	free   chan *conn // nil: a place, but no connection yet
	closed chan struct{}
}

func openFile(path string, query url.Values) (*sql.DB, error) {
	name := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query.Encode()}
	return sql.Open("sqlite", name.String())
}

func newPool(path string, n int, pragmas ...string) (*pool, error) {
	query := url.Values{"mode": {"rw"}}
	for _, p := range append(pragmas, fmt.Sprintf("busy_timeout(%d)", wait.Milliseconds()), "synchronous(full)", "foreign_keys(off)") {
		query.Add("_pragma", p)
	}
	db, err := openFile(path, query)
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(-1) // a connection that we close is closed
	p := &pool{db: db, path: path, free: make(chan *conn, n), closed: make(chan struct{})}
	for range n {
		p.free <- nil
	}
	return p, nil
}

// take returns a connection to the file that is at the path now; one to a file
// that has been moved away or replaced would take writes that nobody ever sees.
func (p *pool) take(ctx context.Context) (*conn, error) {
	var c *conn
	select {
	case <-p.closed:
		return nil, errClosed
	default:
	}
	select {
	case c = <-p.free:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.closed:
		return nil, errClosed
	}
	file, err := os.Stat(p.path)
	if err != nil {
		p.free <- c
		return nil, err
	}
	if c != nil && os.SameFile(c.file, file) {
		return c, nil
	}
	c.close()
	c, err = p.open(ctx)
	if err != nil {
		p.free <- nil
		return nil, err
	}
	c.file = file
	return c, nil
}

func (p *pool) open(ctx context.Context) (*conn, error) {
	c, err := p.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, stmts: map[string]*sql.Stmt{}}, nil
}

// put gives a connection back, or only its place if it may not be clean.
func (p *pool) put(c *conn, clean bool) {
	if !clean {
		c.close()
		c = nil
	}
	p.free <- c
}

// drop closes the connections, each once it is given back; the next call opens
// one anew.
func (p *pool) drop() {
	var places []*conn
	for range cap(p.free) {
		places = append(places, <-p.free)
	}
	for _, c := range places {
		c.close()
		p.free <- nil
	}
}

// close waits for every connection to be given back.
func (p *pool) close() error {
	close(p.closed)
	for range cap(p.free) {
		(<-p.free).close()
	}
	return p.db.Close()
}

func (c *conn) close() {
	if c == nil {
		return
	}
	for _, s := range c.stmts {
		s.Close()
	}
	c.Conn.Close()
}

func (c *conn) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	s, err := c.PrepareContext(ctx, query)
	if err == nil {
		c.stmts[query] = s
	}
	return s, err
}

// exec runs one of our fixed statements and returns how many rows it changed.
func (c *conn) exec(ctx context.Context, query string, args ...any) (int64, error) {
	s, err := c.prepared(ctx, query)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// query runs one of our fixed queries.
func (c *conn) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := c.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

// value runs one of our fixed queries that answers in one row.
func (c *conn) value(ctx context.Context, query string, dest any, args ...any) error {
	s, err := c.prepared(ctx, query)
	if err != nil {
		return err
	}
	return s.QueryRowContext(ctx, args...).Scan(dest)
}
