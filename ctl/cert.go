package ctl

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/ca"
)

func newCert(s *session) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cert",
		Short: "A private CA for agents and those who call them",
		Long: "Makes the certificates by which agents and clients know each other, from a CA in a\n" +
			"directory of this machine. No agent is asked. Whoever reads the directory can be\n" +
			"anybody: keep it on one machine, and back it up.",
		Example: example("gracectl cert init --trust-domain example.org", "gracectl cert issue --agent web-1 --host web-1.example.org",
			"gracectl cert issue --role operator --name alice", "gracectl cert list", "gracectl cert serve",
			"gracectl cert token --agent web-1 --host web-1.example.org --at ca.example.org:7444"),
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("say what: cert init, issue, renew, revoke, crl, list, show, serve or token")
		},
	}
	var dir string
	cmd.PersistentFlags().StringVar(&dir, "dir", "", "the CA's directory (default $XDG_CONFIG_HOME/gracefleet/ca)")
	home := func() (string, error) { return s.caDir(dir) }
	cmd.AddCommand(newCertInit(s, home), newCertIssue(s, home), newCertRenew(s, home), newCertRevoke(s, home),
		newCertCRL(s, home), newCertList(s, home), newCertShow(s, home), newCertServe(s, home), newCertToken(s, home))
	return cmd
}

// caDir is the directory of the CA: as the flag says, or in the user's configuration.
func (s *session) caDir(flag string) (string, error) {
	if flag != "" {
		return filepath.Clean(flag), nil
	}
	if dir, ok := s.configDir(); ok {
		return filepath.Join(dir, "ca"), nil
	}
	return "", usage("neither XDG_CONFIG_HOME nor HOME is set: name the CA's directory with --dir")
}

// offline makes a command's function from one that asks no agent, and leaves
// nothing going when it is interrupted.
func (s *session) offline(home func() (string, error), run func(ctx context.Context, dir string, args []string) error) func(*cobra.Command, []string) error {
	return s.local(func(ctx context.Context, args []string) error {
		dir, err := home()
		if err != nil {
			return err
		}
		return run(ctx, dir, args)
	})
}

// local is offline for a command that needs no CA.
func (s *session) local(run func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := run(cmd.Context(), args)
		var e *exitError
		if err == nil || errors.As(err, &e) {
			return err
		}
		return &exitError{ExitError, err}
	}
}

func newCertInit(s *session, home func() (string, error)) *cobra.Command {
	var domain string
	cmd := &cobra.Command{
		Use:   "init --trust-domain DOMAIN",
		Short: "Make a CA",
		Long: "Makes a CA that is valid for ten years and signs identities of one trust domain alone.\n" +
			"The trust domain is a name that is yours; it need not be in the DNS.",
		Example: example("gracectl cert init --trust-domain example.org", "gracectl cert init --trust-domain example.org --dir ./ca"),
		Args:    cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			if domain == "" {
				return usage("name the trust domain with --trust-domain, such as example.org")
			}
			return misuse(ca.CheckTrustDomain(domain))
		},
		RunE: s.offline(home, func(ctx context.Context, dir string, _ []string) error {
			a, err := ca.Create(ctx, dir, domain)
			if err != nil {
				return err
			}
			return s.created(a)
		}),
	}
	cmd.Flags().StringVar(&domain, "trust-domain", "", "whose identities it signs, such as example.org")
	return cmd
}

// created reports a new CA.
func (s *session) created(a *ca.Authority) error {
	cert := a.Certificate()
	if s.structured() {
		return s.print(object{
			{"dir", a.Dir()},
			{"trustDomain", a.TrustDomain()},
			{"serial", ca.FormatSerial(cert.SerialNumber)},
			{"notBefore", timestamp(cert.NotBefore)},
			{"notAfter", timestamp(cert.NotAfter)},
			{"certificate", a.Path(ca.CertificateFile)},
			{"key", a.Path(ca.KeyFile)},
			{"crl", a.Path(ca.CRLFile)},
		})
	}
	s.say("%s: CA of %s, valid until %s", a.Dir(), a.TrustDomain(), minute(cert.NotAfter))
	s.note("keep %s to yourself, and a backup of the directory", a.Path(ca.KeyFile))
	s.note("next: gracectl cert issue --role operator --name alice")
	s.note("      gracectl cert serve, for hosts that join with gracectl cert token")
	s.note("      or without it: gracectl cert issue --agent web-1 --host web-1.%s", a.TrustDomain())
	return nil
}

// ofFile says in which file it went wrong.
func ofFile(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", path, err)
}
