// Command loadgen puts a steady load on a service. It prints the figures as JSON
// on standard output and in words on standard error, and exits with 1 when a
// request was lost.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gracefleet/gracefleet/e2e/load"
)

func main() {
	var cfg load.Config
	flag.StringVar(&cfg.Address, "address", "127.0.0.1:8080", "HOST:PORT, or unix:PATH")
	flag.StringVar(&cfg.Path, "path", "/", "path of the requests")
	flag.Float64Var(&cfg.Fresh, "fresh", 1000, "requests a second on connections of their own")
	flag.Float64Var(&cfg.KeepAlive, "keep-alive", 1000, "requests a second on lasting connections")
	flag.IntVar(&cfg.Connections, "connections", 20, "lasting connections")
	flag.DurationVar(&cfg.Timeout, "timeout", 5*time.Second, "timeout of a request, from its appointed time")
	duration := flag.Duration("duration", 10*time.Second, "length of the run; 0: until interrupted")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *duration)
		defer cancel()
	}
	l := load.Run(ctx, cfg)
	<-ctx.Done()
	s := l.Stop()

	fmt.Fprint(os.Stderr, s)
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	if err := out.Encode(s); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
	if s.Lost() > 0 {
		os.Exit(1)
	}
}
