// Package embeddedmongo runs a MongoDB-compatible server inside this process,
// for trying things out without installing MongoDB. It is FerretDB v1 over
// SQLite files, behind a gatekeeper that lets one command through at a time.
//
// The gatekeeper is what makes it usable here: FerretDB's update reads,
// filters and writes without a transaction around the three, so that two
// concurrent compare-and-swaps of one document can both succeed. Behind the
// gatekeeper each statement is atomic, as MongoDB's are for one document. It
// also answers filters on _id and more by _id, because FerretDB reads the
// whole collection for everything but a filter on _id alone. A document whose _id
// is a number, a UUID or a document it reads and replaces in FerretDB's file by
// itself: FerretDB looks up texts and ObjectIDs only.
//
// A write that was acknowledged survives the end of the process and of the
// machine. There are no users, no transactions, no change streams, and every
// query that doesn't name an _id takes time in proportion to the collection.
// What FerretDB can't hold (NaN, infinities, -0, Decimal128, arrays in arrays,
// keys with a dollar sign or a dot, names with a quotation mark) is refused in
// words.
package embeddedmongo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/FerretDB/FerretDB/ferretdb"
	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"
)

// DefaultListen is where the server listens unless told otherwise.
const DefaultListen = "127.0.0.1:27117"

// ErrDirInUse is wrapped by the error of [Start] when another server has the folder.
var ErrDirInUse = errors.New("data folder is in use by another server")

// Config says where the data is and where to listen.
type Config struct {
	Dir    string       // data folder; created, for this user only, when missing
	Listen string       // host:port, port 0 for any free one; empty: DefaultListen
	Logger *slog.Logger // for warnings and errors; nil: none
}

// Server is a running server. Its methods are safe for concurrent use.
type Server struct {
	addr      string
	socket    string // where FerretDB itself listens
	done      chan struct{}
	stop      context.CancelFunc
	closeOnce sync.Once
	err       error // set before done is closed
}

// Start starts a server and returns once it accepts connections. It runs
// until [Server.Close], or until it fails; ctx covers the start only.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Listen == "" {
		cfg.Listen = DefaultListen
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var undo cleanup
	defer undo.run()

	dir, err := lockDir(cfg.Dir, &undo)
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("embedded server: %w", err)
	}
	undo.add(listener.Close)

	socket, err := socketPath(dir, &undo)
	if err != nil {
		return nil, err
	}
	backend, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{Unix: socket},
		Logger:    slog.New(warnings{cfg.Logger.Handler()}),
		Handler:   "sqlite",
		SQLiteURL: dataURL(dir),
	})
	if err != nil {
		return nil, fmt.Errorf("embedded server: %w", err)
	}

	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Server{addr: listener.Addr().String(), socket: socket, done: make(chan struct{}), stop: stop}
	gate := &gatekeeper{
		dial:    func() (net.Conn, error) { return net.Dial("unix", socket) },
		logger:  cfg.Logger,
		shelf:   newShelf(dir),
		indexes: idIndexes{dir: dir, logger: cfg.Logger, seen: make(map[string]bool)},
		logs:    logs{dir: dir, logger: cfg.Logger, most: maxLog, tried: make(map[string]int64)},
	}
	go s.run(running, gate, listener, backend, undo.take())
	return s, nil
}

// run serves until ctx ends or the listener fails. The backend ends after the
// gatekeeper, so that a command which was let through is carried out whole.
func (s *Server) run(ctx context.Context, gate *gatekeeper, l net.Listener, backend *ferretdb.FerretDB, undo cleanup) {
	defer close(s.done)
	defer undo.run()
	backendCtx, stopBackend := context.WithCancel(context.WithoutCancel(ctx))
	var group errgroup.Group
	group.Go(func() error { return backend.Run(backendCtx) })
	group.Go(func() error {
		defer stopBackend()
		err := gate.serve(ctx, l)
		return errors.Join(err, gate.shelf.close())
	})
	s.err = group.Wait()
}

// Addr returns the host:port that the server listens on.
func (s *Server) Addr() string { return s.addr }

// URI returns the connection string for this server.
func (s *Server) URI() string { return "mongodb://" + s.addr + "/" }

// Done is closed once the server has ended, by [Server.Close] or by a failure,
// which Close then returns.
func (s *Server) Done() <-chan struct{} { return s.done }

// Close ends the server: commands that wait are dropped, the one that is being
// carried out is finished. It returns when everything has stopped, with the
// failure that ended the server before, if there was one.
func (s *Server) Close() error {
	s.closeOnce.Do(s.stop)
	<-s.done
	return s.err
}

// lockDir creates the data folder and takes it for this process. The lock ends
// with the process, however it ends.
func lockDir(dir string, undo *cleanup) (string, error) {
	if dir == "" {
		return "", errors.New("embedded server: no data folder given")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("embedded server: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("embedded server: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	locked, err := lock.TryLock()
	if err != nil {
		return "", fmt.Errorf("embedded server: %w", err)
	}
	if !locked {
		return "", fmt.Errorf("embedded server: %s: %w", dir, ErrDirInUse)
	}
	undo.add(lock.Close)
	return dir, nil
}

// maxSocketPath is what the shortest of the systems allows (sockaddr_un on
// macOS: 104 bytes with the final zero).
const maxSocketPath = 103

// socketPath returns where FerretDB listens: in the data folder, where nobody
// else can reach it past the gatekeeper, or in a folder of its own when that
// path is too long for a socket.
func socketPath(dir string, undo *cleanup) (string, error) {
	path := filepath.Join(dir, "ferretdb.sock")
	if len(path) > maxSocketPath {
		tmp, err := os.MkdirTemp("", "ferretdb")
		if err != nil {
			return "", fmt.Errorf("embedded server: %w", err)
		}
		undo.add(func() error { return os.RemoveAll(tmp) })
		path = filepath.Join(tmp, "ferretdb.sock")
	}
	// One may be left of a process that was killed; we hold the folder's lock.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("embedded server: %w", err)
	}
	return path, nil
}

// dataURL asks for a sync to disk at each commit, before it is acknowledged;
// FerretDB itself adds the write-ahead log and a busy time-out.
func dataURL(dir string) string {
	u := url.URL{
		Scheme:   "file",
		Path:     filepath.ToSlash(dir) + "/",
		OmitHost: true,
		RawQuery: url.Values{"_pragma": {"synchronous(full)"}}.Encode(),
	}
	return u.String()
}

// cleanup undoes what was done so far, last first, unless it is taken over.
type cleanup []func() error

func (c *cleanup) add(f func() error) { *c = append(*c, f) }

func (c *cleanup) take() cleanup {
	taken := *c
	*c = nil
	return taken
}

func (c *cleanup) run() {
	for i := len(*c) - 1; i >= 0; i-- {
		_ = (*c)[i]() // nothing is left to do about it
	}
}

// warnings passes on what is a warning or worse: FerretDB tells of each
// connection and each command.
type warnings struct{ slog.Handler }

func (h warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

func (h warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{h.Handler.WithAttrs(attrs)}
}

func (h warnings) WithGroup(name string) slog.Handler {
	return warnings{h.Handler.WithGroup(name)}
}
