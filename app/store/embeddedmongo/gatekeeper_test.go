package embeddedmongo

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// patience bounds waits that are expected to end much sooner.
const patience = 30 * time.Second

// dial opens a plain connection to the server for the length of the test.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// exchange sends a message and returns the document that answers it.
func exchange(t *testing.T, conn net.Conn, message []byte) bson.Raw {
	t.Helper()
	if _, err := conn.Write(message); err != nil {
		t.Fatal(err)
	}
	answer, err := readMessage(conn)
	if err != nil {
		t.Fatal(err)
	}
	req, err := parseRequest(answer)
	if err != nil {
		t.Fatal(err)
	}
	if want := parseHeader(message).requestID; req.responseTo != want {
		t.Errorf("an answer to %d, want %d", req.responseTo, want)
	}
	return req.body
}

func insertMessage(t *testing.T, id string) []byte {
	return newMessage(raw(t, doc("insert", "tasks", "documents", bson.A{doc("_id", id, "rev", int64(1))}, "$db", "todo")), 5, 0)
}

// A client may stop anywhere in a message, or leave; others are served.
func TestStalledClients(t *testing.T) {
	s := start(t, t.TempDir())
	tasks := connect(t, s.URI()).Database("todo").Collection("tasks")
	message := insertMessage(t, "stalled")
	for _, n := range []int{1, 10, headerLen, headerLen + 8, len(message) - 1} {
		if _, err := dial(t, s.Addr()).Write(message[:n]); err != nil { // and stalls
			t.Fatal(err)
		}
		leaver := dial(t, s.Addr())
		if _, err := leaver.Write(message[:n]); err != nil {
			t.Fatal(err)
		}
		leaver.Close()
	}
	// One asks for much and reads nothing.
	big := strings.Repeat("x", 4_000_000)
	mustInsert(t, tasks, doc("_id", "1", "text", big), doc("_id", "2", "text", big), doc("_id", "3", "text", big), doc("_id", "small", "rev", 0))
	deaf := dial(t, s.Addr())
	find := newMessage(raw(t, doc("find", "tasks", "filter", doc(), "$db", "todo")), 1, 0)
	if _, err := deaf.Write(find); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 20 {
		if _, err := tasks.UpdateOne(ctx, doc("_id", "small", "rev", 0), doc("$inc", doc("rev", 0))); err != nil {
			t.Fatal(err)
		}
	}
	if err := tasks.FindOne(ctx, doc("_id", "stalled")).Err(); err == nil {
		t.Error("a message that never came whole was carried out")
	}
}

// A client that dies while its command runs doesn't end its turn: the next
// command finds the effect whole.
func TestClientDiesDuringItsCommand(t *testing.T) {
	fake := newFakeBackend(t)
	client := dial(t, fake.addr)
	message := insertMessage(t, "x")
	if _, err := client.Write(message); err != nil {
		t.Fatal(err)
	}
	if got := <-fake.got; got != "insert" {
		t.Fatalf("the backend got %q", got)
	}
	client.Close()

	second := dial(t, fake.addr)
	if _, err := second.Write(message); err != nil {
		t.Fatal(err)
	}
	// hello passes meanwhile, by which we know that the second has had its chance.
	exchange(t, dial(t, fake.addr), newMessage(raw(t, doc("hello", 1, "$db", "admin")), 1, 0))
	select {
	case got := <-fake.got:
		t.Fatalf("the backend got %q while it was at work for another", got)
	case <-time.After(50 * time.Millisecond):
	}
	fake.release <- struct{}{}
	if got := <-fake.got; got != "insert" {
		t.Errorf("the backend got %q", got)
	}
	fake.release <- struct{}{}
	if _, err := readMessage(second); err != nil {
		t.Error(err)
	}
}

// fakeBackend answers hello at once, and anything else when it is told to.
type fakeBackend struct {
	addr    string
	got     chan string
	release chan struct{}
}

func newFakeBackend(t *testing.T) *fakeBackend {
	t.Helper()
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	back, front := listen(), listen()
	f := &fakeBackend{addr: front.Addr().String(), got: make(chan string, 8), release: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := back.Accept()
			if err != nil {
				return
			}
			group.Go(func() { f.serve(ctx, conn) })
		}
	})
	group.Go(func() {
		g := &gatekeeper{
			dial:    func() (net.Conn, error) { return net.Dial("tcp", back.Addr().String()) },
			logger:  slog.New(slog.DiscardHandler),
			indexes: idIndexes{seen: map[string]bool{"todo.tasks": true}},
		}
		if err := g.serve(ctx, front); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		back.Close()
		group.Wait()
	})
	return f
}

func (f *fakeBackend) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	for {
		message, err := readMessage(conn)
		if err != nil {
			return
		}
		req, err := parseRequest(message)
		if err != nil {
			return
		}
		if req.command() != "hello" {
			f.got <- req.command()
			select {
			case <-f.release:
			case <-ctx.Done():
				return
			}
		}
		ok, _ := bson.Marshal(doc("ok", 1))
		if _, err := conn.Write(newMessage(ok, 1, req.requestID)); err != nil {
			return
		}
	}
}

func TestMessageFlags(t *testing.T) {
	s := start(t, t.TempDir())
	tasks := connect(t, s.URI()).Database("todo").Collection("tasks")
	ping := raw(t, doc("ping", 1, "$db", "admin"))

	withChecksum := newMessage(ping, 7, 0)
	withChecksum[headerLen] = flagChecksum
	binary.LittleEndian.PutUint32(withChecksum, uint32(len(withChecksum)+4))
	sum := crc32.Checksum(withChecksum, crc32.MakeTable(crc32.Castagnoli))
	withChecksum = binary.LittleEndian.AppendUint32(withChecksum, sum)
	if reply := exchange(t, dial(t, s.Addr()), withChecksum); !succeeded(reply) {
		t.Errorf("with a checksum: %s", reply)
	}

	exhaust := newMessage(ping, 8, 0)
	exhaust[headerLen+2] = 1 // exhaustAllowed, which a server may ignore
	if reply := exchange(t, dial(t, s.Addr()), exhaust); !succeeded(reply) {
		t.Errorf("exhaustAllowed: %s", reply)
	}

	// Nobody answers what is sent with moreToCome, so the next answer is the ping's.
	silent := insertMessage(t, "silent")
	silent[headerLen] = flagMoreToCome
	conn := dial(t, s.Addr())
	if _, err := conn.Write(silent); err != nil {
		t.Fatal(err)
	}
	if reply := exchange(t, conn, newMessage(ping, 9, 0)); !succeeded(reply) {
		t.Errorf("after moreToCome: %s", reply)
	}
	if err := tasks.FindOne(t.Context(), doc("_id", "silent")).Err(); err != nil {
		t.Errorf("moreToCome: %v", err)
	}

	unacknowledged := tasks.Database().Collection("tasks", options.Collection().SetWriteConcern(writeconcern.Unacknowledged()))
	for range 3 {
		_, _ = unacknowledged.UpdateOne(t.Context(), doc("_id", "silent", "rev", int64(1)), set("rev", int64(2)))
	}
	if err := tasks.FindOne(t.Context(), doc("_id", "silent", "rev", int64(2))).Err(); err != nil {
		t.Errorf("unacknowledged: %v", err)
	}
}

// What is no sound message ends its own connection, and no other.
func TestMalformedMessages(t *testing.T) {
	s := start(t, t.TempDir())
	ping := newMessage(raw(t, doc("ping", 1, "$db", "admin")), 1, 0)
	change := func(at int, to byte) []byte {
		m := bytes.Clone(ping)
		m[at] = to
		return m
	}
	deep := raw(t, doc())
	for range maxDepth + 10 {
		deep = raw(t, doc("a", deep))
	}
	for name, message := range map[string][]byte{
		"length below a header":  change(0, 15),
		"length above the limit": change(3, 0x7f),
		"unknown opcode":         change(12, 0),
		"compressed":             change(12, 0xdc), // 2012
		"unknown required flag":  change(headerLen, 4),
		"checksum is missing":    change(headerLen, flagChecksum),
		"unknown section":        change(headerLen+4, 9),
		"document's length":      change(headerLen+5, 200),
		"element's type":         change(headerLen+9, 0x55),
		"nested too deeply":      newMessage(deep, 1, 0),
	} {
		conn := dial(t, s.Addr())
		if _, err := conn.Write(message); err != nil {
			t.Fatal(err)
		}
		if _, err := readMessage(conn); !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v, want the connection's end", name, err)
		}
	}
	if reply := exchange(t, dial(t, s.Addr()), ping); !succeeded(reply) {
		t.Errorf("afterwards: %s", reply)
	}
}

func TestCloseWithBusyClients(t *testing.T) {
	s := start(t, t.TempDir())
	tasks := connect(t, s.URI()).Database("todo").Collection("tasks")
	mustInsert(t, tasks, doc("_id", "x", "rev", int64(0)))
	if _, err := dial(t, s.Addr()).Write(insertMessage(t, "x")[:20]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for {
				if _, err := tasks.UpdateOne(ctx, doc("_id", "x", "rev", doc("$gt", -1)), doc("$inc", doc("rev", 1))); err != nil {
					return
				}
			}
		})
	}
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("Close doesn't return")
	}
	cancel()
	group.Wait()
}
