package ctl

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/ca"
)

func newCertRevoke(s *session, home func() (string, error)) *cobra.Command {
	var reason, agent string
	cmd := &cobra.Command{
		Use:   "revoke FILE|SERIAL | --agent NAME",
		Short: "Revoke a certificate, or all of an agent",
		Long: "Puts a certificate on the revocation list crl.pem. Agents that gracectl cert serve renews\n" +
			"fetch it within the hour; to others it is to be copied. A serial number may be cut to\n" +
			"its first 8 digits or more. An agent that renews itself has several certificates, and\n" +
			"may have a join token: --agent leaves it none. The list names the reason if it is one of\n" +
			"key-compromise, affiliation-changed, superseded, cessation-of-operation and\n" +
			"privilege-withdrawn; the journal has any.",
		Example: example("gracectl cert revoke alice.pem --reason key-compromise", "gracectl cert revoke 3f2a9c01 --reason \"left the team\"",
			"gracectl cert revoke --agent web-1 --reason \"the host is gone\""),
		Args: cobra.MaximumNArgs(1),
		PreRunE: func(_ *cobra.Command, args []string) error {
			if (agent == "") == (len(args) == 0) {
				return usage("say what: FILE, SERIAL or --agent NAME")
			}
			if agent == "" {
				return misuse(ca.CheckReason(reason))
			}
			return misuse(errors.Join(ca.CheckName(agent), ca.CheckReason(reason)))
		},
		RunE: s.offline(home, func(ctx context.Context, dir string, args []string) error {
			if agent != "" {
				return s.revokeAgent(ctx, dir, agent, reason)
			}
			return s.revoke(ctx, dir, args[0], reason)
		}),
	}
	cmd.Flags().StringVar(&agent, "agent", "", "an agent, with all of its certificates and its join token")
	cmd.Flags().StringVarP(&reason, "reason", "m", "", "why")
	return cmd
}

func (s *session) revoke(ctx context.Context, dir, what, reason string) error {
	signer, err := ca.Lock(ctx, dir)
	if err != nil {
		return err
	}
	defer signer.Close()
	r, err := revokeBy(signer, what, reason)
	if err != nil {
		return err
	}
	if s.structured() {
		return s.print(append(revokedObject(r), crlObject(r.CRL)...))
	}
	verb := "revoked"
	if r.Before {
		verb = "was revoked already, at " + minute(r.RevokedAt)
	}
	s.say("%s %s: %s, serial %s", r.Role, r.Name, verb, r.Serial)
	s.distribute(r.CRL)
	return nil
}

func (s *session) revokeAgent(ctx context.Context, dir, name, reason string) error {
	signer, err := ca.Lock(ctx, dir)
	if err != nil {
		return err
	}
	defer signer.Close()
	entries, list, err := signer.RevokeAgent(name, reason)
	if err != nil {
		return err
	}
	if s.structured() {
		all := []object{}
		for _, e := range entries {
			all = append(all, entryObject(e, time.Now()))
		}
		return s.print(append(object{{"name", name}, {"certificates", all}}, crlObject(list)...))
	}
	for _, e := range entries {
		s.say("agent %s: revoked, serial %s", name, e.Serial)
	}
	if len(entries) == 0 {
		s.say("agent %s: no certificate of it counts", name)
	}
	s.distribute(list)
	return nil
}

// revokeBy takes the name of a file, or a serial number where there is no such file.
func revokeBy(signer *ca.Signer, what, reason string) (*ca.Revocation, error) {
	if _, err := os.Stat(what); errors.Is(err, fs.ErrNotExist) && ca.IsSerial(what) {
		return signer.RevokeSerial(what, reason)
	}
	cert, err := ca.ReadLeaf(what)
	if err != nil {
		return nil, err
	}
	r, err := signer.RevokeCertificate(cert, reason)
	return r, ofFile(what, err)
}

func revokedObject(r *ca.Revocation) object {
	return object{
		{"serial", r.Serial},
		{"role", r.Role},
		{"name", r.Name},
		{"revokedAt", timestamp(r.RevokedAt)},
		{"reason", r.Reason},
		{"revokedBefore", r.Before},
	}
}

func newCertCRL(s *session, home func() (string, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "crl",
		Short: "Sign the revocation list anew, for another 30 days",
		Example: example("gracectl cert crl", "gracectl cert crl -o json",
			"gracectl cert crl && scp ~/.config/gracefleet/ca/crl.pem web-1:/etc/gracefleet/"),
		Args: cobra.NoArgs,
		RunE: s.offline(home, func(ctx context.Context, dir string, _ []string) error {
			signer, err := ca.Lock(ctx, dir)
			if err != nil {
				return err
			}
			defer signer.Close()
			list, err := signer.RefreshCRL()
			if err != nil {
				return err
			}
			if s.structured() {
				return s.print(crlObject(list))
			}
			s.say("%s: number %s, %s revoked", list.Path, list.Number, count(list.Revoked, "certificate"))
			s.distribute(list)
			return nil
		}),
	}
}

// distribute says what is to be done with a new list.
func (s *session) distribute(list *ca.CRL) {
	s.note("agents that gracectl cert serve renews fetch it within the hour; to others copy %s", list.Path)
	s.note("(tls: {revoked: ...} in their configuration), and again before %s: gracectl cert crl", minute(list.NextUpdate))
}

func crlObject(list *ca.CRL) object {
	return object{
		{"crl", list.Path},
		{"crlNumber", list.Number.Int64()},
		{"thisUpdate", timestamp(list.ThisUpdate)},
		{"nextUpdate", timestamp(list.NextUpdate)},
		{"revoked", list.Revoked},
	}
}
