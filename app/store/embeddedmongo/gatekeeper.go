package embeddedmongo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// errBackend is wrapped by every error that is FerretDB's fault, or ours.
var errBackend = errors.New("backend failed")

// gatekeeper stands between clients and the backend and lets one command
// through at a time.
type gatekeeper struct {
	dial   func() (net.Conn, error) // a connection to the backend
	logger *slog.Logger

	turn    sync.Mutex // held while a command is with the backend
	shelf   *shelf
	indexes idIndexes
	logs    logs
}

// serve accepts clients until ctx ends, then ends them all. A command that the
// backend has is finished first.
func (g *gatekeeper) serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel() // ends the clients
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		client, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				client.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("embedded server: %w", err)
		}
		clients.Go(func() { g.serveClient(ctx, client) })
	}
}

// serveClient serves one connection. Each has its own to the backend, so that
// what FerretDB keeps by connection stays with the right client.
func (g *gatekeeper) serveClient(ctx context.Context, client net.Conn) {
	defer client.Close()
	defer context.AfterFunc(ctx, func() { client.Close() })()
	err := g.serveMessages(ctx, client)
	if ctx.Err() == nil && (errors.Is(err, errMalformed) || errors.Is(err, errBackend)) {
		g.logger.WarnContext(ctx, "embedded server ended a connection",
			slog.String("client", client.RemoteAddr().String()), slog.Any("error", err))
	}
}

// serveMessages answers one message after the other until the connection, or
// the backend, fails. The turn is held neither while a message arrives nor
// while an answer leaves, however slow the client is.
func (g *gatekeeper) serveMessages(ctx context.Context, client net.Conn) error {
	conn, err := g.dial()
	if err != nil {
		return fmt.Errorf("%w: %w", errBackend, err)
	}
	defer conn.Close()
	b := &backend{conn: conn, r: bufio.NewReader(conn), ctx: context.WithoutCancel(ctx), shelf: g.shelf}
	in := bufio.NewReader(client)
	for {
		message, err := readMessage(in)
		if err != nil {
			return err
		}
		b.gone = func() bool { return closed(client) }
		answer, err := g.answer(ctx, message, b)
		if err != nil {
			return err
		}
		if b.gone() {
			// Nobody will ever ask for the rest, and an open cursor keeps FerretDB's
			// log from being cleared, which makes every read slower.
			b.killCursor(answer)
			return net.ErrClosed
		}
		if _, err := client.Write(answer); err != nil {
			return err
		}
	}
}

// answer returns the answer to a message, nil where none is wanted.
func (g *gatekeeper) answer(ctx context.Context, message []byte, b *backend) ([]byte, error) {
	switch op := parseHeader(message).opCode; op {
	case opMsg:
	case opQuery: // how old drivers say hello; FerretDB knows no other use
		return b.roundTrip(message)
	default:
		return nil, fmt.Errorf("%w: opcode %d", errMalformed, op)
	}
	req, err := parseRequest(message)
	if err != nil {
		return nil, err
	}
	answer, err := g.carryOut(ctx, req, b)
	if req.flags&flagMoreToCome != 0 {
		answer = nil
	}
	return answer, err
}

// slice is how long a command of many statements keeps the turn.
const slice = 25 * time.Millisecond

// carryOut waits for the turn and has the command done.
func (g *gatekeeper) carryOut(ctx context.Context, req *request, b *backend) ([]byte, error) {
	if !needsTurn(req.command()) {
		return b.answer(req) // which sends it on, or refuses it
	}
	g.turn.Lock()
	defer g.turn.Unlock()
	if ctx.Err() != nil || b.gone != nil && b.gone() {
		return nil, net.ErrClosed // nothing is begun any more, or for nobody
	}
	g.shelf.forget(req.command())
	began := time.Now()
	b.yield = func() {
		if time.Since(began) < slice {
			return
		}
		g.turn.Unlock()
		g.turn.Lock()
		began = time.Now()
	}
	answer, err := b.answer(req)
	if err == nil && accepted(answer) { // a command that was refused has made no collection
		g.indexes.after(ctx, req)
		g.logs.after(ctx, req)
	}
	return answer, err
}

func accepted(answer []byte) bool {
	reply, err := parseRequest(answer)
	return err == nil && succeeded(reply.body)
}

// needsTurn is false for commands that touch no data and by which drivers watch
// whether the server lives: a long query must not make it look dead.
func needsTurn(command string) bool {
	switch command {
	case "hello", "isMaster", "ismaster", "ping", "buildInfo", "buildinfo":
		return false
	}
	return true
}

// backend is one connection to the backend.
type backend struct {
	conn net.Conn
	r    *bufio.Reader
	ctx  context.Context
	last int32       // request id of the last command of our own
	gone func() bool // the client has left; may be nil

	shelf *shelf

	// yield lets others have their turn between the statements of one command,
	// once it has had its slice: each statement is atomic, as in MongoDB, and a
	// hundred of them must not make everybody wait, nor wait for everybody each.
	yield func()
}

// roundTrip sends a whole message and returns the whole answer. It doesn't
// give up before that: an effect that came after the turn has ended would
// escape it.
func (b *backend) roundTrip(message []byte) ([]byte, error) {
	if _, err := b.conn.Write(message); err != nil {
		return nil, fmt.Errorf("%w: %w", errBackend, err)
	}
	answer, err := readMessage(b.r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBackend, err)
	}
	return answer, nil
}

// run has a command of our own done.
func (b *backend) run(command bson.Raw) (bson.Raw, error) {
	b.last++
	answer, err := b.roundTrip(newMessage(command, b.last, 0))
	if err != nil {
		return nil, err
	}
	reply, err := parseRequest(answer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBackend, err)
	}
	return reply.body, nil
}
