// Command migrate walks a live service from one database to another in eight
// steps, behind nginx, without downtime and without losing a write.
//
// Each command is one file: flags in, a call, an answer out.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// The second interrupt kills: whatever is half done, the next command settles.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
