package main

import (
	"net"
	"sync"
	"testing"
	"time"
)

// A link carries the connections to a database, and breaks on demand.
type link struct {
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	to     string
	mode   mode
	change chan struct{} // closed when the mode changes
	conns  map[net.Conn]bool
}

// mode is what a link does to what it carries.
type mode string

const (
	passing mode = "passing"
	slow    mode = "slow"    // every parcel takes a while
	stalled mode = "stalled" // nothing arrives until later, when nobody waits any more
	mute    mode = "mute"    // commands arrive, answers don't
	cut     mode = "cut"     // connections end, new ones too
	ended   mode = "ended"
)

func newLink(t *testing.T, to string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{listener: listener, to: to, mode: passing, change: make(chan struct{}), conns: map[net.Conn]bool{}}
	l.running.Go(l.accept)
	t.Cleanup(func() {
		listener.Close()
		l.set(ended)
		l.running.Wait()
	})
	return l
}

func (l *link) address() string { return l.listener.Addr().String() }

// set changes the mode. What was muted can't be continued: its connections end.
func (l *link) set(m mode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mode == mute || m == cut || m == ended {
		for c := range l.conns {
			c.Close()
		}
	}
	l.mode = m
	close(l.change)
	l.change = make(chan struct{})
}

// lead has new connections go to another address.
func (l *link) lead(to string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = to
}

func (l *link) leads() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to
}

func (l *link) now() (mode, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mode, l.change
}

func (l *link) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.DialTimeout("tcp", l.leads(), time.Second)
		if err != nil {
			near.Close()
			continue
		}
		l.running.Go(func() { l.join(near, far) })
	}
}

func (l *link) join(near, far net.Conn) {
	l.mu.Lock()
	if l.mode == cut || l.mode == ended {
		near.Close()
		far.Close()
	}
	l.conns[near], l.conns[far] = true, true
	l.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { l.carry(far, near, false) })
	both.Go(func() { l.carry(near, far, true) })
	both.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, near)
	delete(l.conns, far)
}

func (l *link) carry(to, from net.Conn, answers bool) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && l.let(answers) {
			if _, err := to.Write(buf[:n]); err != nil {
				from.Close()
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// let waits for as long as the mode wants, and reports whether to pass it on.
func (l *link) let(answers bool) bool {
	for {
		m, change := l.now()
		switch {
		case m == stalled:
			<-change
			continue
		case m == slow:
			time.Sleep(30 * time.Millisecond)
		case m == mute && answers:
			return false
		}
		return true
	}
}
