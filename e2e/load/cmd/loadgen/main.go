// Command loadgen puts a steady load on a service, or on several. It prints the
// figures as JSON on standard output and in words on standard error, and exits with 1
// when a request was lost. The JSON of several is an object, by address.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/gracefleet/gracefleet/e2e/load"
)

func main() {
	var cfg load.Config
	addresses := flag.String("address", "127.0.0.1:8080", "HOST:PORT, or unix:PATH; several with commas between them, each with the load of the other flags")
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
	seen := run(ctx, cfg, strings.Split(*addresses, ","))

	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	if err := out.Encode(figures(seen)); err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
	for _, s := range seen {
		if s.Lost() > 0 {
			os.Exit(1)
		}
	}
}

// run puts the load on every address until ctx ends.
func run(ctx context.Context, cfg load.Config, addresses []string) map[string]load.Snapshot {
	loads := make([]*load.Load, len(addresses))
	for i, address := range addresses {
		cfg.Address = address
		loads[i] = load.Run(ctx, cfg)
	}
	<-ctx.Done()
	seen := make(map[string]load.Snapshot)
	for i, address := range addresses {
		s := loads[i].Stop()
		if len(addresses) > 1 {
			fmt.Fprintln(os.Stderr, address)
		}
		fmt.Fprint(os.Stderr, s)
		seen[address] = s
	}
	return seen
}

// figures are those of the one address, or all.
func figures(seen map[string]load.Snapshot) any {
	if len(seen) > 1 {
		return seen
	}
	for _, s := range seen {
		return s
	}
	return nil
}
