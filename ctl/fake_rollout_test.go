package ctl

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// rolloutHost is the part of a fake agent in rollouts: it upgrades in no time, unless it
// is told to fail or to take its time.
type rolloutHost struct {
	pb.UnimplementedRolloutServiceServer
	a *agent

	mu      sync.Mutex
	claims  []*claimed // newest first
	freeze  *pb.Freeze
	changed chan struct{} // closed with each change

	has   []string // artifacts that are there
	runs  string   // artifact
	fails string   // why its upgrade fails
	slow  chan struct{}
	soaks bool // until it is told to promote
	lowly bool // who claims may not declare services
}

type claimed struct {
	report *pb.RolloutReport
	spec   []byte
	change *pb.RolloutChange
}

func newRolloutHost(a *agent) *rolloutHost {
	return &rolloutHost{a: a, changed: make(chan struct{}), runs: digest7, has: []string{digest7}}
}

func (h *rolloutHost) current(service, id string) *claimed {
	for _, c := range h.claims {
		if c.report.GetService() == service && (id == "" || c.report.GetRolloutId() == id) {
			return c
		}
	}
	return nil
}

// write writes a report down, changed. The lock is held.
func (h *rolloutHost) write(c *claimed, change func(*pb.RolloutReport)) *pb.RolloutReport {
	c.report = proto.CloneOf(c.report)
	change(c.report)
	c.report.Revision++
	close(h.changed)
	h.changed = make(chan struct{})
	return c.report
}

func refuse(code codes.Code, reason pb.Reason, message string, r *pb.RolloutReport) error {
	e := &api.Error{Code: code, Reason: reason, Message: message, Metadata: map[string]string{}}
	if r != nil {
		e.Metadata = map[string]string{
			"rollout": r.GetRolloutId(), "spec_hash": r.GetSpecHash(), "driver": r.GetDriver(), "actor": r.GetActor(),
			"time": r.GetClaimTime().AsTime().Format(time.RFC3339Nano),
		}
	}
	return e.GRPCStatus().Err()
}

func (h *rolloutHost) ClaimRollout(_ context.Context, q *pb.ClaimRolloutRequest) (*pb.ClaimRolloutResponse, error) {
	h.a.record(q)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.freeze != nil {
		return nil, refuse(codes.FailedPrecondition, pb.Reason_REASON_FROZEN, "frozen by alice: peak", nil)
	}
	for _, c := range h.claims {
		if c.report.GetService() == q.GetService() && c.report.GetReleaseTime() == nil && c.report.GetRolloutId() != q.GetRolloutId() {
			return nil, refuse(codes.Aborted, pb.Reason_REASON_ROLLOUT_CLAIMED, "web is claimed by "+c.report.GetRolloutId()+" of alice", c.report)
		}
	}
	c := h.current(q.GetService(), q.GetRolloutId())
	switch {
	case c == nil:
		c = &claimed{spec: q.GetSpec(), change: q.GetChange(), report: &pb.RolloutReport{
			Service: q.GetService(), RolloutId: q.GetRolloutId(), SpecHash: q.GetSpecHash(), Predecessor: 7, Actor: "alice", Comment: q.GetReason(),
			ClaimedByAdmin: !h.lowly, ClaimTime: timestamppb.Now(), Control: &pb.RolloutControl{},
		}}
		h.claims = slices.Insert(h.claims, 0, c)
	case c.report.GetLeaseEndTime() != nil && c.report.GetDriver() != q.GetDriver() && !q.GetTakeOver():
		return nil, refuse(codes.Aborted, pb.Reason_REASON_ROLLOUT_DRIVEN, "web is driven by "+c.report.GetDriver(), c.report)
	}
	h.write(c, func(r *pb.RolloutReport) {
		r.Driver, r.LeaseEndTime, r.ReleaseTime = q.GetDriver(), timestamppb.New(time.Now().Add(time.Minute)), nil
		r.Epoch = max(r.GetEpoch()+1, q.GetEpoch())
		h.prepared(c, r)
	})
	return &pb.ClaimRolloutResponse{Report: c.report, Spec: c.spec}, nil
}

// prepared says what the host lacks.
func (h *rolloutHost) prepared(c *claimed, r *pb.RolloutReport) {
	if r.GetProgress() > pb.RolloutReport_PROGRESS_PUSHED {
		return
	}
	artifact := c.change.GetArtifact()
	_, stored := h.stored(artifact)
	r.Progress, r.Missing = pb.RolloutReport_PROGRESS_PUSHED, nil
	switch {
	case artifact == h.runs && c.change.GetKind() == pb.RolloutChange_KIND_UPGRADE:
		r.Progress = pb.RolloutReport_PROGRESS_UNCHANGED
	case artifact != "" && !stored && !slices.Contains(h.has, artifact):
		r.Progress, r.Missing = pb.RolloutReport_PROGRESS_CLAIMED, []string{artifact}
	}
}

func (h *rolloutHost) stored(digest string) (int64, bool) {
	h.a.mu.Lock()
	defer h.a.mu.Unlock()
	n := int64(len(h.a.stored[digest]))
	return n, n > 0 && n == h.a.sizes[digest]
}

// driven is the claim that a driver has.
func (h *rolloutHost) driven(d *pb.RolloutDriver) (*claimed, error) {
	c := h.current(d.GetService(), d.GetRolloutId())
	switch {
	case c == nil || c.report.GetReleaseTime() != nil:
		return nil, refuse(codes.NotFound, pb.Reason_REASON_ROLLOUT_NOT_FOUND, "no such rollout", nil)
	case c.report.GetEpoch() > d.GetEpoch():
		return nil, refuse(codes.Aborted, pb.Reason_REASON_ROLLOUT_OVERTAKEN, "overtaken by "+c.report.GetDriver(), c.report)
	}
	return c, nil
}

func (h *rolloutHost) RenewRollout(_ context.Context, q *pb.RenewRolloutRequest) (*pb.RenewRolloutResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, err := h.driven(q.GetDriver())
	if err != nil {
		return nil, err
	}
	if c.report.GetProgress() == pb.RolloutReport_PROGRESS_CLAIMED {
		h.write(c, func(r *pb.RolloutReport) { h.prepared(c, r) })
	}
	c.report = proto.CloneOf(c.report)
	c.report.LeaseEndTime = timestamppb.New(time.Now().Add(time.Minute))
	if q.GetEnd() {
		h.write(c, func(r *pb.RolloutReport) { r.LeaseEndTime = nil })
	}
	return &pb.RenewRolloutResponse{Report: c.report}, nil
}

func (h *rolloutHost) AdvanceRollout(_ context.Context, q *pb.AdvanceRolloutRequest) (*pb.AdvanceRolloutResponse, error) {
	h.a.record(q)
	h.mu.Lock()
	defer h.mu.Unlock()
	c, err := h.driven(q.GetDriver())
	if err != nil {
		return nil, err
	}
	switch q.GetStep() {
	case pb.AdvanceRolloutRequest_STEP_UPGRADE:
		if c.report.GetProgress() != pb.RolloutReport_PROGRESS_PUSHED {
			break
		}
		h.write(c, func(r *pb.RolloutReport) {
			r.Progress, r.Generation, r.UpgradeId, r.Weight = pb.RolloutReport_PROGRESS_UPGRADING, 8, "up-1", 1000
			r.StartTime = timestamppb.Now()
			if h.soaks {
				r.Progress = pb.RolloutReport_PROGRESS_SOAKING
			}
		})
		if h.slow == nil && !h.soaks {
			h.settle(c)
		}
	case pb.AdvanceRolloutRequest_STEP_PROMOTE:
		h.settle(c)
	case pb.AdvanceRolloutRequest_STEP_REJECT:
		h.fails = q.GetReason()
		h.settle(c)
	case pb.AdvanceRolloutRequest_STEP_UNDO:
		if c.report.GetProgress() != pb.RolloutReport_PROGRESS_FAILED {
			h.write(c, func(r *pb.RolloutReport) {
				r.Progress, r.Reason, r.Message = pb.RolloutReport_PROGRESS_ROLLED_BACK, pb.Reason_REASON_ROLLED_BACK, q.GetReason()
			})
		}
	}
	return &pb.AdvanceRolloutResponse{Report: c.report}, nil
}

// settle ends an upgrade. The lock is held.
func (h *rolloutHost) settle(c *claimed) {
	h.write(c, func(r *pb.RolloutReport) {
		r.EndTime = timestamppb.Now()
		if h.fails != "" {
			r.Progress, r.Reason, r.Message = pb.RolloutReport_PROGRESS_FAILED, pb.Reason_REASON_EXITED_EARLY, h.fails
			return
		}
		r.Progress, r.Weight, r.ConnectionsLeft = pb.RolloutReport_PROGRESS_UPGRADED, 10000, ptr(int32(3))
	})
}

func (h *rolloutHost) WatchRollout(q *pb.WatchRolloutRequest, out grpc.ServerStreamingServer[pb.WatchRolloutResponse]) error {
	for {
		report, changed := h.looked(q.GetService(), q.GetRolloutId())
		if report == nil {
			return refuse(codes.NotFound, pb.Reason_REASON_ROLLOUT_NOT_FOUND, "no such rollout", nil)
		}
		if err := out.Send(&pb.WatchRolloutResponse{Report: report}); err != nil || report.GetReleaseTime() != nil {
			return err
		}
		select {
		case <-changed:
		case <-out.Context().Done():
			return out.Context().Err()
		}
	}
}

// looked is the report of a rollout, nil without one, and what is closed when it changes.
func (h *rolloutHost) looked(service, id string) (*pb.RolloutReport, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.current(service, id); c != nil {
		return c.report, h.changed
	}
	return nil, nil
}

func (h *rolloutHost) ControlRollout(_ context.Context, q *pb.ControlRolloutRequest) (*pb.ControlRolloutResponse, error) {
	h.a.record(q)
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.current(q.GetService(), q.GetRolloutId())
	if c == nil {
		return nil, refuse(codes.NotFound, pb.Reason_REASON_ROLLOUT_NOT_FOUND, "no such rollout", nil)
	}
	h.write(c, func(r *pb.RolloutReport) {
		w := proto.CloneOf(r.GetControl())
		w.Revision++
		switch q.GetAction() {
		case pb.ControlRolloutRequest_ACTION_PAUSE:
			w.Paused = true
		case pb.ControlRolloutRequest_ACTION_RESUME:
			w.Paused = false
		case pb.ControlRolloutRequest_ACTION_PROMOTE:
			w.PromotedWave = q.GetWave()
		case pb.ControlRolloutRequest_ACTION_ABORT:
			w.Abort = true
		}
		r.Control = w
	})
	return &pb.ControlRolloutResponse{Report: c.report, Driven: c.report.GetLeaseEndTime() != nil}, nil
}

func (h *rolloutHost) ReleaseRollout(_ context.Context, q *pb.ReleaseRolloutRequest) (*pb.ReleaseRolloutResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, err := h.driven(q.GetDriver())
	if err != nil {
		return nil, err
	}
	h.write(c, func(r *pb.RolloutReport) {
		r.ReleaseTime, r.LeaseEndTime, r.Ending = timestamppb.Now(), nil, q.GetEnding()
	})
	return &pb.ReleaseRolloutResponse{Report: c.report}, nil
}

func (h *rolloutHost) GetRollout(_ context.Context, q *pb.GetRolloutRequest) (*pb.GetRolloutResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.current(q.GetService(), q.GetRolloutId())
	if c == nil {
		return nil, refuse(codes.NotFound, pb.Reason_REASON_ROLLOUT_NOT_FOUND, "no such rollout", nil)
	}
	return &pb.GetRolloutResponse{Report: c.report, Spec: c.spec}, nil
}

func (h *rolloutHost) ListRollouts(_ context.Context, q *pb.ListRolloutsRequest) (*pb.ListRolloutsResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	answer := &pb.ListRolloutsResponse{Freeze: h.freeze}
	for _, c := range h.claims {
		if q.GetService() == "" || q.GetService() == c.report.GetService() {
			answer.Reports = append(answer.Reports, c.report)
		}
	}
	return answer, nil
}

func (h *rolloutHost) FreezeHost(_ context.Context, q *pb.FreezeHostRequest) (*pb.FreezeHostResponse, error) {
	h.a.record(q)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.freeze = &pb.Freeze{Actor: "alice", Reason: q.GetReason(), CreateTime: at(0)}
	return &pb.FreezeHostResponse{Freeze: h.freeze}, nil
}

func (h *rolloutHost) UnfreezeHost(_ context.Context, q *pb.UnfreezeHostRequest) (*pb.UnfreezeHostResponse, error) {
	h.a.record(q)
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.freeze
	h.freeze = nil
	return &pb.UnfreezeHostResponse{Freeze: was}, nil
}

// arrive has an artifact there.
func (h *rolloutHost) arrive(digest string) {
	h.mu.Lock()
	h.has = append(h.has, digest)
	h.mu.Unlock()
	h.arrived()
}

// arrived tells those who watch that something was stored.
func (h *rolloutHost) arrived() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.claims {
		if c.report.GetProgress() == pb.RolloutReport_PROGRESS_CLAIMED {
			h.write(c, func(r *pb.RolloutReport) { h.prepared(c, r) })
		}
	}
}

// lapse ends the lease, as if its driver were gone.
func (h *rolloutHost) lapse() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.claims {
		h.write(c, func(r *pb.RolloutReport) { r.LeaseEndTime = nil })
	}
}

// lease is what a driver that has died leaves behind.
func (h *rolloutHost) lease() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.claims {
		h.write(c, func(r *pb.RolloutReport) { r.LeaseEndTime = timestamppb.New(time.Now().Add(time.Minute)) })
	}
}

// renew is its driver's asking once more, a while later.
func (h *rolloutHost) renew() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.claims {
		h.write(c, func(r *pb.RolloutReport) {
			if end := r.GetLeaseEndTime(); end != nil {
				r.LeaseEndTime = timestamppb.New(end.AsTime().Add(2 * time.Second))
			}
		})
	}
}

// words counts what operators said of the latest rollout.
func (h *rolloutHost) words() (int64, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.claims) == 0 {
		return 0, h.changed
	}
	return h.claims[0].report.GetControl().GetRevision(), h.changed
}

// again has every claim at some progress, as if nothing had begun. The lock is held.
func (h *rolloutHost) again(p pb.RolloutReport_Progress) {
	for _, c := range h.claims {
		h.write(c, func(r *pb.RolloutReport) { r.Progress = p })
	}
}
