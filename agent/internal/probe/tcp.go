package probe

import (
	"context"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

func runTCP(ctx context.Context, p service.TCPProbe, t Target) error {
	what := "connection to " + p.Socket
	conn, err := t.Dial(ctx, p.Socket)
	if err != nil {
		return cause(ctx, what, err)
	}
	defer conn.Close()
	if t.Accepted != nil {
		if err := t.Accepted(ctx, p.Socket, conn); err != nil {
			return cause(ctx, what, err)
		}
	}
	if p.TLS == nil {
		return nil
	}
	c, err := tlsConfig(p.TLS, "")
	if err != nil {
		return cause(ctx, what, err)
	}
	secure, err := handshake(ctx, conn, c)
	if err != nil {
		return cause(ctx, what, err)
	}
	_ = secure.Close() // says goodbye; the verdict is in
	return nil
}
