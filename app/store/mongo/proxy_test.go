package mongo_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// fault is what the proxy does with one command.
type fault struct {
	ending ending
	answer bson.D        // of answerItself
	sent   chan struct{} // of holdAnswer: closed when the server has answered
}

type ending int

const (
	pass         ending = iota
	loseRequest         // the server never sees it; the connection ends
	loseAnswer          // the server carries it out; the connection ends
	holdAnswer          // the server carries it out; nothing comes back
	answerItself        // the server never sees it, and the client gets an answer
	cutRequest          // the server sees half of it; the connection ends
	cutAnswer           // the server carries it out; the client sees half of the answer; the connection ends
	delayAnswer         // the server carries it out; the answer comes late
)

// request is a command that went by.
type request struct {
	conn int // number of its connection
	name string
	body bson.Raw
}

// proxy stands between a store and the server and treats chosen commands badly.
type proxy struct {
	listener net.Listener
	server   string
	done     chan struct{}
	group    sync.WaitGroup

	mu    sync.Mutex
	on    func(name string) fault
	seen  []request
	conns int
}

// startProxy starts one that passes everything, before the embedded server.
func startProxy(t *testing.T) *proxy {
	t.Helper()
	u, err := url.Parse(embeddedURI)
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
	return p
}

func (p *proxy) uri() string { return "mongodb://" + p.listener.Addr().String() + "/" }

// treat sets what becomes of each command from now on.
func (p *proxy) treat(on func(name string) fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.on = on
}

// requests returns the commands of these names that went by since the last call.
func (p *proxy) requests(names ...string) []request {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []request
	for _, r := range p.seen {
		for _, name := range names {
			if r.name == name {
				found = append(found, r)
			}
		}
	}
	p.seen = nil
	return found
}

func (p *proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.conns++
		n := p.conns
		p.mu.Unlock()
		p.group.Go(func() { p.serve(n, conn) })
	}
}

// serve passes one command after the other; a connection carries one at a time.
func (p *proxy) serve(n int, client net.Conn) {
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
	for {
		message, err := readMessage(fromClient)
		if err != nil {
			return
		}
		f := p.judge(n, message)
		switch f.ending {
		case loseRequest:
			return
		case answerItself:
			if _, err := client.Write(answer(message, f.answer)); err != nil {
				return
			}
			continue
		case cutRequest:
			_, _ = server.Write(message[:len(message)/2])
			return
		}
		if _, err := server.Write(message); err != nil {
			return
		}
		reply, err := readMessage(fromServer)
		if err != nil || f.ending == loseAnswer {
			return
		}
		switch f.ending {
		case holdAnswer:
			close(f.sent)
			_, _ = io.Copy(io.Discard, fromClient) // until the client gives up
			return
		case cutAnswer:
			_, _ = client.Write(reply[:len(reply)/2])
			return
		case delayAnswer:
			select {
			case <-p.done:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
		if _, err := client.Write(reply); err != nil {
			return
		}
	}
}

func (p *proxy) judge(conn int, message []byte) fault {
	body, ok := commandOf(message)
	if !ok {
		return fault{}
	}
	name := body.Index(0).Key()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = append(p.seen, request{conn, name, body})
	if p.on == nil {
		return fault{}
	}
	return p.on(name)
}

const (
	headerSize = 16
	opMsg      = 2013
)

func readMessage(r io.Reader) ([]byte, error) {
	message := make([]byte, 4)
	if _, err := io.ReadFull(r, message); err != nil {
		return nil, err
	}
	message = append(message, make([]byte, binary.LittleEndian.Uint32(message)-4)...)
	_, err := io.ReadFull(r, message[4:])
	return message, err
}

// commandOf returns the command's document, whose first field names it.
func commandOf(message []byte) (bson.Raw, bool) {
	if len(message) < headerSize+9 || binary.LittleEndian.Uint32(message[12:]) != opMsg || message[headerSize+4] != 0 {
		return nil, false
	}
	body := message[headerSize+5:]
	return bson.Raw(body[:binary.LittleEndian.Uint32(body)]), true
}

// answer is a message that answers another.
func answer(to []byte, doc bson.D) []byte {
	raw, err := bson.Marshal(doc)
	if err != nil {
		panic(err)
	}
	message := make([]byte, headerSize+5, headerSize+5+len(raw))
	message = append(message, raw...)
	binary.LittleEndian.PutUint32(message, uint32(len(message)))
	copy(message[8:12], to[4:8]) // responseTo
	binary.LittleEndian.PutUint32(message[12:], opMsg)
	return message
}
