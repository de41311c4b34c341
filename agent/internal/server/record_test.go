package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	"github.com/gracefleet/gracefleet/agent/internal/audit"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/certstest"
	"github.com/gracefleet/gracefleet/internal/chain"
)

// withoutBound records every refusal, and takes any number of changes.
func withoutBound(s *Server) {
	s.record.callers.bucket.SetLimit(rate.Inf)
	s.record.nobody.bucket.SetLimit(rate.Inf)
	s.accounts.pace = rate.Inf
}

// since are the lines after a number.
func (h *host) since(t *testing.T, after int64) []audit.Entry {
	t.Helper()
	var out []audit.Entry
	err := h.audit.Read(t.Context(), after, func(_ []byte, e audit.Entry) error {
		out = append(out, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// await returns the first line after a number that meets a condition.
func (h *host) await(t *testing.T, after int64, ok func(audit.Entry) bool) audit.Entry {
	t.Helper()
	ctx := limited(t)
	for {
		news := h.audit.News()
		all := h.since(t, after)
		if i := slices.IndexFunc(all, ok); i >= 0 {
			return all[i]
		}
		select {
		case <-news:
		case <-ctx.Done():
			t.Fatalf("not recorded after line %d; there is %+v", after, all)
		}
	}
}

// What changes something is recorded before it is done: when it arrives, the line
// is there.
func TestRecordedBefore(t *testing.T) {
	h := newHost(t)
	before := make(chan audit.Entry, 1)
	h.supervisor.onRecord = func() {
		all := h.since(t, 0)
		before <- all[len(all)-1]
	}
	_, err := h.upgrades().StartUpgrade(limited(t), &pb.StartUpgradeRequest{
		Service: "web", Artifact: digestOf(nil), Reason: "fix \u202e\u009b", RequestId: "r1", Spec: &pb.ServiceSpec{
			Artifact: digestOf(nil), Env: map[string]string{"PASSWORD": "hunter2"}, Args: []string{"--token=hunter2"},
			Sockets: []*pb.Socket{{Name: "http", Listen: "tcp://:80"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := <-before
	if got.Decision != chain.Allowed || got.Service != "web" || got.Method != pb.UpgradeService_StartUpgrade_FullMethodName ||
		!strings.HasPrefix(got.Reason, "fix") || got.RequestID != "r1" || got.Role != "admin" || !strings.HasPrefix(got.From, "unix pid ") {
		t.Errorf("got %+v", got)
	}
	if got.Detail["artifact"] != digestOf(nil) || got.Detail["spec"] != "given, artifact "+digestOf(nil) {
		t.Errorf("got %v", got.Detail)
	}
	_ = h.audit.Read(t.Context(), 0, func(line []byte, _ audit.Entry) error {
		if bytes.Contains(line, []byte("hunter2")) || bytes.ContainsRune(line, 0x9b) || bytes.ContainsRune(line, '\u202e') {
			t.Errorf("a line has what it must not: %q", line)
		}
		return nil
	})
}

// Neither reading nor a dry run changes anything.
func TestNotRecorded(t *testing.T) {
	h := newHost(t)
	if _, err := h.services().GetService(limited(t), &pb.GetServiceRequest{Name: "web"}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.services().StopService(limited(t), &pb.StopServiceRequest{Name: "web", ValidateOnly: true}); err != nil {
		t.Fatal(err)
	}
	if all := h.since(t, 0); len(all) > 0 {
		t.Errorf("recorded: %+v", all)
	}
}

func TestRefusalsAreRecorded(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	thief := h.dialTLS(t, ca, ca.Client("read", "thief"))
	defer thief.Close()
	for name, c := range map[string]struct {
		call   func(ctx context.Context) error
		code   codes.Code
		method string
		why    string
	}{
		"a permission": {
			func(ctx context.Context) error {
				_, err := pb.NewSupervisorServiceClient(thief).StopService(ctx, &pb.StopServiceRequest{Name: "web", Reason: "mine"})
				return err
			}, codes.PermissionDenied, pb.SupervisorService_StopService_FullMethodName, "lacks the permission stop",
		},
		"a stream": {
			func(ctx context.Context) error {
				return call(ctx, thief, "gracefleet.v1.ArtifactService/UploadArtifact", "")
			},
			codes.PermissionDenied, pb.ArtifactService_UploadArtifact_FullMethodName, "lacks the permission push",
		},
		"a method": {
			func(ctx context.Context) error {
				return thief.Invoke(ctx, "/gracefleet.v1.SupervisorService/Steal", &pb.StopServiceRequest{}, &pb.StopServiceResponse{})
			}, codes.Unimplemented, "/gracefleet.v1.SupervisorService/Steal", "has no method",
		},
		"no message": {
			func(ctx context.Context) error {
				return thief.Invoke(ctx, pb.SupervisorService_StopService_FullMethodName, &pb.StopServiceRequest{}, &pb.StopServiceResponse{}, grpc.ForceCodec(garbage{}))
			}, codes.Internal, pb.SupervisorService_StopService_FullMethodName, "unmarshal",
		},
		"a long message": {
			func(ctx context.Context) error {
				_, err := pb.NewSupervisorServiceClient(thief).StopService(ctx, &pb.StopServiceRequest{Name: strings.Repeat("x", 5<<20)})
				return err
			}, codes.ResourceExhausted, pb.SupervisorService_StopService_FullMethodName, "larger than max",
		},
	} {
		after := h.audit.Head().Seq
		if err := c.call(limited(t)); status.Code(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
		got := h.await(t, after, func(e audit.Entry) bool { return e.Method == c.method })
		if got.Decision != chain.Denied || got.Actor != "read/thief" || !strings.HasPrefix(got.From, "tls 127.0.0.1:") || !strings.Contains(got.Why, c.why) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	if h.supervisor.last() != nil {
		t.Error("the supervisor was asked")
	}
}

// Whoever is refused often does not fill the record; how often is in it.
func TestRefusalsAreBounded(t *testing.T) {
	h := newHost(t, func(s *Server) { s.record.callers.bucket = rate.NewLimiter(0, 2<<10) })
	unknown := func() {
		err := h.conn.Invoke(limited(t), "/gracefleet.v1.SupervisorService/Steal", &pb.StopServiceRequest{}, &pb.StopServiceResponse{})
		if status.Code(err) != codes.Unimplemented {
			t.Fatal(err)
		}
	}
	for range 50 {
		unknown()
	}
	n := len(h.since(t, 0))
	if n < 2 || n > 10 {
		t.Fatalf("%d lines", n)
	}
	h.server.record.callers.bucket.SetLimit(rate.Inf)
	unknown()
	if all := h.since(t, int64(n)); len(all) != 1 || all[0].Detail["refused before and not recorded"] != fmt.Sprint(50-n) {
		t.Errorf("got %+v", all)
	}
}

// countedAudit counts the bytes of its lines, and keeps none.
type countedAudit struct {
	Audit
	bytes int
}

func (c *countedAudit) Append(e audit.Entry) (audit.Head, error) {
	c.bytes += len(chain.Encode(e))
	return audit.Head{}, nil
}

// What was recorded before somebody was refused all day long is still there, however
// long the lines are that are made of it.
func TestRefusalsLeaveTheRecord(t *testing.T) {
	const kept, day = audit.DefaultMaxBytes * audit.DefaultKeep, 24 * 60 * 60
	if most := 2*refusalsAtOnce + day*(refusalsOfCallers+refusalsOfNobody); most > kept/2 {
		t.Errorf("a day of refusals takes %d bytes of %d", most, kept)
	}
	long := strings.Repeat("\x01", chain.MaxText)
	detail := map[string]string{}
	for i := range chain.MaxDetails {
		detail[fmt.Sprint(i)] = long
	}
	for name, e := range map[string]audit.Entry{
		"a role": {Actor: long, Role: "push", Method: long, Service: long, Reason: long, RequestID: long, Detail: detail},
		"none":   {Actor: "eve (uid 1001)", Method: methodLocalConnect},
	} {
		log := &countedAudit{}
		r := newRecord(log, hclog.NewNullLogger())
		for range 3000 {
			r.denied(e, errors.New(long))
		}
		if log.bytes == 0 || log.bytes > 2*refusalsAtOnce {
			t.Errorf("%s: %d bytes at once", name, log.bytes)
		}
		if (r.callers.left > 0) != (e.Role != "") {
			t.Errorf("%s: counted among others", name)
		}
	}
}

// What takes an upgrade back on a full disk is recorded later, or not done.
func TestOwedLinesAreBounded(t *testing.T) {
	full := &fullAudit{}
	full.full.Store(true)
	r := newRecord(full, hclog.NewNullLogger())
	for i := range maxOwed {
		if err := r.allowed(audit.Entry{Method: fmt.Sprint(i)}, access.Rollback); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.allowed(audit.Entry{Method: "one more"}, access.Rollback); !errors.Is(err, audit.ErrFull) {
		t.Errorf("one that is never recorded is done: %v", err)
	}
}

// fullAudit is on a disk that is full at times.
type fullAudit struct {
	Audit
	full atomic.Bool
}

func (f *fullAudit) Append(e audit.Entry) (audit.Head, error) {
	if f.full.Load() {
		return audit.Head{}, audit.ErrFull
	}
	return f.Audit.Append(e)
}

// What cannot be recorded is not done, except to take a bad upgrade back.
func TestRecordOnFullDisk(t *testing.T) {
	full := &fullAudit{}
	h := newHost(t, func(s *Server) {
		full.Audit = s.record.log
		s.record.log = full
	})
	full.full.Store(true)
	_, err := h.services().StopService(limited(t), &pb.StopServiceRequest{Name: "web"})
	wantError(t, err, codes.ResourceExhausted, pb.Reason_REASON_DISK_FULL)
	if h.supervisor.last() != nil {
		t.Fatal("it was done")
	}
	if _, err := h.upgrades().AbortUpgrade(limited(t), &pb.AbortUpgradeRequest{Service: "web", Reason: "it fails"}); err != nil {
		t.Fatal(err)
	}
	if h.supervisor.last() == nil {
		t.Fatal("the upgrade was not taken back")
	}
	full.full.Store(false)
	if _, err := h.services().StopService(limited(t), &pb.StopServiceRequest{Name: "web"}); err != nil {
		t.Fatal(err)
	}
	all := h.since(t, 0)
	if len(all) != 2 || all[0].Reason != "it fails" || all[1].Method != pb.SupervisorService_StopService_FullMethodName {
		t.Errorf("got %+v", all)
	}
}

func TestReadAudit(t *testing.T) {
	h := newHost(t)
	for _, name := range []string{"web", "api", "web"} {
		if _, err := h.services().StopService(limited(t), &pb.StopServiceRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	read := func(r *pb.ReadAuditRequest, n int) (first *pb.ReadAuditResponse, lines [][]byte) {
		t.Helper()
		ctx, cancel := context.WithCancel(limited(t))
		defer cancel()
		stream, err := pb.NewAuditServiceClient(h.conn).ReadAudit(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		var once sync.Once
		for len(lines) < n || !r.GetFollow() {
			m, err := stream.Recv()
			if err != nil {
				break
			}
			if first == nil {
				first = m
			}
			lines = append(lines, m.GetLines()...)
			if r.GetFollow() && len(lines) == 1 {
				once.Do(func() {
					if _, err := h.services().StartService(limited(t), &pb.StartServiceRequest{Name: "web"}); err != nil {
						t.Error(err)
					}
				})
			}
		}
		if len(lines) != n {
			t.Fatalf("%v: %d lines", r, len(lines))
		}
		return first, lines
	}
	first, lines := read(&pb.ReadAuditRequest{}, 3)
	head, damages := chain.Verify(slices.Values(lines), audit.Head{}, audit.Head{Seq: first.GetHead().GetSequence(), Hash: first.GetHead().GetHash()})
	if len(damages) > 0 || head.Seq != 3 || first.GetAnchor().GetSequence() != 0 {
		t.Errorf("head %v, %v, first %v", head, damages, first)
	}
	read(&pb.ReadAuditRequest{Service: "web"}, 2)
	read(&pb.ReadAuditRequest{After: 2}, 1)
	read(&pb.ReadAuditRequest{Last: 2}, 2)
	if _, lines := read(&pb.ReadAuditRequest{Last: 1, Follow: true}, 2); !bytes.Contains(lines[1], []byte("StartService")) {
		t.Errorf("followed: %s", lines[1])
	}
	for field, r := range map[string]*pb.ReadAuditRequest{"service": {Service: "../x"}, "after": {After: -1}, "last": {Last: -1}} {
		stream, err := pb.NewAuditServiceClient(h.conn).ReadAudit(limited(t), r)
		if err == nil {
			_, err = stream.Recv()
		}
		wantViolation(t, err, field)
	}
}

// Each reader of the record has its files open, and each that follows it reads for
// each line: nobody has more of them than is good for the others.
func TestAuditReaders(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	conn := h.dialTLS(t, ca, ca.Client("read", "eve"))
	defer conn.Close()
	follow := func(ctx context.Context, conn *grpc.ClientConn) error {
		stream, err := pb.NewAuditServiceClient(conn).ReadAudit(ctx, &pb.ReadAuditRequest{Follow: true})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	ctx, cancel := context.WithCancel(limited(t))
	for range maxAuditReadersPerCaller {
		if err := follow(ctx, conn); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, follow(ctx, conn), codes.ResourceExhausted, pb.Reason_REASON_UNSPECIFIED)
	if err := follow(ctx, h.conn); err != nil {
		t.Errorf("whoever the agent runs as: %v", err)
	}
	cancel()
	for limited := limited(t); ; {
		if follow(limited, conn) == nil {
			return
		}
		if limited.Err() != nil {
			t.Fatal("those that ended make no place")
		}
	}
}
