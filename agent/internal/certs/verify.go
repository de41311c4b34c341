package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	"github.com/gracefleet/gracefleet/internal/identity"
)

// Verify says whether a client's chain counts now: roots, dates, what it is for,
// and revocation. It is asked in the handshake and again for connections that
// stand while the files change.
func (k *Keeper) Verify(chain []*x509.Certificate) error {
	return k.verify(chain, x509.ExtKeyUsageClientAuth)
}

// verifyAgent says whether a server is the agent that it ought to be. An error is a
// *tls.CertificateVerificationError: the next time it will be the same.
func (k *Keeper) verifyAgent(state tls.ConnectionState, agent identity.ID, protocol string) error {
	err := k.verify(state.PeerCertificates, x509.ExtKeyUsageServerAuth)
	var is identity.ID
	if err == nil {
		is, err = access.AgentID(state.PeerCertificates[0])
	}
	switch {
	case err != nil:
	case is != agent:
		err = fmt.Errorf("it is %s, and not %s", is, agent)
	case state.NegotiatedProtocol != protocol:
		err = fmt.Errorf("it does not speak %s", protocol)
	default:
		return nil
	}
	return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
}

func (k *Keeper) verify(chain []*x509.Certificate, use x509.ExtKeyUsage) error {
	if len(chain) == 0 {
		return errors.New("no certificate")
	}
	s := k.now.Load()
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	chains, err := chain[0].Verify(x509.VerifyOptions{
		Roots: s.roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{use},
	})
	if err != nil {
		return err
	}
	for _, path := range chains {
		if err = s.anyRevoked(path); err == nil {
			return nil
		}
	}
	return err
}

func (s *snapshot) anyRevoked(path []*x509.Certificate) error {
	for _, c := range path {
		if at, ok := s.revoked[serial(c.RawIssuer, c.SerialNumber.Bytes())]; ok {
			return fmt.Errorf("the certificate of %s, serial %x, was revoked on %s", c.Subject, c.SerialNumber, at.Format(time.DateOnly))
		}
	}
	return nil
}
