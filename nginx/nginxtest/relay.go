package nginxtest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Relay returns the address of a TCP relay to another one, through which
// every byte takes the delay, each way. Loopback hides what the distance of the
// internet shows: a client sends on a connection that is already closed.
func Relay(t testing.TB, to string, delay time.Duration) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{to: to, delay: delay, open: make(map[net.Conn]bool)}
	r.running.Go(func() { r.accept(listener) })
	t.Cleanup(func() {
		listener.Close()
		r.closeAll()
		r.running.Wait()
	})
	return listener.Addr().String()
}

type relay struct {
	to      string
	delay   time.Duration
	running sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
}

func (r *relay) accept(listener net.Listener) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", r.to)
		if err != nil {
			near.Close()
			continue
		}
		if !r.keep(near, far) {
			return
		}
		var both sync.WaitGroup
		both.Go(func() { r.carry(far, near) })
		both.Go(func() { r.carry(near, far) })
		r.running.Go(func() {
			both.Wait()
			r.drop(near, far)
		})
	}
}

// keep remembers connections, to be closed at the end. It reports false, having
// closed them, when that is now.
func (r *relay) keep(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range conns {
		if r.closed {
			conn.Close()
		} else {
			r.open[conn] = true
		}
	}
	return !r.closed
}

func (r *relay) drop(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range conns {
		conn.Close()
		delete(r.open, conn)
	}
}

func (r *relay) closeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for conn := range r.open {
		conn.Close()
	}
}

// carry takes bytes from one side to the other until there are no more; then
// it takes the end: a close as a close, a reset as a reset.
func (r *relay) carry(to, from net.Conn) {
	type parcel struct {
		data []byte
		err  error
		due  time.Time
	}
	road := make(chan parcel, 1024)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(road)
		for {
			data := make([]byte, 16<<10)
			n, err := from.Read(data)
			road <- parcel{data[:n], err, time.Now().Add(r.delay)}
			if err != nil {
				return
			}
		}
	})
	defer reader.Wait()
	lost := false
	for p := range road { // to its end, or the reader would wait for us for ever
		time.Sleep(time.Until(p.due))
		if len(p.data) > 0 && !lost {
			_, err := to.Write(p.data)
			lost = err != nil
		}
		if errors.Is(p.err, io.EOF) {
			to.(*net.TCPConn).CloseWrite()
		} else if p.err != nil {
			to.(*net.TCPConn).SetLinger(0)
			to.Close()
		}
	}
}
