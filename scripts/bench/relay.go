package main

import (
	"context"
	"net"
	"sync"
	"time"
)

// relaying carries connections to an address and delays what comes back.
type relaying struct {
	listener net.Listener
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// relay listens on a free port. Each parcel of an answer waits for the delay. A
// connection that can't be carried on is closed.
func relay(ctx context.Context, to string, delay time.Duration) (*relaying, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	r := &relaying{listener: listener, stop: stop}
	r.running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			end := context.AfterFunc(ctx, func() { near.Close(); far.Close() })
			r.running.Go(func() { carry(far, near, 0); end() })
			r.running.Go(func() { carry(near, far, delay) })
		}
	})
	return r, nil
}

func (r *relaying) address() string { return r.listener.Addr().String() }

func (r *relaying) close() {
	r.stop()
	r.listener.Close()
	r.running.Wait()
}

func carry(to, from net.Conn, delay time.Duration) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			time.Sleep(delay) // the variant is slow on purpose
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
