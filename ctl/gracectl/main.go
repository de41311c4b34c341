// Command gracectl upgrades running services without losing a request.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/gracefleet/gracefleet/ctl"
)

// version is set by -ldflags "-X main.version=v1.2.3".
var version string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal detaches. Then signals have their usual effect again, so
	// that a second one ends the program at once.
	context.AfterFunc(ctx, stop)
	os.Exit(ctl.Run(ctx, os.Args[1:], ctl.Stdio{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Version: version,
	}))
}
