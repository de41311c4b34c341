package ctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/authority"
	"github.com/gracefleet/gracefleet/ctl/internal/ca"
	"github.com/gracefleet/gracefleet/ctl/internal/join"
)

func newHost(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "host",
		Short:   "Make this host one of the fleet",
		Example: example("gracectl host join TOKEN"),
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("say what: host join")
		},
	}
	cmd.AddCommand(newHostJoin(s))
	return cmd
}

// joining is what host join was asked for.
type joining struct {
	place  join.Place
	listen string
	force  bool
}

func newHostJoin(s *session) *cobra.Command {
	var j joining
	cmd := &cobra.Command{
		Use:   "join TOKEN|-",
		Short: "Get this host's agent its certificate, by a one-time token",
		Long: "Makes the agent's key, which stays on this host, has the CA certify it for a token of\n" +
			"gracectl cert token, and writes agent.pem, ca.pem and crl.pem. The CA is known by the\n" +
			"token: nobody else is told its secret. An agent's configuration is written where there\n" +
			"is none; else the lines are printed that it needs. \"-\" reads the token from standard\n" +
			"input. If it fails, it can be repeated with the same token.",
		Example: example("gracectl host join gj1/ca.example.org:7444/.../...", "gracectl host join - < token"),
		Args:    cobra.ExactArgs(1),
		PreRunE: func(*cobra.Command, []string) error {
			if _, _, err := net.SplitHostPort(j.listen); err != nil {
				return usage("--listen %q: want HOST:PORT, such as 10.0.0.5:%s or :%s", j.listen, agentPort, agentPort)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&j.place.Dir, "dir", "", "directory for the files (default "+rootTLS+" as root, else in $XDG_CONFIG_HOME/gracefleet)")
	f.StringVar(&j.place.Config, "config", "", "the agent's configuration (default "+rootConfig+" as root, else in $XDG_CONFIG_HOME/gracefleet)")
	f.StringVar(&j.listen, "listen", ":"+agentPort, "HOST:PORT for the agent to listen on, in its configuration")
	f.BoolVar(&j.force, "force", false, "replace an identity that the agent has already")
	cmd.RunE = s.local(func(ctx context.Context, args []string) error { return s.join(ctx, args[0], j) })
	return cmd
}

// Where an agent that is root has its configuration.
const (
	rootTLS    = "/etc/gracefleet/tls"
	rootConfig = "/etc/gracefleet/graced.yaml"
)

// agentPlace fills in where the agent of whoever calls has its files.
func (s *session) agentPlace(p join.Place) (join.Place, error) {
	tls, config := rootTLS, rootConfig
	if os.Geteuid() != 0 && (p.Dir == "" || p.Config == "") {
		dir, ok := s.configDir()
		if !ok {
			return p, usage("neither XDG_CONFIG_HOME nor HOME is set: say --dir and --config")
		}
		tls, config = filepath.Join(dir, "tls"), filepath.Join(dir, "graced.yaml")
	}
	if p.Dir == "" {
		p.Dir = tls
	}
	if p.Config == "" {
		p.Config = config
	}
	for _, path := range []*string{&p.Dir, &p.Config} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return p, err
		}
		*path = absolute
	}
	return p, nil
}

func (s *session) join(ctx context.Context, arg string, j joining) error {
	text, err := s.tokenText(arg)
	if err != nil {
		return err
	}
	t, err := authority.ParseToken(text)
	if err != nil {
		return misuse(err)
	}
	if j.place, err = s.agentPlace(j.place); err != nil {
		return err
	}
	joined, err := join.Join(ctx, t, j.place, j.force)
	if err != nil {
		return err
	}
	lines, err := j.place.Lines(j.listen, joined.Address)
	if err != nil {
		return err
	}
	configured, err := j.place.Configure(lines)
	if err != nil {
		return fmt.Errorf("the host has joined, but its agent's configuration could not be written: %w; it needs\n%s", err, lines)
	}
	if err := j.place.Done(); err != nil {
		return fmt.Errorf("the host has joined, but the key of its attempt is left beside the certificate: %w; remove it", err)
	}
	return s.joined(j, joined, lines, configured)
}

// tokenText is the token that an argument stands for. From standard input it is seen
// by nobody who lists processes.
func (s *session) tokenText(arg string) (string, error) {
	if arg != "-" {
		return arg, nil
	}
	if _, ok := terminal(s.stdio.In); ok {
		fmt.Fprint(s.stdio.Err, "token: ")
	}
	line, err := bufio.NewReader(io.LimitReader(s.stdio.In, int64(authority.MaxToken)+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimSpace(line), nil
}

func (s *session) joined(j joining, joined *join.Joined, lines string, configured bool) error {
	cert := joined.Certificate
	if s.structured() {
		return s.print(object{
			{"uri", joined.ID.String()},
			{"name", joined.ID.Name},
			{"hosts", ca.HostsOf(cert)},
			{"serial", ca.FormatSerial(cert.SerialNumber)},
			{"notAfter", timestamp(cert.NotAfter)},
			{"certificate", j.place.Certificate()},
			{"ca", j.place.CA()},
			{"crl", j.place.CRL()},
			{"config", j.place.Config},
			{"configured", configured},
		})
	}
	s.say("%s: %s, valid until %s, serial %s", j.place.Certificate(), joined.ID, minute(cert.NotAfter), ca.FormatSerial(cert.SerialNumber))
	restart := "graced --config " + j.place.Config
	if j.place.Config == rootConfig {
		restart = "systemctl restart graced.service"
	}
	if configured {
		s.say("%s: has the agent listen on %s, and renew its certificate", j.place.Config, j.listen)
		s.note("next: %s", restart)
		return nil
	}
	s.note("next: put these lines into %s, and %s\n", j.place.Config, restart)
	s.say("%s", strings.TrimSuffix(lines, "\n"))
	return nil
}
