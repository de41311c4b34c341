package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/gracefleet/gracefleet/internal/link"
)

const (
	// silence is how long a server may say nothing: until its headers are there, and
	// then until the next byte is.
	silence      = 30 * time.Second
	maxHeader    = 64 << 10
	maxRedirects = 5
)

// errSilent ends a request whose server says nothing more.
var errSilent = errors.New("the server has said nothing for too long")

// source is the bytes at a URL. One goroutine uses it; it must be closed.
type source struct {
	link     link.Link
	seed     *Seed // nil for a server
	peers    Peers
	policy   func() *Policy // that holds now: each request is compared with it
	agent    string         // as the server is told
	patience time.Duration

	transport *http.Transport
	timer     *time.Timer // ends the request when its server is silent
	ended     func()      // nil without a request
	silenced  context.Context

	body io.ReadCloser // nil without a request
	at   int64         // of the body's next byte
	size int64         // of all, once it is known; -1 where the server does not say
	etag string        // of what was seen first, if it is strong
}

// prepare finds out how servers prove themselves, once for each fetch.
func (s *source) prepare() error {
	if s.transport != nil {
		return nil
	}
	config, err := s.config()
	if err != nil {
		return err
	}
	s.transport = &http.Transport{
		TLSClientConfig: config, DisableCompression: true, DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader,
		DialContext: (&net.Dialer{Timeout: s.patience}).DialContext,
	}
	return nil
}

func (s *source) config() (*tls.Config, error) {
	if s.seed != nil {
		return s.seed.config(s.peers)
	}
	return s.policy().config()
}

// allowed says why what is at a link may not be fetched. A seed leads nowhere else.
func (s *source) allowed(l link.Link) error {
	switch {
	case s.seed == nil:
		return s.policy().allows(l)
	case l != s.link:
		return fmt.Errorf("%w: an agent is no reason to ask somebody else", ErrUnusable)
	}
	return s.policy().allowsSeeds()
}

// seek has Read go on at an offset.
func (s *source) seek(ctx context.Context, offset int64) error {
	if s.body != nil && s.at == offset {
		return nil
	}
	s.close()
	if err := s.allowed(s.link); err != nil {
		return err
	}
	if err := s.prepare(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s.timer = time.AfterFunc(s.patience, func() { cancel(errSilent) })
	s.silenced, s.ended = ctx, func() { cancel(nil) }
	resp, err := s.follow(ctx, offset) //nolint:bodyclose // close does it
	if err == nil {
		s.body = resp.Body
		err = s.accept(resp, offset)
	}
	if err != nil {
		s.close()
		return err
	}
	s.timer.Stop() // until Read
	return nil
}

// follow asks for the bytes from an offset on, wherever the server says that they are.
func (s *source) follow(ctx context.Context, offset int64) (*http.Response, error) {
	for at, hops := s.link, 0; ; hops++ {
		resp, err := s.ask(ctx, at, offset)
		if err != nil || !redirects(resp.StatusCode) {
			return resp, err
		}
		resp.Body.Close()
		if hops == maxRedirects {
			return nil, fmt.Errorf("%w: more than %d redirects", ErrUnusable, maxRedirects)
		}
		next, err := at.Resolve(resp.Header.Get("Location"))
		if err != nil {
			return nil, fmt.Errorf("%w: %s redirects to what %w", ErrUnusable, at, err)
		}
		if err := s.allowed(next); err != nil {
			return nil, fmt.Errorf("it redirects to %s: %w", next, err)
		}
		at = next
	}
}

// ask makes one request. A transport alone follows no redirect, keeps no cookie and
// tells no server where it was sent from, which might be a secret.
func (s *source) ask(ctx context.Context, at link.Link, offset int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.URL(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("%w: %s is no URL", ErrUnusable, at)
	}
	req.Header.Set("User-Agent", s.agent)
	if s.seed != nil {
		req.Header.Set("Authorization", "Bearer "+s.seed.Ticket)
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		if s.etag != "" {
			req.Header.Set("If-Range", s.etag)
		}
	}
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return nil, s.broken(err)
	}
	return resp, nil
}

// broken is what a connection that failed means. A server that cannot prove itself
// will not be able to the next time.
func (s *source) broken(err error) error {
	if errors.Is(context.Cause(s.silenced), errSilent) {
		return fmt.Errorf("%w: %w (%v)", ErrPassing, errSilent, s.patience)
	}
	if unproved := (*tls.CertificateVerificationError)(nil); errors.As(err, &unproved) {
		if s.seed != nil {
			return fmt.Errorf("%w: %w", ErrUnusable, err)
		}
		return fmt.Errorf("%w: %w; fetch.ca of graced.yaml names more issuers than the system's", ErrUnusable, err)
	}
	return fmt.Errorf("%w: %w", ErrPassing, err)
}

// Read returns the next bytes; io.EOF only after the last one.
func (s *source) Read(p []byte) (int, error) {
	s.timer.Reset(s.patience)
	n, err := s.body.Read(p)
	s.timer.Stop() // the disk may take its time
	s.at += int64(n)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF) && (s.size < 0 || s.at >= s.size):
		return n, io.EOF
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	err = s.broken(err)
	s.close() // seek asks anew
	return n, err
}

// close ends the request, if there is one; seek makes another.
func (s *source) close() {
	if s.ended == nil {
		return
	}
	s.timer.Stop()
	s.ended()
	if s.body != nil {
		s.body.Close()
	}
	s.ended, s.body = nil, nil
}
