// Command fickle is a service that is itself only to those who ask it
// directly: through a proxy it claims to be another instance, so that no
// switch to it can be confirmed. It closes idle connections after 200 ms.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	address := "127.0.0.1:" + os.Getenv("PORT")
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/config", func(w http.ResponseWriter, r *http.Request) {
		who := "fickle"
		if r.Host != address {
			who = "somebody else"
		}
		fmt.Fprintf(w, `{"instance": %q, "migration_step": %s}`, who, os.Getenv("MIGRATION_STEP"))
	})
	server := http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: time.Second, IdleTimeout: 200 * time.Millisecond}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
