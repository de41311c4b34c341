package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/agent/internal/trust"
)

const (
	maxFile   = 1 << 20
	maxAnswer = 64 << 10
	// Messages are of some hundred bytes, and a connection that idles is memory.
	bufferSize = 4 << 10
)

// link is a connection to one member. After an error it is not used any more.
type link struct {
	member member
	conn   *grpc.ClientConn
	token  string
}

// connect also says who the agent is, if the options have a user.
func connect(ctx context.Context, m member, o Options) (*link, error) {
	transport, err := o.transport(m)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+m.address, grpc.WithTransportCredentials(transport), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithReadBufferSize(bufferSize), grpc.WithWriteBufferSize(bufferSize),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(codec{}), grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		return nil, fmt.Errorf("etcd %s: %w", m.address, err)
	}
	l := &link{member: m, conn: conn}
	if o.User == "" {
		return l, nil
	}
	if l.token, err = l.authenticate(ctx, o); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// transport reads the files anew each time: certificates are renewed.
func (o Options) transport(m member) (credentials.TransportCredentials, error) {
	if !m.tls {
		return insecure.NewCredentials(), nil
	}
	ca, err := readFile("ca", o.CA)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("ca: %s holds no certificate in PEM form", o.CA)
	}
	if o.Cert == "" {
		return credentials.NewTLS(config), nil
	}
	cert, err := readFile("cert", o.Cert)
	if err != nil {
		return nil, err
	}
	key, err := readFile("key", o.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("cert %s with key %s: %w", o.Cert, o.Key, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return credentials.NewTLS(config), nil
}

func readFile(what, path string) ([]byte, error) {
	f, err := trust.ReadFile(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return f.Data, nil
}

func (l *link) close() { l.conn.Close() }

// call makes one call.
func (l *link) call(ctx context.Context, method string, request message) (answer message, err error) {
	ctx, cancel := context.WithTimeout(l.proved(ctx), callLimit)
	defer cancel()
	if err := l.conn.Invoke(ctx, method, request, &answer); err != nil {
		return nil, l.failed(err)
	}
	return answer, nil
}

// proved says who calls.
func (l *link) proved(ctx context.Context) context.Context {
	if l.token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "token", l.token)
}

func (l *link) failed(err error) error {
	if s, ok := status.FromError(err); ok {
		err = errors.New(s.Message())
	}
	return fmt.Errorf("etcd %s: %w", l.member.address, err)
}

func (l *link) authenticate(ctx context.Context, o Options) (token string, err error) {
	text, err := readFile("password_file", o.PasswordFile)
	if err != nil {
		return "", err
	}
	password, _, _ := strings.Cut(string(text), "\n")
	answer, err := l.call(ctx, methodAuthenticate, message(nil).text(1, o.User).text(2, strings.TrimSuffix(password, "\r")))
	if err != nil {
		return "", err
	}
	return answer.textOf(2)
}

// keepAlive says whether a lease is still there.
func (l *link) keepAlive(ctx context.Context, lease int64) (alive bool, err error) {
	ctx, cancel := context.WithTimeout(l.proved(ctx), callLimit)
	defer cancel()
	s, err := l.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, methodKeepAlive)
	if err != nil {
		return false, l.failed(err)
	}
	var answer message
	if err := errors.Join(s.SendMsg(message(nil).number(1, lease)), s.CloseSend(), s.RecvMsg(&answer)); err != nil {
		return false, l.failed(err)
	}
	left, err := answer.numberOf(3)
	return left > 0, err
}

func (l *link) grant(ctx context.Context, lease int64) error {
	_, err := l.call(ctx, methodGrant, message(nil).number(1, int64(ttl.Seconds())).number(2, lease))
	return err
}

func (l *link) revoke(ctx context.Context, lease int64) error {
	_, err := l.call(ctx, methodRevoke, message(nil).number(1, lease))
	return err
}

func (l *link) get(ctx context.Context, key string) (pair, error) {
	answer, err := l.call(ctx, methodRange, message(nil).text(1, key))
	if err != nil {
		return pair{}, err
	}
	return pairOf(answer)
}

// put says whether the key was as it should have been.
func (l *link) put(ctx context.Context, key, value string, lease, revision int64) (done bool, err error) {
	answer, err := l.call(ctx, methodTxn, putUnchanged(key, value, lease, revision))
	if err != nil {
		return false, err
	}
	succeeded, err := answer.numberOf(2)
	return succeeded == 1, err
}
