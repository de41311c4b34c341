package runner

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// agent is a host with claims, epochs and leases as rollout.proto has them. What is in
// its claim survives restarts.
type agent struct {
	pb.UnimplementedRolloutServiceServer
	name  string
	fleet *fleet

	mu     sync.Mutex
	claim  *claimed
	past   []*claimed
	epoch  int64                 // the last that was given
	given  map[int64]string      // epochs, and to whom
	events chan struct{}         // closed and replaced with each change
	refuse map[string]*api.Error // by method
	mute   map[string]bool       // methods whose answers are lost
	// lacks says that it lacks what it needs, unchanged that the rollout changes nothing,
	// bad that its upgrade fails.
	lacks, unchanged, bad bool
	serves                string
	moved                 []string // what it was made to do
	beats                 int      // renewals

	listener *bufconn.Listener
	server   *grpc.Server
	down     bool
}

// claimed is what a host wrote down.
type claimed struct {
	report *pb.RolloutReport
	spec   []byte
	change *pb.RolloutChange
	orphan pb.OnOrphan
	lease  time.Duration
	end    time.Time // of the lease
	next   time.Time // when it moves on by itself
	before string    // what it served
}

const (
	upgradeTime = 500 * time.Millisecond
	soakTime    = 3 * time.Second
)

func (a *agent) start() {
	a.listener = bufconn.Listen(1 << 16)
	a.server = grpc.NewServer(grpc.UnaryInterceptor(a.unary), grpc.StreamInterceptor(a.stream))
	pb.RegisterRolloutServiceServer(a.server, a)
	server, listener := a.server, a.listener
	a.fleet.served.Go(func() { _ = server.Serve(listener) })
}

func (a *agent) dial(options ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:"+a.name, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			a.mu.Lock()
			listener, down := a.listener, a.down
			a.mu.Unlock()
			if down {
				return nil, status.Error(codes.Unavailable, "no route to "+a.name)
			}
			return listener.DialContext(ctx)
		}))...)
}

// restart ends the process and begins another.
func (a *agent) restart() {
	a.mu.Lock()
	server := a.server
	a.start()
	a.mu.Unlock()
	server.Stop()
}

// cut takes it off the network, or back.
func (a *agent) cut(down bool) {
	a.mu.Lock()
	a.down = down
	a.mu.Unlock()
	if down {
		a.restart()
	}
}

func (a *agent) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	method := info.FullMethod[len("/gracefleet.v1.RolloutService/"):]
	lost, err := a.fleet.fault(ctx, a, method)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.refuse[method]; e != nil {
		return nil, e
	}
	a.pass()
	answer, err := handle(ctx, req)
	if (lost || a.mute[method]) && err == nil {
		return nil, status.Error(codes.Unavailable, "the answer is lost")
	}
	return answer, err
}

func (a *agent) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if _, err := a.fleet.fault(s.Context(), a, "WatchRollout"); err != nil {
		return err
	}
	return handle(srv, s)
}

func refused(code codes.Code, reason pb.Reason, message string, meta map[string]string) error {
	return &api.Error{Code: code, Reason: reason, Message: message, Metadata: meta}
}

// set writes progress down.
func (c *claimed) set(p pb.RolloutReport_Progress) {
	c.report.Progress = p
	c.report.Revision++
}

// pass lets time have passed.
func (a *agent) pass() {
	c := a.claim
	if c == nil {
		return
	}
	now, before := time.Now(), c.report.GetRevision()
	moving := func() bool {
		p := c.report.GetProgress()
		return p == pb.RolloutReport_PROGRESS_UPGRADING || p == pb.RolloutReport_PROGRESS_SOAKING
	}
	if moving() && now.After(c.end) && c.orphan == pb.OnOrphan_ON_ORPHAN_ROLLBACK && (c.next.IsZero() || c.end.Before(c.next)) {
		a.serves = c.before
		c.set(pb.RolloutReport_PROGRESS_PUSHED)
	}
	for moving() && !c.next.IsZero() && !now.Before(c.next) {
		switch {
		case a.bad:
			a.serves = c.before
			c.set(pb.RolloutReport_PROGRESS_FAILED)
			c.report.Reason, c.report.Message = pb.Reason_REASON_CHECK_FAILED, "it is bad"
		case c.report.GetProgress() == pb.RolloutReport_PROGRESS_UPGRADING:
			a.serves = c.report.GetRolloutId()
			c.set(pb.RolloutReport_PROGRESS_SOAKING)
			if c.next = c.next.Add(soakTime); c.change.GetHoldSoak() {
				c.next = time.Time{}
			}
		default:
			c.set(pb.RolloutReport_PROGRESS_UPGRADED)
		}
	}
	if c.report.GetRevision() != before {
		a.wake()
	}
}

func (a *agent) wake() {
	close(a.events)
	a.events = make(chan struct{})
}

func (a *agent) look() *pb.RolloutReport {
	r := proto.CloneOf(a.claim.report)
	if time.Now().Before(a.claim.end) {
		r.LeaseEndTime = timestamppb.New(a.claim.end)
	}
	if r.GetProgress() == pb.RolloutReport_PROGRESS_CLAIMED {
		r.Missing = []string{"sha256:x"}
	}
	return r
}

func (a *agent) ClaimRollout(_ context.Context, req *pb.ClaimRolloutRequest) (*pb.ClaimRolloutResponse, error) {
	switch c := a.claim; {
	case c == nil:
		a.take(req)
	case c.report.GetRolloutId() != req.GetRolloutId():
		return nil, refused(codes.Aborted, pb.Reason_REASON_ROLLOUT_CLAIMED, "claimed by "+c.report.GetActor(), map[string]string{
			"rollout": c.report.GetRolloutId(), "spec_hash": c.report.GetSpecHash(), "driver": c.report.GetDriver(), "actor": c.report.GetActor(),
			"time": c.report.GetClaimTime().AsTime().Format(time.RFC3339Nano),
		})
	case c.report.GetDriver() != req.GetDriver() && time.Now().Before(c.end) && !req.GetTakeOver():
		return nil, refused(codes.Aborted, pb.Reason_REASON_ROLLOUT_DRIVEN, "driven by "+c.report.GetDriver(), map[string]string{"driver": c.report.GetDriver()})
	}
	c := a.claim
	if c.report.GetDriver() != req.GetDriver() {
		a.epoch = max(a.epoch+1, req.GetEpoch())
		a.given[a.epoch] = req.GetDriver()
		c.report.Epoch, c.report.Driver = a.epoch, req.GetDriver()
		c.report.Revision++
		a.wake()
	}
	c.lease = req.GetLease().AsDuration()
	c.end = time.Now().Add(c.lease)
	return &pb.ClaimRolloutResponse{Report: a.look()}, nil
}

// take is a new claim, or one that was given up before.
func (a *agent) take(req *pb.ClaimRolloutRequest) {
	i := slices.IndexFunc(a.past, func(c *claimed) bool { return c.report.GetRolloutId() == req.GetRolloutId() })
	if i >= 0 {
		a.claim = a.past[i]
		a.past = slices.Delete(a.past, i, i+1)
		a.claim.report.ReleaseTime, a.claim.report.Ending, a.claim.report.Driver = nil, "", "" // the epoch rises all the same
		return
	}
	a.claim = &claimed{
		spec: req.GetSpec(), change: req.GetChange(), orphan: req.GetOnOrphan(), before: a.serves,
		report: &pb.RolloutReport{
			Service: req.GetService(), RolloutId: req.GetRolloutId(), SpecHash: req.GetSpecHash(), Actor: "alice", ClaimTime: timestamppb.Now(),
		},
	}
	switch {
	case a.unchanged:
		a.claim.set(pb.RolloutReport_PROGRESS_UNCHANGED)
	case a.lacks:
		a.claim.set(pb.RolloutReport_PROGRESS_CLAIMED)
	default:
		a.claim.set(pb.RolloutReport_PROGRESS_PUSHED)
	}
}

// fence lets the driver through that has the claim.
func (a *agent) fence(ctx context.Context, d *pb.RolloutDriver) error {
	c := a.claim
	switch {
	case c == nil || c.report.GetRolloutId() != d.GetRolloutId():
		return refused(codes.NotFound, pb.Reason_REASON_ROLLOUT_NOT_FOUND, "no such claim", nil)
	case c.report.GetEpoch() != d.GetEpoch():
		return refused(codes.Aborted, pb.Reason_REASON_ROLLOUT_OVERTAKEN, "overtaken by "+c.report.GetDriver(), map[string]string{"driver": c.report.GetDriver()})
	}
	if who := metadata.ValueFromIncomingContext(ctx, "who"); len(who) != 1 || who[0] != a.given[d.GetEpoch()] {
		a.fleet.complain("%s: %v acts in epoch %d, which is %s's", a.name, who, d.GetEpoch(), a.given[d.GetEpoch()])
	}
	c.end = time.Now().Add(c.lease)
	return nil
}

func (a *agent) RenewRollout(ctx context.Context, req *pb.RenewRolloutRequest) (*pb.RenewRolloutResponse, error) {
	if err := a.fence(ctx, req.GetDriver()); err != nil {
		return nil, err
	}
	if a.beats++; req.GetEnd() {
		a.claim.end = time.Now()
	}
	return &pb.RenewRolloutResponse{Report: a.look()}, nil
}

func (a *agent) AdvanceRollout(ctx context.Context, req *pb.AdvanceRolloutRequest) (*pb.AdvanceRolloutResponse, error) {
	if err := a.fence(ctx, req.GetDriver()); err != nil {
		return nil, err
	}
	c := a.claim
	p := c.report.GetProgress()
	switch req.GetStep() {
	case pb.AdvanceRolloutRequest_STEP_UPGRADE:
		if p == pb.RolloutReport_PROGRESS_PUSHED {
			a.moved = append(a.moved, "upgrade")
			c.next = time.Now().Add(upgradeTime)
			c.set(pb.RolloutReport_PROGRESS_UPGRADING)
		}
	case pb.AdvanceRolloutRequest_STEP_PROMOTE:
		if p == pb.RolloutReport_PROGRESS_SOAKING {
			a.moved = append(a.moved, "promote")
			c.set(pb.RolloutReport_PROGRESS_UPGRADED)
		}
	case pb.AdvanceRolloutRequest_STEP_REJECT:
		if p == pb.RolloutReport_PROGRESS_SOAKING {
			a.moved = append(a.moved, "reject")
			a.serves = c.before
			c.set(pb.RolloutReport_PROGRESS_FAILED)
			c.report.Reason, c.report.Message = pb.Reason_REASON_CHECK_FAILED, req.GetReason()
		}
	case pb.AdvanceRolloutRequest_STEP_UNDO:
		if p != pb.RolloutReport_PROGRESS_FAILED && p != pb.RolloutReport_PROGRESS_ROLLED_BACK {
			a.moved = append(a.moved, "undo")
			a.serves = c.before
			c.set(pb.RolloutReport_PROGRESS_ROLLED_BACK)
		}
	}
	a.wake()
	return &pb.AdvanceRolloutResponse{Report: a.look()}, nil
}

func (a *agent) WatchRollout(req *pb.WatchRolloutRequest, s pb.RolloutService_WatchRolloutServer) error {
	for {
		a.mu.Lock()
		a.pass()
		if a.claim == nil || a.claim.report.GetRolloutId() != req.GetRolloutId() {
			a.mu.Unlock()
			return nil
		}
		report, changed, next := a.look(), a.events, a.claim.next
		a.mu.Unlock()
		if err := s.Send(&pb.WatchRolloutResponse{Report: report}); err != nil {
			return err
		}
		wait := time.Minute
		if d := time.Until(next); d > 0 {
			wait = d
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-s.Context().Done():
			timer.Stop()
			return s.Context().Err()
		}
		timer.Stop()
	}
}

func (a *agent) ControlRollout(_ context.Context, req *pb.ControlRolloutRequest) (*pb.ControlRolloutResponse, error) {
	if a.claim == nil {
		return nil, refused(codes.NotFound, pb.Reason_REASON_ROLLOUT_NOT_FOUND, "no such claim", nil)
	}
	word := &pb.RolloutControl{Revision: 1}
	if old := a.claim.report.GetControl(); old != nil {
		word = proto.CloneOf(old)
		word.Revision++
	}
	switch req.GetAction() {
	case pb.ControlRolloutRequest_ACTION_PAUSE:
		word.Paused = true
	case pb.ControlRolloutRequest_ACTION_RESUME:
		word.Paused = false
	case pb.ControlRolloutRequest_ACTION_PROMOTE:
		word.PromotedWave = max(word.GetPromotedWave(), req.GetWave())
	case pb.ControlRolloutRequest_ACTION_ABORT:
		word.Abort, word.Paused = true, false
	}
	a.claim.report.Control = word
	a.claim.report.Revision++
	a.wake()
	return &pb.ControlRolloutResponse{Report: a.look(), Driven: time.Now().Before(a.claim.end)}, nil
}

func (a *agent) ReleaseRollout(ctx context.Context, req *pb.ReleaseRolloutRequest) (*pb.ReleaseRolloutResponse, error) {
	if err := a.fence(ctx, req.GetDriver()); err != nil {
		return nil, err
	}
	c := a.claim
	if p := c.report.GetProgress(); p == pb.RolloutReport_PROGRESS_UPGRADING || p == pb.RolloutReport_PROGRESS_SOAKING {
		return nil, refused(codes.FailedPrecondition, pb.Reason_REASON_UPGRADE_IN_PROGRESS, "it moves", nil)
	}
	c.report.ReleaseTime, c.report.Ending = timestamppb.Now(), req.GetEnding()
	c.report.Revision++
	report := a.look()
	a.past, a.claim = append(a.past, c), nil
	a.wake()
	return &pb.ReleaseRolloutResponse{Report: report}, nil
}

func (a *agent) ListRollouts(context.Context, *pb.ListRolloutsRequest) (*pb.ListRolloutsResponse, error) {
	answer := &pb.ListRolloutsResponse{}
	if a.claim != nil {
		answer.Reports = append(answer.Reports, a.look())
	}
	for _, c := range slices.Backward(a.past) {
		answer.Reports = append(answer.Reports, proto.CloneOf(c.report))
	}
	return answer, nil
}

func (a *agent) GetRollout(_ context.Context, req *pb.GetRolloutRequest) (*pb.GetRolloutResponse, error) {
	all := a.past
	if a.claim != nil {
		all = append(slices.Clone(all), a.claim)
	}
	for _, c := range all {
		if c.report.GetRolloutId() == req.GetRolloutId() {
			return &pb.GetRolloutResponse{Report: proto.CloneOf(c.report), Spec: c.spec}, nil
		}
	}
	return nil, refused(codes.NotFound, pb.Reason_REASON_ROLLOUT_NOT_FOUND, "no such rollout", nil)
}
