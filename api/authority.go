package api

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// maxAuthorityAnswer is the largest message in bytes that the CA sends: a list of a
// hundred thousand revoked certificates has five million.
const maxAuthorityAnswer = 16 << 20

// Authority is a connection to the CA of agents, gracectl cert serve. It is safe for
// concurrent use; the caller closes it.
type Authority struct {
	conn    *grpc.ClientConn
	service pb.AuthorityServiceClient
	seen    chan *x509.Certificate // the CA's own certificate, once it is known
}

// DialJoin prepares a connection to the CA at HOST:PORT for a host that has no
// certificate yet. Nothing is said to a peer that cannot prove to be the service of
// the CA whose public key, as SubjectPublicKeyInfo, has the SHA-256 pin.
func DialJoin(target string, pin [32]byte) (*Authority, error) {
	seen := make(chan *x509.Certificate, 1)
	return dialAuthority(target, seen, &tls.Config{
		MinVersion: tls.VersionTLS13,
		// Chain, dates, purpose and identity are looked at here, against the pin.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does it
		VerifyConnection: func(state tls.ConnectionState) error {
			ca, err := pinned(state.PeerCertificates, pin)
			if err != nil {
				return err
			}
			select {
			case seen <- ca:
			default:
			}
			return nil
		},
	})
}

// DialRenew prepares a connection to the CA at HOST:PORT for an agent that has a
// certificate. The CA's service must have one of the same issuers and trust domain.
func DialRenew(target string, own tls.Certificate, roots *x509.CertPool, trustDomain string) (*Authority, error) {
	return dialAuthority(target, nil, &tls.Config{
		MinVersion: tls.VersionTLS13,
		// The name is not looked at, the identity is: the CA may move.
		InsecureSkipVerify:   true, //nolint:gosec // VerifyConnection does it
		VerifyConnection:     func(state tls.ConnectionState) error { return isAuthority(state.PeerCertificates, roots, trustDomain) },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil },
	})
}

func dialAuthority(target string, seen chan *x509.Certificate, config *tls.Config) (*Authority, error) {
	if host, port, err := net.SplitHostPort(target); err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("the CA %q: want HOST:PORT, such as ca.example.org:7444", target)
	}
	// Names are looked up by the dialer, whose error says which does not exist.
	conn, err := grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAuthorityAnswer)),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: 5 * time.Second}))
	if err != nil {
		return nil, fmt.Errorf("the CA %s: %w", target, err)
	}
	return &Authority{conn: conn, service: pb.NewAuthorityServiceClient(conn), seen: seen}, nil
}

// Close ends the connection.
func (a *Authority) Close() error { return a.conn.Close() }

// Joined is what an agent begins with, DER.
type Joined struct {
	Certificate, RevocationList []byte
	// CA is the issuer's certificate, which the pin stands for.
	CA *x509.Certificate
}

// Join asks for an agent's first certificate with a token's secret. The request is
// PKCS#10.
func (a *Authority) Join(ctx context.Context, secret, request []byte) (*Joined, error) {
	answer, err := a.service.JoinHost(ctx, &pb.JoinHostRequest{Secret: secret, Request: request})
	if err != nil {
		return nil, err
	}
	select {
	case ca := <-a.seen:
		return &Joined{Certificate: answer.GetCertificate(), RevocationList: answer.GetRevocationList(), CA: ca}, nil
	default:
		return nil, errors.New("the connection is not one to join over")
	}
}

// Renew asks for the certificate of a new key, for the agent that the connection's
// certificate names. The request is PKCS#10, the answer DER.
func (a *Authority) Renew(ctx context.Context, request []byte) ([]byte, error) {
	answer, err := a.service.RenewCertificate(ctx, &pb.RenewCertificateRequest{Request: request})
	return answer.GetCertificate(), inWords(err)
}

// RevocationList asks for what was revoked, DER.
func (a *Authority) RevocationList(ctx context.Context) ([]byte, error) {
	answer, err := a.service.GetRevocationList(ctx, &pb.GetRevocationListRequest{})
	return answer.GetRevocationList(), inWords(err)
}

// inWords leaves out what gRPC says of itself: there is nothing to be told apart but
// that it went well.
func inWords(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(status.Convert(err).Message())
}

// authorityPath is in the identity of the CA's service. An agent's certificate is a
// server's, too: without this each host could pass for the CA.
const authorityPath = "/gracefleet/authority/ca"

// pinned finds the CA that a pin stands for in a chain whose first certificate is
// that of the CA's service.
func pinned(chain []*x509.Certificate, pin [32]byte) (*x509.Certificate, error) {
	for _, ca := range chain {
		if sha256.Sum256(ca.RawSubjectPublicKeyInfo) != pin {
			continue
		}
		if !ca.IsCA || len(ca.URIs) != 1 || ca.CheckSignatureFrom(ca) != nil {
			return nil, errors.New("tls: what the token stands for is no certificate of a CA by gracectl cert init")
		}
		roots := x509.NewCertPool()
		roots.AddCert(ca)
		return ca, isAuthority(chain, roots, ca.URIs[0].Host)
	}
	return nil, errors.New("tls: this is not the CA that the token is of: somebody may be in between, or the CA was made anew")
}

func isAuthority(chain []*x509.Certificate, roots *x509.CertPool, trustDomain string) error {
	if len(chain) == 0 {
		return errors.New("tls: the CA has no certificate")
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil {
		return err
	}
	if len(chain[0].URIs) != 1 || chain[0].URIs[0].String() != "spiffe://"+trustDomain+authorityPath {
		return fmt.Errorf("tls: the certificate is of %v, which is not the CA of %s", chain[0].URIs, trustDomain)
	}
	return nil
}
