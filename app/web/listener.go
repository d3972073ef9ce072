package web

import (
	"context"
	"net"
	"sync"
)

// listener is a TCP listener that ends without losing a client: one that has
// connected is accepted first, where the kernel would reset its connection.
type listener struct {
	net.Listener

	mu   sync.Mutex
	mark string // the address of the connection that settle makes

	once sync.Once
	err  error // of the close
}

// Accept returns the next connection of a client.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || !l.isMark(c) {
			return c, err
		}
		c.Close() // which settle waits for
	}
}

func (l *listener) isMark(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return c.RemoteAddr().String() == l.mark
}

// settle returns once every connection that was made before the call has been
// accepted. The kernel hands connections over in their order: when one of our
// own arrives, those before it have been taken.
func (l *listener) settle(ctx context.Context) error {
	own, err := l.connect(ctx)
	if err != nil {
		return err
	}
	defer own.Close()
	defer context.AfterFunc(ctx, func() { own.Close() })()
	_, _ = own.Read(make([]byte, 1)) // ends when Accept, or ctx, closes it
	return ctx.Err()
}

// connect holds the lock until Accept can know the connection.
func (l *listener) connect(ctx context.Context) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	own, err := new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	if err == nil {
		l.mark = own.LocalAddr().String()
	}
	return own, err
}

// Close closes the listener once. Another call, as http.Server makes when it
// shuts down, is no error: a listener that was closed before was closed well.
func (l *listener) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
}
