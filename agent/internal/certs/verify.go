package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Verify says whether a client's chain counts now: roots, dates, what it is for,
// and revocation. It is asked in the handshake and again for connections that
// stand while the files change.
func (k *Keeper) Verify(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("no certificate")
	}
	s := k.now.Load()
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	chains, err := chain[0].Verify(x509.VerifyOptions{
		Roots: s.roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
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
