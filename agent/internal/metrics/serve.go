package metrics

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// Limits: one or two collectors come every few seconds.
const (
	maxConnections = 16
	maxScrapes     = 2
	maxHeader      = 8 << 10
	readTimeout    = 5 * time.Second
	answerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
)

// Listen opens HOST:PORT. Without a host that is the loopback address: who wants the
// figures seen from elsewhere says where.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("--metrics %q: want HOST:PORT, such as 127.0.0.1:9464 or :9464, which is loopback alone", address)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("--metrics %s: %w", address, err)
	}
	return netutil.LimitListener(l, maxConnections), nil
}

// Serve shows figures at /metrics until ctx ends. It closes the listener and returns
// nil after such an end. figures is called for each scrape, by several goroutines.
func Serve(ctx context.Context, l net.Listener, figures func() Figures) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry(figures), promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}))
	s := &http.Server{
		Handler: mux, ReadHeaderTimeout: readTimeout, ReadTimeout: readTimeout, WriteTimeout: answerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
	}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
