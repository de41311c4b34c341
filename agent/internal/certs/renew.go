package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/internal/wholefile"
)

// contactLimit is how long the CA may take.
const contactLimit = 30 * time.Second

// complainEvery keeps a CA that is away from filling the log.
const complainEvery = 24 * time.Hour

// Authority is the CA for the time of one contact.
type Authority interface {
	// Renew asks for the certificate of the key that signed a PKCS#10 request.
	Renew(ctx context.Context, request []byte) (der []byte, err error)
	// RevocationList asks for what was revoked.
	RevocationList(ctx context.Context) (der []byte, err error)
	Close() error
}

// Dial prepares a contact, proved by the agent's own certificate.
type Dial func(own tls.Certificate, roots *x509.CertPool) (Authority, error)

// Renewer has the CA renew the agent's certificate before it ends, and fetches the
// revocation list. The keeper finds both in the files. Whatever goes wrong, what holds
// goes on to hold.
type Renewer struct {
	keeper *Keeper
	dial   Dial
	log    hclog.Logger
	state  atomic.Pointer[Contact]

	// Run's
	spread     float64
	failures   int
	complained time.Time
	replaced   *x509.Certificate // by one that the keeper has not read yet
}

// Contact is how it went with the CA. The zero value is that of none so far.
type Contact struct {
	At  time.Time // of the last that went well
	Err error     // of the last; nil when it went well
}

// NewRenewer prepares renewal by a CA. Certificate and key must be one file: after a
// crash between two, the agent would have no key for its certificate.
func NewRenewer(k *Keeper, dial Dial, log hclog.Logger) (*Renewer, error) {
	switch f := k.files; {
	case f.Cert != f.Key:
		return nil, fmt.Errorf("tls: renew needs certificate and key in one file, so that both are replaced at once: cat %s %s into it, and name it as cert and as key", f.Cert, f.Key)
	case f.Revoked == "":
		return nil, errors.New("tls: renew needs revoked, the file for the list of what was revoked")
	}
	r := &Renewer{keeper: k, dial: dial, log: log, spread: chance()}
	r.state.Store(&Contact{})
	return r, nil
}

// Contact is how it went last. It is safe for concurrent use.
func (r *Renewer) Contact() Contact { return *r.state.Load() }

// Run asks the CA again and again until ctx ends.
func (r *Renewer) Run(ctx context.Context) {
	if err := r.sweep(); err != nil {
		r.log.Warn("what an earlier renewal left could not be removed", "error", err)
	}
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-wait.C:
		case <-ctx.Done():
			return
		}
		r.report(ctx, r.contact(ctx))
		wait.Reset(waitAfter(r.keeper.Leaf(), r.failures, chance()))
	}
}

// sweep removes a file that was cut off. Nobody else writes there while the agent
// runs but gracectl host join, which can be repeated.
func (r *Renewer) sweep() error {
	path, err := filepath.EvalSymlinks(r.keeper.files.Cert)
	if err != nil {
		return err
	}
	return wholefile.Sweep(filepath.Dir(path))
}

// contact fetches the list, and the next certificate if that is due.
func (r *Renewer) contact(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, contactLimit)
	defer cancel()
	s := r.keeper.now.Load()
	a, err := r.dial(s.own, s.roots)
	if err != nil {
		return err
	}
	defer a.Close()
	err = r.fetch(ctx, a, s)
	if r.due(s, time.Now()) {
		err = errors.Join(err, r.renew(ctx, a, s))
	}
	return err
}

// due says whether a certificate is to be renewed. One that ends with its CA gains
// nothing by it.
func (r *Renewer) due(s *snapshot, now time.Time) bool {
	leaf := s.own.Leaf
	return leaf != r.replaced && !now.Before(dueAt(leaf, r.spread)) && s.outlived(leaf)
}

// outlived says whether the CA that has signed a certificate lasts longer. Beside it may
// be the one that it takes over from, or that takes over from it.
func (s *snapshot) outlived(leaf *x509.Certificate) bool {
	return slices.ContainsFunc(s.issuers, func(ca *x509.Certificate) bool {
		return leaf.NotAfter.Before(ca.NotAfter) && leaf.CheckSignatureFrom(ca) == nil
	})
}

func (r *Renewer) fetch(ctx context.Context, a Authority, s *snapshot) error {
	der, err := a.RevocationList(ctx)
	if err != nil {
		return err
	}
	file, err := s.newer(der)
	if err != nil || file == nil {
		return err
	}
	path, err := filepath.EvalSymlinks(r.keeper.files.Revoked)
	if err != nil {
		return err
	}
	return wholefile.Replace(path, file, 0o644)
}

// renew makes a key, has the CA certify it, and puts both in place of the old ones at
// once: at any instant the file has one pair or the other.
func (r *Renewer) renew(ctx context.Context, a Authority, s *snapshot) error {
	path, err := filepath.EvalSymlinks(r.keeper.files.Cert)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	pair := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	var b wholefile.Batch
	defer b.Discard()
	// A full disk shows before the CA has signed anything.
	if err := b.Add(path, pair, 0o600); err != nil {
		return err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return err
	}
	der, err := a.Renew(ctx, request)
	if err != nil {
		return err
	}
	cert, err := s.successor(der, key, time.Now())
	if err != nil {
		return fmt.Errorf("what the CA gave is not used: %w", err)
	}
	pair = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pair...)
	if err := wholefile.Replace(path, pair, 0o600); err != nil {
		return err
	}
	r.replaced, r.spread = s.own.Leaf, chance()
	r.log.Info("the certificate was renewed", "serial", fmt.Sprintf("%032x", cert.SerialNumber), "expires", cert.NotAfter)
	return nil
}

// successor holds a certificate to what the next one must be: the same but for key,
// serial number and time, and good for what the agent does with it.
func (s *snapshot) successor(der []byte, key *ecdsa.PrivateKey, now time.Time) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	old := s.own.Leaf
	switch {
	case !key.PublicKey.Equal(cert.PublicKey):
		return nil, errors.New("it is for another key")
	case !slices.EqualFunc(cert.URIs, old.URIs, sameText), !slices.Equal(cert.DNSNames, old.DNSNames), !slices.EqualFunc(cert.IPAddresses, old.IPAddresses, net.IP.Equal):
		return nil, fmt.Errorf("it is for %v at %v %v, not for %v at %v %v", cert.URIs, cert.DNSNames, cert.IPAddresses, old.URIs, old.DNSNames, old.IPAddresses)
	case !cert.NotAfter.After(old.NotAfter):
		return nil, fmt.Errorf("it ends on %s, no later than the one before", cert.NotAfter.Format(time.RFC3339))
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		path, err := cert.Verify(x509.VerifyOptions{Roots: s.roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
		if err != nil {
			return nil, err
		}
		if err := s.anyRevoked(path[0]); err != nil {
			return nil, err
		}
	}
	return cert, nil
}

func sameText[T fmt.Stringer](a, b T) bool { return a.String() == b.String() }

// report keeps how a contact went, and complains of it once a day.
func (r *Renewer) report(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	if err == nil {
		if !r.complained.IsZero() {
			r.log.Info("the CA answers again")
		}
		r.failures, r.complained = 0, time.Time{}
		r.state.Store(&Contact{At: now})
		return
	}
	r.failures++
	r.state.Store(&Contact{At: r.Contact().At, Err: err})
	if r.complained.IsZero() || now.Sub(r.complained) >= complainEvery {
		r.complained = now
		r.log.Warn("the CA could not be asked for the next certificate and for what was revoked: what holds goes on to hold", "error", err)
	}
}
