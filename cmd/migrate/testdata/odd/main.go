// Command odd is a service of somebody's own: ready at /up alone, once it was
// asked there BOOT times, and at /config as CONFIG says: hang, 500, or a JSON text.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	boot, _ := strconv.ParseInt(os.Getenv("BOOT"), 10, 64) // none: at once
	var asked atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/up", func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) <= boot {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.Handle("/readyz", http.RedirectHandler("/login", http.StatusMovedPermanently))
	mux.HandleFunc("/config", func(w http.ResponseWriter, r *http.Request) {
		switch config := os.Getenv("CONFIG"); config {
		case "hang":
			<-r.Context().Done()
		case "500":
			w.WriteHeader(http.StatusInternalServerError)
		default:
			fmt.Fprint(w, config)
		}
	})
	server := http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), Handler: mux, ReadHeaderTimeout: time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
