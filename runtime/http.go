package gracefleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// httpServer follows the connections of one http.Server.
type httpServer struct {
	svc  *Service
	srv  *http.Server
	next http.Handler
	hook func(net.Conn, http.ConnState)

	once sync.Once // the drain
	err  error     // its outcome

	mu      sync.Mutex
	conns   map[net.Conn]*httpConn
	foreign []net.Listener // not from Listen: cannot be paused
	// gone holds one token when the last connection has ended.
	gone chan struct{}
}

// httpConn is what net/http told of a connection.
type httpConn struct {
	kind  string
	since time.Time // of this kind
	ended bool      // its reading side was closed
	h2    bool
}

// ServeHTTP serves until the drain has ended and loses no request in it, other
// than [http.Server.Shutdown], which closes idle connections at once and leaves
// requests unanswered that it reads afterwards. It returns nil when drained, an
// error wrapping ErrDeadline or ErrInterrupted when connections were cut, and
// the server's own error when it ended before any drain; that one ends Wait,
// too, unless it is [http.ErrServerClosed].
//
// It sets the server's Handler and ConnState to functions that call those set
// before; change neither afterwards. One server may serve several listeners.
// For TLS give a listener made by [tls.NewListener].
//
// In a drain, the queue is served, then accepting pauses. Every answer carries
// "Connection: close" (over HTTP/2: GOAWAY follows it). A connection that stayed
// idle for LameDuck has its reading side closed, so that a request already
// received is still answered. Shutdown comes last.
func (s *Service) ServeHTTP(srv *http.Server, ln net.Listener) error {
	defer s.work.hold()()
	h := s.httpServer(srv, ln)
	if l, ok := ln.(*listener); ok {
		l.begin()
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		if !s.isDraining() {
			return s.serveFailed(ln, err)
		}
		served <- err
	case <-s.draining:
	case <-s.ctx.Done():
	}
	h.once.Do(func() { h.err = h.drain() })
	<-served
	return h.err
}

func (s *Service) serveFailed(ln net.Listener, err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return err
	}
	err = fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
	s.end(err)
	return err
}

// httpServer hooks into the server, the first time only.
func (s *Service) httpServer(srv *http.Server, ln net.Listener) *httpServer {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.servers[srv]
	if h == nil {
		h = &httpServer{
			svc: s, srv: srv, next: srv.Handler, hook: srv.ConnState,
			conns: make(map[net.Conn]*httpConn), gone: make(chan struct{}, 1),
		}
		if h.next == nil {
			h.next = http.DefaultServeMux
		}
		srv.Handler, srv.ConnState = http.HandlerFunc(h.serve), h.connState
		s.servers[srv] = h
	}
	if _, ok := ln.(*listener); !ok {
		h.foreign = append(h.foreign, ln)
	}
	return h
}

// serve announces the end before the handler runs. A request whose handler runs
// already is not announced, and its connection stays for LameDuck afterwards.
func (h *httpServer) serve(w http.ResponseWriter, r *http.Request) {
	if h.svc.isDraining() && !upgrades(r) {
		w.Header().Set("Connection", "close")
	}
	h.next.ServeHTTP(w, r)
}

// upgrades says whether the request asks for another protocol: "close" in its
// answer would contradict "Upgrade".
func upgrades(r *http.Request) bool {
	for _, v := range r.Header["Connection"] {
		if strings.Contains(strings.ToLower(v), "upgrade") {
			return true
		}
	}
	return false
}

// connState counts, then calls the hook that the program had set.
func (h *httpServer) connState(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew, http.StateIdle:
		h.move(c, kindIdle)
	case http.StateActive:
		h.move(c, kindActive)
	case http.StateHijacked, http.StateClosed:
		h.forget(c)
	}
	if h.hook != nil {
		h.hook(c, state)
	}
}

func (h *httpServer) move(c net.Conn, kind string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	hc := h.conns[c]
	if hc == nil {
		hc = &httpConn{}
		h.conns[c] = hc
	}
	if t, ok := c.(*tls.Conn); ok && kind == kindActive {
		hc.h2 = t.ConnectionState().NegotiatedProtocol == "h2"
	}
	was := hc.kind
	hc.kind, hc.since = kind, time.Now()
	if was == kind {
		return
	}
	h.svc.work.add(kind, 1)
	if was != "" {
		h.svc.work.add(was, -1)
	}
}

func (h *httpServer) forget(c net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	hc := h.conns[c]
	if hc == nil {
		return
	}
	delete(h.conns, c)
	h.svc.work.add(hc.kind, -1)
	if len(h.conns) > 0 {
		return
	}
	select {
	case h.gone <- struct{}{}:
	default:
	}
}

// drain ends the server once nothing can be lost by it.
func (h *httpServer) drain() error {
	if h.waitPaused() && h.waitGone() {
		_ = h.srv.Shutdown(h.svc.ctx) // its other error is a listener's, closed before
		if h.svc.ctx.Err() == nil {
			return nil
		}
	}
	h.srv.Close()
	return fmt.Errorf("serve HTTP: %w: cut off %s", context.Cause(h.svc.ctx), h.svc.left)
}

// waitPaused returns once no queue can bring another connection.
func (h *httpServer) waitPaused() bool {
	h.svc.mu.Lock()
	listeners := h.svc.listeners
	h.svc.mu.Unlock()
	for _, l := range listeners {
		l.accepting.Do(l.pause) // nobody ever accepted from it
		select {
		case <-l.paused:
		case <-h.svc.ctx.Done():
			return false
		}
	}
	return true
}
