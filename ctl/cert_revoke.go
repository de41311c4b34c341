package ctl

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/ca"
)

func newCertRevoke(s *session, home func() (string, error)) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "revoke FILE|SERIAL",
		Short: "Revoke a certificate",
		Long: "Puts a certificate on the revocation list crl.pem, which is then to be copied to every\n" +
			"agent. A serial number may be cut to its first 8 digits or more. The list names the\n" +
			"reason if it is one of key-compromise, affiliation-changed, superseded,\n" +
			"cessation-of-operation and privilege-withdrawn; the journal has any.",
		Example: example("gracectl cert revoke alice.pem --reason key-compromise", "gracectl cert revoke 3f2a9c01 --reason \"left the team\""),
		Args:    cobra.ExactArgs(1),
		PreRunE: func(*cobra.Command, []string) error { return misuse(ca.CheckReason(reason)) },
		RunE: s.offline(home, func(ctx context.Context, dir string, args []string) error {
			return s.revoke(ctx, dir, args[0], reason)
		}),
	}
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

// revokeBy takes the name of a file, or a serial number where there is no such file.
func revokeBy(signer *ca.Signer, what, reason string) (*ca.Revocation, error) {
	if _, err := os.Stat(what); errors.Is(err, fs.ErrNotExist) && ca.IsSerial(what) {
		return signer.RevokeSerial(what, reason)
	}
	cert, err := ca.ReadCertificate(what)
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
			s.say("%s: number %s, %s revoked", list.Path, list.Number, count(int32(min(list.Revoked, 1<<30)), "certificate"))
			s.distribute(list)
			return nil
		}),
	}
}

// distribute says what is to be done with a new list.
func (s *session) distribute(list *ca.CRL) {
	s.note("next: copy %s to every agent (tls: {revoked: ...} in its configuration)", list.Path)
	s.note("      and again before %s: gracectl cert crl", minute(list.NextUpdate))
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
