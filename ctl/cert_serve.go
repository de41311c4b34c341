package ctl

import (
	"context"
	"fmt"
	"net"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/authority"
	"github.com/gracefleet/gracefleet/ctl/internal/ca"
)

// caPort is where the CA answers unless it is told otherwise.
const caPort = "7444"

func newCertServe(s *session, home func() (string, error)) *cobra.Command {
	var listen, level string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Have the CA answer hosts that join, and agents that renew",
		Long: "Answers until it is told to end: hosts that have a token of gracectl cert token get\n" +
			"their first certificate, agents the next one and the revocation list. It is needed\n" +
			"while a host joins; left running, nobody has to renew or to copy anything. It speaks\n" +
			"TLS 1.3 alone, and needs no privilege but to read the CA's directory.",
		Example: example("gracectl cert serve", "gracectl cert serve --listen 10.0.0.2:7444 --dir /var/lib/gracefleet-ca"),
		Args:    cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			if _, _, err := net.SplitHostPort(listen); err != nil {
				return usage("--listen %q: want HOST:PORT, such as 10.0.0.2:%s or :%s", listen, caPort, caPort)
			}
			if hclog.LevelFromString(level) == hclog.NoLevel {
				return usage("--log-level %q: want debug, info, warn or error", level)
			}
			return nil
		},
		RunE: s.offline(home, func(ctx context.Context, dir string, _ []string) error {
			if _, err := ca.Open(dir); err != nil {
				return err
			}
			l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
			if err != nil {
				return fmt.Errorf("--listen %s: %w", listen, err)
			}
			return authority.Serve(ctx, dir, l, hclog.New(&hclog.LoggerOptions{Name: "ca", Level: hclog.LevelFromString(level), Output: s.stdio.Err}))
		}),
	}
	cmd.Flags().StringVar(&listen, "listen", ":"+caPort, "HOST:PORT to answer on")
	cmd.Flags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	return cmd
}
