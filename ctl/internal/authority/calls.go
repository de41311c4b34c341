package authority

import (
	"context"
	"crypto/x509"
	"errors"
	"net"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/ctl/internal/ca"
	"github.com/gracefleet/gracefleet/internal/origin"
)

// service answers AuthorityService. It tells callers what they can act upon, and its
// log, in one line for each act, the rest.
type service struct {
	pb.UnimplementedAuthorityServiceServer
	dir      string
	log      hclog.Logger
	refusals *quota // of tokens and certificates, by host
	renewals *quota // by agent
}

var errTooOften = status.Error(codes.ResourceExhausted, "too many attempts from this host: wait a minute")

// JoinHost uses a token up.
func (s *service) JoinHost(ctx context.Context, r *pb.JoinHostRequest) (*pb.JoinHostResponse, error) {
	from, _ := caller(ctx)
	log, who := s.log.With("from", from.String()), origin.Of(from)
	if s.refusals.spent(who) {
		return nil, errTooOften
	}
	joined, err := s.join(ctx, r)
	if err != nil {
		s.refusals.add(who)
		return nil, answer(log, "a host could not join", err)
	}
	list, err := ca.List(ctx, s.dir)
	if err != nil {
		return nil, answer(log, "a host could not join", err)
	}
	log.Info("a host joined", "agent", joined.Name, "hosts", joined.Hosts, "serial", joined.Serial, "expires", joined.NotAfter, "again", joined.Again)
	return &pb.JoinHostResponse{Certificate: joined.Certificate.Raw, RevocationList: list}, nil
}

func (s *service) join(ctx context.Context, r *pb.JoinHostRequest) (*ca.Joined, error) {
	signer, err := ca.Lock(ctx, s.dir)
	if err != nil {
		return nil, err
	}
	defer signer.Close()
	return signer.Join(r.GetSecret(), r.GetRequest())
}

// RenewCertificate gives an agent its next certificate.
func (s *service) RenewCertificate(ctx context.Context, r *pb.RenewCertificateRequest) (*pb.RenewCertificateResponse, error) {
	const failure = "a certificate could not be renewed"
	from, old := caller(ctx)
	log := s.log.With("from", from.String())
	name, err := s.known(log, failure, from, old)
	if err != nil {
		return nil, err
	}
	if log = log.With("agent", name); s.renewals.spent(name) {
		return nil, answer(log, failure, refusal("this agent got too many certificates within the hour"))
	}
	s.renewals.add(name)
	cert, err := s.renew(ctx, old, r)
	if err != nil {
		return nil, answer(log, failure, err)
	}
	log.Info("a certificate was renewed", "old", ca.FormatSerial(old.SerialNumber), "serial", ca.FormatSerial(cert.SerialNumber), "expires", cert.NotAfter)
	return &pb.RenewCertificateResponse{Certificate: cert.Raw}, nil
}

func (s *service) renew(ctx context.Context, old *x509.Certificate, r *pb.RenewCertificateRequest) (*x509.Certificate, error) {
	signer, err := ca.Lock(ctx, s.dir)
	if err != nil {
		return nil, err
	}
	defer signer.Close()
	return signer.RenewAgent(old, r.GetRequest())
}

// GetRevocationList gives an agent the list.
func (s *service) GetRevocationList(ctx context.Context, _ *pb.GetRevocationListRequest) (*pb.GetRevocationListResponse, error) {
	const failure = "the revocation list could not be given"
	from, cert := caller(ctx)
	log := s.log.With("from", from.String())
	name, err := s.known(log, failure, from, cert)
	if err != nil {
		return nil, err
	}
	list, err := ca.List(ctx, s.dir)
	if err != nil {
		return nil, answer(log, failure, err)
	}
	log.Debug("the revocation list was given", "agent", name)
	return &pb.GetRevocationListResponse{RevocationList: list}, nil
}

// known is the agent that calls. Whoever has no certificate that counts is soon not
// listened to, as who guesses tokens: each attempt is read of files, and a line in the log.
func (s *service) known(log hclog.Logger, failure string, from net.Addr, cert *x509.Certificate) (string, error) {
	who := origin.Of(from)
	if s.refusals.spent(who) {
		return "", errTooOften
	}
	name, err := s.agent(cert)
	if err != nil {
		s.refusals.add(who)
		return "", answer(log, failure, err)
	}
	return name, nil
}

// agent is whose certificate it is, which must be an agent's that counts.
func (s *service) agent(cert *x509.Certificate) (string, error) {
	if cert == nil {
		return "", refusal("there is no certificate: a new host joins by a token of gracectl cert token")
	}
	a, err := ca.Open(s.dir)
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return "", refusal("the certificate does not count: " + err.Error())
	}
	id, err := ca.IdentityOf(cert)
	if err != nil || !id.Agent() {
		return "", refusal("the certificate is no agent's")
	}
	at, _, err := a.Revocation(cert.SerialNumber)
	if err == nil && !at.IsZero() {
		err = refusal("the certificate of " + id.Name + " was revoked: the host may join again by a token of gracectl cert token")
	}
	return id.Name, err
}

// caller is where a call comes from, and the certificate whose key it has; nil without
// one. Whether that counts is for agent to say.
func caller(ctx context.Context) (from net.Addr, cert *x509.Certificate) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return &net.TCPAddr{}, nil
	}
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) > 0 {
		cert = info.State.PeerCertificates[0]
	}
	return p.Addr, cert
}

// refusal is what a caller is told.
type refusal string

func (r refusal) Error() string { return string(r) }

// answer tells the log what went wrong, and the caller what they may know of it. What
// is wrong with the CA is not for them.
func answer(log hclog.Logger, what string, err error) error {
	var (
		bad     *ca.RequestError
		token   *ca.TokenError
		refused refusal
	)
	switch {
	case errors.As(err, &token):
		level := hclog.Warn
		if token.Alarm {
			level = hclog.Error
		}
		log.Log(level, "a join token was refused", "agent", token.Agent, "why", token.Why)
		return status.Error(codes.PermissionDenied, token.Error())
	case errors.As(err, &refused):
		log.Warn(what, "error", err)
		return status.Error(codes.PermissionDenied, err.Error())
	case errors.As(err, &bad):
		log.Warn(what, "error", err)
		return status.Error(codes.InvalidArgument, err.Error())
	}
	log.Error(what, "error", err)
	return status.Error(codes.Internal, "the CA cannot do it now: its log says why")
}
