package doctor

import (
	"net"
	"net/http"
	"testing"
	"time"
)

// How long a service keeps an idle connection is measured, not believed.
func TestIdleFor(t *testing.T) {
	for name, test := range map[string]struct {
		idle      time.Duration // of the service; 0 for ever
		keepAlive bool
		closed    bool
		least     time.Duration
	}{
		"100 ms":   {100 * time.Millisecond, true, true, 90 * time.Millisecond},
		"for ever": {0, true, false, 0},
		"none":     {0, false, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{IdleTimeout: test.idle, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Write([]byte("ready"))
			})}
			server.SetKeepAlivesEnabled(test.keepAlive)
			done := make(chan struct{})
			go func() { defer close(done); server.Serve(listener) }()
			defer func() { server.Close(); <-done }()
			closed, after, err := idleFor(t.Context(), listener.Addr().(*net.TCPAddr).Port, "/readyz", time.Second)
			if err != nil || closed != test.closed || closed && (after < test.least || test.least == 0 && after != 0) {
				t.Errorf("closed %v after %v, %v; want %v", closed, after, err, test.closed)
			}
		})
	}
}
