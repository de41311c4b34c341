package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// maxBody bounds how much of an answer is read before the connection closes.
const maxBody = 64 << 10

func runHTTP(ctx context.Context, p service.HTTPProbe, t Target) error {
	what := "GET " + p.Path
	req, err := newRequest(ctx, p)
	if err != nil {
		return cause(ctx, what, err)
	}
	tr, err := transport(p, t)
	if err != nil {
		return cause(ctx, what, err)
	}
	// The round trip alone: a client would follow redirects.
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return cause(ctx, what, err)
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, maxBody); err != nil && !errors.Is(err, io.EOF) {
		return cause(ctx, what, fmt.Errorf("answered %d, then: %w", resp.StatusCode, err))
	}
	return checkStatus(p, resp.StatusCode)
}

func newRequest(ctx context.Context, p service.HTTPProbe) (*http.Request, error) {
	scheme, host := p.Scheme, p.Host
	if scheme == "" {
		scheme = "http"
	}
	if host == "" {
		host = "localhost"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+host+p.Path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "gracefleet-probe")
	return req, nil
}

func transport(p service.HTTPProbe, t Target) (*http.Transport, error) {
	c, err := tlsConfig(p.TLS, p.Host)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return t.Dial(ctx, p.Socket) }
	return &http.Transport{
		DialContext:       dial,
		TLSClientConfig:   c,
		DisableKeepAlives: true,
	}, nil
}

func checkStatus(p service.HTTPProbe, got int) error {
	switch {
	case p.Status == got, p.Status == 0 && got >= 200 && got < 400:
		return nil
	case p.Status != 0:
		return fmt.Errorf("GET %s answered %d, want %d", p.Path, got, p.Status)
	}
	return fmt.Errorf("GET %s answered %d", p.Path, got)
}
