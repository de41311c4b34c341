package server

import (
	"context"
	"errors"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// unary surrounds every call with one answer.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (answer any, err error) {
	met(ctx)
	err = s.guard(ctx, info.FullMethod, func() error {
		if err := s.admit(ctx, info.FullMethod, req); err != nil {
			return err
		}
		answer, err = handler(ctx, req)
		s.answered(ctx, info.FullMethod, req, err)
		return err
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// stream surrounds every call that streams; its context ends with the server, and
// when other permissions hold: then it is to be asked for again.
func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, cancel := context.WithCancelCause(ss.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.stopping, func() { cancel(errStopping) })()
	defer context.AfterFunc(s.era(), func() { cancel(errPolicyChanged) })()
	return s.guard(ctx, info.FullMethod, func() error {
		if err := s.enter(ctx, info.FullMethod); err != nil {
			met(ctx)
			s.record.denied(s.entry(ctx, info.FullMethod, nil), err)
			return err
		}
		return handler(srv, &boundStream{ServerStream: ss, ctx: ctx, server: s, method: info.FullMethod})
	})
}

// boundStream is a stream with another context, whose first request says what it
// is about.
type boundStream struct {
	grpc.ServerStream
	ctx    context.Context
	server *Server
	method string
	begun  bool
}

// RecvMsg lets no request through that its caller may not make.
func (b *boundStream) RecvMsg(m any) error {
	if err := b.ServerStream.RecvMsg(m); err != nil || b.begun {
		return err
	}
	b.begun = true
	met(b.ctx)
	return b.server.admit(b.ctx, b.method, m)
}

func (b *boundStream) Context() context.Context { return b.ctx }

// guard authorises a call, turns its error into a status and its panic into an
// error: one bad request must not take the agent down.
func (s *Server) guard(ctx context.Context, method string, call func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("call panicked", "method", method, "panic", r, "stack", string(debug.Stack()))
			err = &api.Error{Code: codes.Internal, Reason: pb.Reason_REASON_INTERNAL, Message: "the agent failed in this call: its log says how; the services are not touched by that"}
		}
	}()
	err = toStatus(ctx, call())
	var e *api.Error
	if errors.As(err, &e) && e.Code == codes.Internal {
		s.log.Error("call failed", "method", method, "error", e.Message)
	}
	return err
}
