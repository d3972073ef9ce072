package main

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// A tollgate carries the commands to the new database one by one, and knows
// which of them write. As an account that may only read would, it refuses them
// on demand.
type tollgate struct {
	listener net.Listener
	to       string
	running  sync.WaitGroup

	mu     sync.Mutex
	refuse bool
	writes []string // commands that write, in order
	conns  []net.Conn
}

// writing are the commands that change something, of those that a driver sends.
var writing = map[string]bool{
	"insert": true, "update": true, "delete": true, "findAndModify": true, "bulkWrite": true,
	"create": true, "createIndexes": true, "drop": true, "dropDatabase": true, "dropIndexes": true, "collMod": true, "renameCollection": true,
}

func newTollgate(t *testing.T, to string) *tollgate {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &tollgate{listener: listener, to: to}
	g.running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			g.running.Go(func() { g.serve(near) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		g.mu.Lock()
		for _, c := range g.conns {
			c.Close()
		}
		g.mu.Unlock()
		g.running.Wait()
	})
	return g
}

func (g *tollgate) address() string { return g.listener.Addr().String() }

// close refuses writes from now on, or lets them pass, and forgets those it saw.
func (g *tollgate) close(refuse bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refuse, g.writes = refuse, nil
}

func (g *tollgate) seen() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.writes
}

// serve carries one connection: a message, its answer, and so on.
func (g *tollgate) serve(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", g.to)
	if err != nil {
		return
	}
	defer far.Close()
	g.mu.Lock()
	g.conns = append(g.conns, near, far)
	g.mu.Unlock()
	for {
		m, err := readMessage(near)
		if err != nil {
			return
		}
		if g.toll(m) {
			if _, err := near.Write(unauthorized(m)); err != nil {
				return
			}
			continue
		}
		if _, err := far.Write(m); err != nil {
			return
		}
		answer, err := readMessage(far)
		if err != nil {
			return
		}
		if _, err := near.Write(answer); err != nil {
			return
		}
	}
}

// toll notes a command that writes, and reports whether it is to be refused.
func (g *tollgate) toll(m []byte) bool {
	name := command(m)
	if !writing[name] {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.writes = append(g.writes, name)
	return g.refuse
}

func readMessage(r io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	m := make([]byte, binary.LittleEndian.Uint32(head))
	copy(m, head)
	_, err := io.ReadFull(r, m[4:])
	return m, err
}

// What a message is made of (OP_MSG): header, flags, then the kind of the first
// section and its document.
const (
	opMsg    = 2013
	bodyFrom = 16 + 4 + 1
)

// command is the name of an OP_MSG's command; empty for any other message.
func command(m []byte) string {
	if len(m) < bodyFrom || binary.LittleEndian.Uint32(m[12:]) != opMsg || m[20] != 0 {
		return ""
	}
	elements, err := bson.Raw(m[bodyFrom : bodyFrom+int(binary.LittleEndian.Uint32(m[bodyFrom:]))]).Elements()
	if err != nil || len(elements) == 0 {
		return ""
	}
	return elements[0].Key()
}

// unauthorized is what a server answers to an account that may only read.
func unauthorized(m []byte) []byte {
	body, err := bson.Marshal(bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: "not authorized"}, {Key: "code", Value: int32(13)}, {Key: "codeName", Value: "Unauthorized"}})
	if err != nil {
		panic(err)
	}
	answer := make([]byte, bodyFrom, bodyFrom+len(body))
	binary.LittleEndian.PutUint32(answer, uint32(bodyFrom+len(body)))
	copy(answer[8:], m[4:8]) // it answers this request
	binary.LittleEndian.PutUint32(answer[12:], opMsg)
	return append(answer, body...)
}
