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

	"migrate.invalid/migrate/orchestrator/process"
)

func main() {
	// What this program starts outlives it, and must not keep what the caller has
	// opened: the lock of a deployment script, a pipe.
	process.CloseOnExec()
	// The second interrupt kills: whatever is half done, the next command settles.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
