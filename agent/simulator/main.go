package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/agent/internal/metrics"
)

// Exit codes: 0 told to end, 1 error, 2 usage.
func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// settings are what the flags say.
type settings struct {
	hosts              int
	first              netip.AddrPort
	dir, metrics       string
	ready, drain, soak time.Duration
	fail, hang         string // patterns; empty is none
	log                hclog.Logger
}

func run(args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "simulator: %v\n", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := simulate(ctx, s, stdout); err != nil {
		fmt.Fprintf(stderr, "simulator: %v\n", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings
	fs := flag.NewFlagSet("simulator", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.IntVar(&s.hosts, "hosts", 100, "how many `N` hosts there are")
	first := fs.String("listen", "127.64.0.1:7443", "`ADDRESS:PORT` of the first; the others have the addresses after it")
	fs.StringVar(&s.dir, "dir", "", "`DIR` for certificates, the inventory fleet.yaml, artifacts and the record of who did what")
	fs.StringVar(&s.metrics, "metrics", "", "`HOST:PORT` of figures of all agents together (default: none)")
	fs.DurationVar(&s.ready, "ready", 100*time.Millisecond, "how long a program takes to be ready")
	fs.DurationVar(&s.drain, "drain", time.Second, "how long the connections of a generation last that gets no new ones")
	fs.DurationVar(&s.soak, "soak", time.Second, "soak of the service's upgrades")
	fs.StringVar(&s.fail, "fail", "", "`PATTERN` of hosts, or of artifacts, whose programs end with status 1 instead of becoming ready: web-000*")
	fs.StringVar(&s.hang, "hang", "", "`PATTERN` of hosts, or of artifacts, whose programs never become ready")
	if err := fs.Parse(args); err != nil {
		return s, err
	}
	var err error
	if s.first, err = netip.ParseAddrPort(*first); err != nil || !s.first.Addr().IsLoopback() {
		return s, fmt.Errorf("-listen %q: want ADDRESS:PORT on loopback, such as 127.64.0.1:7443", *first)
	}
	for _, pattern := range []string{s.fail, s.hang} {
		if _, err := path.Match(pattern, ""); err != nil {
			return s, fmt.Errorf("%q: %w", pattern, err)
		}
	}
	switch {
	case fs.NArg() > 0:
		return s, fmt.Errorf("unexpected argument %q; see simulator -help", fs.Arg(0))
	case s.dir == "":
		return s, errors.New("-dir is missing: name an empty directory")
	case s.hosts < 1 || s.hosts > maxHosts:
		return s, fmt.Errorf("-hosts %d: want 1 to %d", s.hosts, maxHosts)
	}
	s.log = hclog.New(&hclog.LoggerOptions{Name: "simulator", Level: hclog.Error, Output: stderr})
	return s, nil
}

// simulate runs the fleet until ctx ends. Once all hosts serve, it says so in one
// line.
func simulate(ctx context.Context, s settings, stdout io.Writer) error {
	var figures net.Listener
	if s.metrics != "" {
		var err error
		if figures, err = metrics.Listen(ctx, s.metrics); err != nil {
			return err
		}
	}
	f, err := open(s)
	if err != nil {
		return err
	}
	defer f.close()
	began := time.Now()
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { served <- f.serve(ctx, figures) }()
	err = f.begin(ctx)
	if err != nil {
		cancel()
		return errors.Join(err, <-served)
	}
	fmt.Fprintf(stdout, "%d hosts serve after %v; inventory %s\n", s.hosts, time.Since(began).Round(time.Millisecond), f.inventory())
	return <-served
}
