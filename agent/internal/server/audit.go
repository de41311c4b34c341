package server

import (
	"bytes"
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/agent/internal/audit"
	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// auditBatch is how many bytes of lines go into one answer.
const auditBatch = 256 << 10

// auditService is the contract's AuditService.
type auditService struct {
	pb.UnimplementedAuditServiceServer
	server *Server
	log    Audit
}

// ReadAudit streams lines of the record.
func (a *auditService) ReadAudit(r *pb.ReadAuditRequest, stream grpc.ServerStreamingServer[pb.ReadAuditResponse]) error {
	c := &checker{}
	if r.GetService() != "" {
		c.name("service", r.GetService())
	}
	c.that(r.GetAfter() >= 0, "after", "is negative")
	c.that(r.GetLast() >= 0, "last", "is negative")
	if err := c.err(); err != nil {
		return err
	}
	over, err := a.server.beginAudit(stream.Context())
	if err != nil {
		return err
	}
	defer over()
	s := &auditSender{stream: stream, service: r.GetService(), after: r.GetAfter()}
	if err := s.begin(a.log, int64(r.GetLast())); err != nil {
		return err
	}
	for {
		news := a.log.News()
		if err := s.catchUp(stream.Context(), a.log); err != nil || !r.GetFollow() {
			return err
		}
		select {
		case <-news:
		case <-stream.Context().Done():
			return context.Cause(stream.Context())
		}
	}
}

// beginAudit counts a reader of the record until it is over: one that stops reading
// holds files open, and one that follows reads for each line.
func (s *Server) beginAudit(ctx context.Context) (over func(), err error) {
	c, _ := callerOf(ctx)
	if c.almighty(s.owner) {
		return func() {}, nil
	}
	over, err = s.readers.take(c.key, "readers of the audit record")
	if err != nil {
		return nil, &api.Error{Code: codes.ResourceExhausted, Message: err.Error() + ": end one that follows it"}
	}
	return over, nil
}

// auditSender sends lines to one reader.
type auditSender struct {
	stream  grpc.ServerStreamingServer[pb.ReadAuditResponse]
	service string
	after   int64
	batch   [][]byte
	size    int
}

func (s *auditSender) begin(log Audit, last int64) error {
	snapshot, err := log.Snapshot()
	if err != nil {
		return err
	}
	snapshot.Close()
	if last > 0 {
		s.after = max(s.after, snapshot.Head.Seq-last)
	}
	first := &pb.ReadAuditResponse{Anchor: toAuditHead(snapshot.Anchor), Head: toAuditHead(snapshot.Head)}
	for _, d := range log.Damages() {
		first.Damages = append(first.Damages, text(d.Error()))
	}
	return s.stream.Send(first)
}

func toAuditHead(h audit.Head) *pb.AuditHead {
	return &pb.AuditHead{Sequence: h.Seq, Hash: h.Chained()}
}

// catchUp sends what is in the record by now.
func (s *auditSender) catchUp(ctx context.Context, log Audit) error {
	err := log.Read(ctx, s.after, func(line []byte, e audit.Entry) error {
		s.after = max(s.after, e.Seq)
		if s.service != "" && e.Service != s.service {
			return nil
		}
		s.batch = append(s.batch, bytes.Clone(line))
		if s.size += len(line); s.size < auditBatch {
			return nil
		}
		return s.flush()
	})
	return errors.Join(s.flush(), err)
}

func (s *auditSender) flush() error {
	if len(s.batch) == 0 {
		return nil
	}
	batch := s.batch
	s.batch, s.size = nil, 0
	return s.stream.Send(&pb.ReadAuditResponse{Lines: batch})
}
