package ctl

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gracefleet/gracefleet/ctl/internal/ca"
)

// shown is a certificate beside the CA.
type shown struct {
	file      string
	cert      *x509.Certificate
	authority *ca.Authority // nil when there is none
	revokedAt time.Time
	reason    string
}

func newCertShow(s *session, home func() (string, error)) *cobra.Command {
	return &cobra.Command{
		Use:     "show FILE",
		Short:   "Show what a certificate says, and what this CA knows of it",
		Example: example("gracectl cert show alice.pem", "gracectl cert show web-1.pem -o json"),
		Args:    cobra.ExactArgs(1),
		RunE: s.offline(home, func(_ context.Context, dir string, args []string) error {
			c, err := lookAt(dir, args[0])
			if err != nil {
				return err
			}
			if s.structured() {
				return s.print(c.object(time.Now()))
			}
			for _, line := range c.lines(dir, time.Now()) {
				s.say("%s", visible(line))
			}
			return nil
		}),
	}
}

func lookAt(dir, file string) (*shown, error) {
	cert, err := ca.ReadLeaf(file)
	if err != nil {
		return nil, err
	}
	c := &shown{file: file, cert: cert}
	c.authority, err = ca.Open(dir)
	if errors.Is(err, ca.ErrNoCA) {
		c.authority = nil
		return c, nil
	}
	if err != nil || !c.authority.Issued(cert) {
		return c, err
	}
	c.revokedAt, c.reason, err = c.authority.Revocation(cert.SerialNumber)
	return c, err
}

func (c *shown) state(now time.Time) ca.State {
	return ca.Entry{NotBefore: c.cert.NotBefore, NotAfter: c.cert.NotAfter, RevokedAt: c.revokedAt}.State(now)
}

// own says whether it is the CA's own certificate.
func (c *shown) own() bool {
	return c.authority != nil && c.authority.Certificate().Equal(c.cert)
}

func (c *shown) object(now time.Time) object {
	id, err := ca.IdentityOf(c.cert)
	o := object{{"file", c.file}}
	if err == nil {
		o = append(o, member{"uri", id.URI().String()}, member{"role", id.Role}, member{"name", id.Name})
	}
	o = append(o, object{
		{"hosts", ca.HostsOf(c.cert)},
		{"serial", ca.FormatSerial(c.cert.SerialNumber)},
		{"issuer", c.cert.Issuer.String()},
		{"notBefore", timestamp(c.cert.NotBefore)},
		{"notAfter", timestamp(c.cert.NotAfter)},
		{"usages", usages(c.cert)},
		{"sha256", fingerprint(c.cert)},
		{"isCA", c.cert.IsCA},
	}...)
	if c.authority != nil {
		o = append(o, member{"issuedByThisCA", c.own() || c.authority.Issued(c.cert)})
	}
	o = append(o, member{"state", string(c.state(now))})
	if c.revokedAt.IsZero() {
		return o
	}
	return append(o, member{"revokedAt", timestamp(c.revokedAt)}, member{"reason", c.reason})
}

func (c *shown) lines(dir string, now time.Time) []string {
	lines := []string{
		"identity   " + c.identity(),
		"hosts      " + orDash(strings.Join(ca.HostsOf(c.cert), ", ")),
		"usage      " + orDash(strings.Join(usages(c.cert), ", ")),
		"serial     " + ca.FormatSerial(c.cert.SerialNumber),
		"sha256     " + fingerprint(c.cert),
		"valid      " + minute(c.cert.NotBefore) + " to " + minute(c.cert.NotAfter),
		"issuer     " + c.cert.Issuer.String() + ": " + c.issuer(dir),
		"state      " + string(c.state(now)),
	}
	if !c.revokedAt.IsZero() {
		lines = append(lines, "revoked    "+minute(c.revokedAt)+", "+orDash(c.reason))
	}
	return lines
}

func (c *shown) identity() string {
	id, err := ca.IdentityOf(c.cert)
	switch {
	case err == nil:
		return id.URI().String()
	case c.own():
		return "the CA of " + c.authority.TrustDomain()
	}
	return "none: it " + err.Error()
}

func (c *shown) issuer(dir string) string {
	switch {
	case c.authority == nil:
		return "not known, there is no CA in " + dir
	case c.own():
		return "this CA itself, " + dir
	case c.authority.Issued(c.cert):
		return "this CA, " + dir
	}
	return "another than the CA in " + dir
}

// usages are what a certificate may be used for, in the words of RFC 5280.
func usages(cert *x509.Certificate) []string {
	words := map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: "serverAuth", x509.ExtKeyUsageClientAuth: "clientAuth", x509.ExtKeyUsageAny: "any"}
	all := []string{}
	for _, usage := range cert.ExtKeyUsage {
		if word := words[usage]; word != "" {
			all = append(all, word)
		} else {
			all = append(all, "other")
		}
	}
	if cert.KeyUsage&x509.KeyUsageCertSign != 0 {
		all = append(all, "certSign")
	}
	if cert.KeyUsage&x509.KeyUsageCRLSign != 0 {
		all = append(all, "crlSign")
	}
	return all
}

func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}
