package postgres_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// fault is what the proxy does once, with one request.
type fault struct {
	ending ending
	answer []byte        // of answerItself, and what comes before the answer of addNotice
	sent   chan struct{} // of holdAnswer: closed when the server has answered
}

type ending int

const (
	loseRequest  ending = iota // the server never sees it; the connection ends
	loseAnswer                 // the server carries it out; the connection ends
	holdAnswer                 // the server carries it out; nothing comes back
	answerItself               // the server never sees it, and the client gets an answer
	cutRequest                 // the server sees half of it; the connection ends
	cutAnswer                  // the server carries it out; the client sees half of the answer; the connection ends
	delayAnswer                // the server carries it out; the answer comes late
	addNotice                  // the server carries it out; the client gets a notice as well
)

// What a request is of a transaction.
const (
	begin  = "begin"
	work   = "work"
	commit = "commit"
)

// proxy stands between a store and the server and treats chosen requests badly.
type proxy struct {
	listener net.Listener
	server   string
	done     chan struct{}
	group    sync.WaitGroup
	cancels  atomic.Int64 // requests to cancel that went by

	mu   sync.Mutex
	name string
	on   *fault
}

// startProxy starts one that passes everything, before the server of the URI; and
// returns the URI through it.
func startProxy(t *testing.T, uri string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, server: u.Host, done: make(chan struct{})}
	p.group.Go(p.accept)
	t.Cleanup(func() {
		close(p.done)
		l.Close()
		p.group.Wait()
	})
	u.Host = l.Addr().String()
	return p, u.String()
}

// treat says what becomes of the next request of this name.
func (p *proxy) treat(name string, f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.name, p.on = name, &f
}

// judge takes the fault that is meant for a request.
func (p *proxy) judge(request []byte) *fault {
	name := work
	if request[0] == 'X' { // the end of the session
		return nil
	}
	switch sql := strings.ToLower(string(request[5:])); {
	case request[0] == 'Q' && strings.HasPrefix(sql, "begin"):
		name = begin
	case request[0] == 'Q' && strings.HasPrefix(sql, "commit"):
		name = commit
	case request[0] == 'Q' && (strings.HasPrefix(sql, "rollback") || strings.HasPrefix(sql, "-- ping")): // the pool's own
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.on
	if f == nil || p.name != name {
		return nil
	}
	p.on = nil
	return f
}

func (p *proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.group.Go(func() { p.serve(conn) })
	}
}

// serve passes one request after the other. One may be several messages, up to a
// Sync.
func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer server.Close()
	ended := make(chan struct{})
	defer close(ended)
	p.group.Go(func() { // ends the reads below when the test does
		select {
		case <-p.done:
			client.Close()
			server.Close()
		case <-ended:
		}
	})
	fromClient, fromServer := bufio.NewReader(client), bufio.NewReader(server)
	if !p.introduce(client, server, fromClient, fromServer) {
		return
	}
	for {
		request, err := readUntil(fromClient, "QSX")
		if err != nil {
			return
		}
		f := p.judge(request)
		if f == nil {
			if _, err := server.Write(request); err != nil {
				return
			}
			answer, err := readUntil(fromServer, "Z")
			if _, writeErr := client.Write(answer); err != nil || writeErr != nil {
				return
			}
			continue
		}
		switch f.ending {
		case loseRequest:
			return
		case answerItself:
			if _, err := client.Write(f.answer); err != nil {
				return
			}
			continue
		case cutRequest:
			_, _ = server.Write(request[:len(request)/2])
			return
		}
		if _, err := server.Write(request); err != nil {
			return
		}
		answer, err := readUntil(fromServer, "Z")
		if err != nil || f.ending == loseAnswer {
			return
		}
		switch f.ending {
		case holdAnswer:
			close(f.sent)
			_, _ = readUntil(fromClient, "X") // until the client gives up
			return
		case cutAnswer:
			_, _ = client.Write(answer[:len(answer)/2])
			return
		case delayAnswer:
			select {
			case <-p.done:
				return
			case <-time.After(50 * time.Millisecond):
			}
		case addNotice:
			answer = append(f.answer, answer...)
		}
		if _, err := client.Write(answer); err != nil {
			return
		}
	}
}

// introduce passes the beginning of a session, and the whole of a request to cancel.
func (p *proxy) introduce(client, server net.Conn, fromClient, fromServer io.Reader) bool {
	start, err := readBody(fromClient, nil)
	if err != nil {
		return false
	}
	if _, err := server.Write(start); err != nil {
		return false
	}
	if binary.BigEndian.Uint32(start[4:]) == 80877102 {
		p.cancels.Add(1)
		_, _ = io.Copy(io.Discard, fromServer)
		return false
	}
	for {
		m, err := readMessage(fromServer)
		if err != nil {
			return false
		}
		if _, err := client.Write(m); err != nil || m[0] == 'Z' {
			return err == nil
		}
		if m[0] != 'R' {
			continue
		}
		if kind := binary.BigEndian.Uint32(m[5:]); kind == 10 || kind == 11 { // it wants an answer
			m, err := readMessage(fromClient)
			if err != nil {
				return false
			}
			if _, err := server.Write(m); err != nil {
				return false
			}
		}
	}
}

// readUntil reads messages up to one of these types.
func readUntil(r io.Reader, types string) (all []byte, err error) {
	for {
		m, err := readMessage(r)
		all = append(all, m...)
		if err != nil || strings.IndexByte(types, m[0]) >= 0 {
			return all, err
		}
	}
}

func readMessage(r io.Reader) ([]byte, error) {
	kind := make([]byte, 1)
	if _, err := io.ReadFull(r, kind); err != nil {
		return nil, err
	}
	return readBody(r, kind)
}

func readBody(r io.Reader, m []byte) ([]byte, error) {
	size := make([]byte, 4)
	if _, err := io.ReadFull(r, size); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size)-4)
	_, err := io.ReadFull(r, body)
	return append(append(m, size...), body...), err
}

// encode is what a server sends.
func encode(messages ...pgproto3.BackendMessage) []byte {
	var all []byte
	for _, m := range messages {
		var err error
		if all, err = m.Encode(all); err != nil {
			panic(err)
		}
	}
	return all
}
