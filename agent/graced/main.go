// Command graced is the agent: it owns the listening sockets of a host's
// services and runs generations of their programs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/agent"
)

// version is set at the link of a release.
var version = ""

// Exit codes: 0 told to end, 1 error, 2 usage.
func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

func run(args []string, stderr io.Writer) int {
	c, err := configure(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errVersion):
		fmt.Println("graced " + versionText())
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "graced: %v\n", err)
		return 2
	}
	// A program that signals its parent never reaches the agent: shims stand
	// between. SIGHUP is reserved for a reload of the configuration.
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := agent.Run(ctx, c); err != nil {
		fmt.Fprintf(stderr, "graced: %v\n", err)
		return 1
	}
	return 0
}

var errVersion = errors.New("version asked for")

const usage = `Usage: graced [flags]

graced owns the listening sockets of this host's services and runs generations
of their programs. It may end at any time: services live on, and the next agent
adopts them. gracectl talks to it.

Flags (each is also a key of the configuration file, with underscores):
`

func configure(args []string, stderr io.Writer) (agent.Config, error) {
	c := agent.DefaultConfig()
	var flags agent.Config
	fs := flag.NewFlagSet("graced", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() { fmt.Fprint(stderr, usage); fs.PrintDefaults() }
	file := fs.String("config", "", "configuration `FILE` (default "+agent.DefaultConfigFile+", if it is there)")
	fs.StringVar(&flags.StateDir, "state-dir", "", "`DIR` for records, artifacts and logs (default "+c.StateDir+")")
	fs.StringVar(&flags.RuntimeDir, "runtime-dir", "", "`DIR` for sockets of running services (default "+c.RuntimeDir+")")
	fs.StringVar(&flags.Socket, "socket", "", "`PATH` of the local API (default graced.sock in the runtime directory)")
	fs.StringVar(&flags.Listen, "listen", "", "`HOST:PORT` of the API on the network, with mutual TLS alone (default: none)")
	fs.StringVar(&flags.TLS.Cert, "tls-cert", "", "`FILE` with the agent's certificate")
	fs.StringVar(&flags.TLS.Key, "tls-key", "", "`FILE` with its key")
	fs.StringVar(&flags.TLS.CA, "tls-ca", "", "`FILE` with the certificates of those who issue clients'")
	fs.StringVar(&flags.Metrics, "metrics", "", "`HOST:PORT` of figures for Prometheus, without any proof of who asks; without a host on loopback (default: none)")
	fs.StringVar(&flags.LogLevel, "log-level", "", "trace, debug, info, warn or error (default info)")
	fs.StringVar(&flags.LogFormat, "log-format", "", "text or json (default text)")
	fs.BoolVar(&flags.StopServices, "stop-services", false, "drain every service when the agent is told to end")
	fs.BoolVar(&flags.Drain, "drain", false, "adopt what runs, drain it and end; the next agent starts it again")
	showVersion := fs.Bool("version", false, "print the version and end")
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if *showVersion {
		return c, errVersion
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q; see graced -help", fs.Arg(0))
	}
	if err := readFile(*file, &c); err != nil {
		return c, err
	}
	override(&c, flags)
	return c, logger(&c, stderr)
}

func readFile(file string, c *agent.Config) error {
	// What follows from the runtime directory is decided once that is known.
	c.Socket = ""
	if file != "" {
		c.File = file
		return agent.ReadConfig(file, true, c)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	// An agent that nobody has configured has no file to look at again and again.
	if _, err := os.Stat(agent.DefaultConfigFile); err == nil {
		c.File = agent.DefaultConfigFile
	}
	return agent.ReadConfig(agent.DefaultConfigFile, false, c)
}

// override lets flags win over the file.
func override(c *agent.Config, flags agent.Config) {
	for _, o := range []struct {
		to   *string
		from string
	}{
		{&c.StateDir, flags.StateDir},
		{&c.RuntimeDir, flags.RuntimeDir},
		{&c.Socket, flags.Socket},
		{&c.Listen, flags.Listen},
		{&c.TLS.Cert, flags.TLS.Cert},
		{&c.TLS.Key, flags.TLS.Key},
		{&c.TLS.CA, flags.TLS.CA},
		{&c.Metrics, flags.Metrics},
		{&c.LogLevel, flags.LogLevel},
		{&c.LogFormat, flags.LogFormat},
	} {
		if o.from != "" {
			*o.to = o.from
		}
	}
	c.StopServices = c.StopServices || flags.StopServices
	c.Drain = flags.Drain
	c.Version = versionText()
}

func logger(c *agent.Config, stderr io.Writer) error {
	level := hclog.LevelFromString(c.LogLevel)
	if level == hclog.NoLevel {
		return fmt.Errorf("log level %q: want trace, debug, info, warn or error", c.LogLevel)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		return fmt.Errorf("log format %q: want text or json", c.LogFormat)
	}
	c.Log = hclog.New(&hclog.LoggerOptions{Name: "graced", Level: level, JSONFormat: c.LogFormat == "json", Output: stderr})
	return nil
}

func versionText() string {
	if version != "" {
		return version
	}
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" && b.Main.Version != "(devel)" {
		return b.Main.Version
	}
	return "devel"
}
