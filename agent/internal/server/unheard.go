package server

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/gracefleet/gracefleet/api"
)

// tap refuses calls of methods that have no rule, before they cost anything: also
// those whose paths are misspelt, which gRPC would answer by itself, unrecorded.
func (s *Server) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	if _, listed := rules[info.FullMethodName]; listed {
		return ctx, nil
	}
	err := &api.Error{Code: codes.Unimplemented, Message: "this agent has no method " + clean(info.FullMethodName, maxText)}
	s.record.denied(s.entry(ctx, info.FullMethodName, nil), err)
	return ctx, err
}

// meetings sees the calls that end before their request reaches anything of ours,
// since it is too long or is none: gRPC answers those by itself.
type meetings struct{ server *Server }

// meeting says whether a call was met by what admits requests.
type meeting struct {
	method string
	done   atomic.Bool
}

type meetingKey struct{}

func met(ctx context.Context) {
	if m, ok := ctx.Value(meetingKey{}).(*meeting); ok {
		m.done.Store(true)
	}
}

// TagRPC begins to look at a call.
func (m *meetings) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, meetingKey{}, &meeting{method: info.FullMethodName})
}

// HandleRPC records a call that ended unmet.
func (m *meetings) HandleRPC(ctx context.Context, s stats.RPCStats) {
	end, ended := s.(*stats.End)
	call, ok := ctx.Value(meetingKey{}).(*meeting)
	if !ended || !ok || call.done.Load() {
		return
	}
	switch status.Code(end.Error) { // who has gone away was not refused
	case codes.OK, codes.Canceled, codes.DeadlineExceeded:
		return
	}
	m.server.record.denied(m.server.entry(ctx, call.method, nil), end.Error)
}

// TagConn is for those who look at connections.
func (m *meetings) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn is for those who look at connections.
func (m *meetings) HandleConn(context.Context, stats.ConnStats) {}
