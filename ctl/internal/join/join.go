package join

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/api"
	"github.com/gracefleet/gracefleet/ctl/internal/authority"
	"github.com/gracefleet/gracefleet/ctl/internal/ca"
	"github.com/gracefleet/gracefleet/internal/identity"
)

// answerLimit is how long one address of the CA is waited for.
const answerLimit = 20 * time.Second

// Joined is what came of it.
type Joined struct {
	ID          identity.ID
	Certificate *x509.Certificate
	Address     string // where the CA was reached
}

// Join has a host's agent get its first certificate. Nothing that is there is
// replaced, unless force is given. Until Place.Done, it can be repeated with the same
// token.
func Join(ctx context.Context, t authority.Token, p Place, force bool) (*Joined, error) {
	if err := p.vacant(); err != nil && !force {
		return nil, err
	}
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return nil, err
	}
	key, err := p.key()
	if err != nil {
		return nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	got, address, err := ask(ctx, t, request)
	if err != nil {
		return nil, err
	}
	a, err := read(got, key)
	if err != nil {
		return nil, fmt.Errorf("the CA's answer: %w", err)
	}
	if err := p.fill(a, key, force); err != nil {
		return nil, err
	}
	return &Joined{ID: a.id, Certificate: a.cert, Address: address}, nil
}

// ask tries the addresses of the CA in turn, until one answers.
func ask(ctx context.Context, t authority.Token, request []byte) (*api.Joined, string, error) {
	var unreached []error
	for _, address := range t.Addresses {
		got, err := askAt(ctx, address, t, request)
		if err == nil {
			return got, address, nil
		}
		said := fmt.Errorf("the CA at %s: %s", address, status.Convert(err).Message())
		if code := status.Code(err); code != codes.Unavailable && code != codes.DeadlineExceeded {
			return nil, "", said
		}
		unreached = append(unreached, said)
	}
	return nil, "", errors.Join(unreached...)
}

func askAt(ctx context.Context, address string, t authority.Token, request []byte) (*api.Joined, error) {
	conn, err := api.DialJoin(address, t.Pin)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	return conn.Join(ctx, t.Secret[:], request)
}

// answer is what the CA has given, read.
type answer struct {
	ca, cert *x509.Certificate
	list     *x509.RevocationList
	id       identity.ID
}

// read holds an answer to what an agent needs: what is written must work.
func read(got *api.Joined, key *ecdsa.PrivateKey) (*answer, error) {
	a := &answer{ca: got.CA}
	var err error
	if a.cert, err = x509.ParseCertificate(got.Certificate); err != nil {
		return nil, err
	}
	if a.list, err = x509.ParseRevocationList(got.RevocationList); err != nil {
		return nil, err
	}
	if err := a.list.CheckSignatureFrom(a.ca); err != nil {
		return nil, fmt.Errorf("the revocation list: %w", err)
	}
	if !key.PublicKey.Equal(a.cert.PublicKey) {
		return nil, errors.New("the certificate is for another key")
	}
	if a.id, err = ca.IdentityOf(a.cert); err != nil || !a.id.Agent() {
		return nil, errors.New("the certificate is no agent's")
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.ca)
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := a.cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			return nil, err
		}
	}
	return a, nil
}
