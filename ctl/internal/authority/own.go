package authority

import (
	"context"
	"crypto/tls"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/gracefleet/gracefleet/ctl/internal/ca"
)

// own is the certificate of the service. It exists here alone, for a day, and is made
// anew when half of that is over. It is safe for concurrent use.
type own struct {
	dir string
	log hclog.Logger

	mu  sync.Mutex
	now *tls.Certificate
}

// certificate is the one that counts now.
func (o *own) certificate(ctx context.Context) (*tls.Certificate, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.now != nil && time.Until(o.now.Leaf.NotAfter) > ca.ServerLifetime/2 {
		return o.now, nil
	}
	next, err := o.make(ctx)
	if err == nil {
		o.now = next
		return next, nil
	}
	if o.now == nil || time.Now().After(o.now.Leaf.NotAfter) {
		return nil, err
	}
	o.log.Warn("the service's own certificate could not be made anew: that of before is used on", "error", err, "expires", o.now.Leaf.NotAfter)
	return o.now, nil
}

func (o *own) make(ctx context.Context) (*tls.Certificate, error) {
	s, err := ca.Lock(ctx, o.dir)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.ServerCertificate()
}

// config asks for a certificate without insisting: a host that joins has none yet. A
// caller proves to have its key; whether it counts is looked at in each call, whose
// answer says what is wrong, as an end of the handshake could not.
func (o *own) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, SessionTicketsDisabled: true, ClientAuth: tls.RequestClientCert,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return o.certificate(hello.Context()) },
	}
}
