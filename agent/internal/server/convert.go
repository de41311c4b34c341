package server

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// The numbers of the contract's states are those of the domain; a test holds
// the two together.

func toService(s supervisor.Status) *pb.Service {
	return &pb.Service{
		Name: s.Name, Spec: toSpec(s.Spec), State: pb.Service_State(s.State), ActiveGeneration: count(s.Active),
		Etag: s.ETag, Pending: toChanges(s.Pending), Actor: text(s.Actor), UpdateTime: newTimestamp(s.RecordedAt),
		Warnings: texts(s.Warnings), PidFile: text(s.PIDFile), RequiresSignature: s.RequiresSignature, ReleaseFloor: s.Floor,
	}
}

func toStatusMessage(s supervisor.Status) *pb.ServiceStatus {
	m := &pb.ServiceStatus{Service: toService(s), Upgrade: toUpgrade(s.Upgrade)}
	for _, g := range s.Generations {
		m.Generations = append(m.Generations, toGeneration(g))
	}
	return m
}

func toGeneration(g supervisor.Generation) *pb.Generation {
	return &pb.Generation{
		Number: count(g.Number), State: pb.Generation_State(g.State), Artifact: g.Artifact, Version: text(g.Version),
		Pid: int32(g.PID), Weight: count(g.Weight), OpenConnections: optional(g.Connections), Restarts: count(g.Restarts),
		Drain: toDrain(g.Drain), Exit: toExit(g.Exit),
		CreateTime: newTimestamp(g.CreatedAt), ReadyTime: newTimestamp(g.ReadyAt), EndTime: newTimestamp(g.EndedAt),
		RollbackOf: count(g.RollbackOf), Slot: count(g.Slot), Status: text(g.StatusText),
		Reason: toReason(g.Reason), Message: text(g.Message), Good: g.Good, Spec: toSpec(g.Spec),
		External: g.External != nil, Program: toExternal(g.External), Release: g.Release.Number, SigningKey: g.Release.Key,
	}
}

func toDrain(d *supervisor.Drain) *pb.DrainStatus {
	if d == nil {
		return nil
	}
	return &pb.DrainStatus{
		OpenConnections: optional(d.Connections), Deadline: newTimestamp(d.Deadline), Phase: pb.DrainStatus_Phase(d.Phase),
		Active: optional(d.Active), Idle: optional(d.Idle), Stalled: optional(d.Stalled), Closing: optional(d.Closing),
		PendingBytes: d.Bytes, ForcedConnections: count(d.Forced),
	}
}

func toExit(e *supervisor.Exit) *pb.Exit {
	if e == nil {
		return nil
	}
	return &pb.Exit{Code: int32(e.Code), Signal: int32(e.Signal), Time: newTimestamp(e.Time), Unknown: e.Unknown}
}

func toUpgrade(u *supervisor.Upgrade) *pb.Upgrade {
	if u == nil {
		return nil
	}
	m := &pb.Upgrade{
		Id: u.ID, Service: u.Service, State: pb.Upgrade_State(u.State), Kind: pb.Upgrade_Kind(u.Kind),
		FromGeneration: count(u.From), ToGeneration: count(u.To), Artifact: u.Artifact, Version: text(u.Version),
		Step: count(u.Step), Waiting: u.Waiting, PhaseEndTime: newTimestamp(u.PhaseEnd),
		Reason: toReason(u.Reason), Message: text(u.Message), Errno: int32(u.Errno), LastLines: texts(u.LastLines),
		Actor: text(u.Actor), Comment: text(u.Comment), RequestId: text(u.RequestID), RolloutId: text(u.Rollout),
		CreateTime: newTimestamp(u.CreatedAt), ReadyTime: newTimestamp(u.ReadyAt), EndTime: newTimestamp(u.EndedAt),
		RollbackOf: count(u.RollbackOf), Warnings: texts(u.Warnings),
		Release: u.Release.Number, SigningKey: u.Release.Key, BreakGlass: u.BreakGlass,
	}
	for _, s := range u.Steps {
		m.Steps = append(m.Steps, &pb.CanaryStep{Weight: count(s.Weight), Manual: s.Manual})
	}
	for _, n := range u.StepSaw {
		m.StepConnections = append(m.StepConnections, count(n))
	}
	return m
}

func toEvent(e supervisor.Event) *pb.Event {
	m := &pb.Event{Sequence: e.Sequence, Time: newTimestamp(e.Time), Service: e.Service, Generation: count(e.Generation)}
	switch {
	case e.GenerationChanged != nil:
		g := e.GenerationChanged
		m.Kind = &pb.Event_GenerationChanged{GenerationChanged: &pb.GenerationChanged{
			From: pb.Generation_State(g.From), To: pb.Generation_State(g.To), Message: text(g.Message),
		}}
	case e.UpgradeChanged != nil:
		m.Kind = &pb.Event_UpgradeChanged{UpgradeChanged: &pb.UpgradeChanged{Upgrade: toUpgrade(e.UpgradeChanged)}}
	case e.Notice != nil:
		m.Kind = &pb.Event_Notice{Notice: &pb.Notice{Warning: e.Notice.Warning, Message: text(e.Notice.Message)}}
	case e.ServiceChanged != nil:
		c := e.ServiceChanged
		m.Kind = &pb.Event_ServiceChanged{ServiceChanged: &pb.ServiceChanged{Verb: c.Verb, Actor: text(c.Actor), Reason: text(c.Reason)}}
	default:
		m.Kind = &pb.Event_EventsDropped{EventsDropped: &pb.EventsDropped{Count: e.Dropped}}
	}
	return m
}

func toChanges(list []service.Change) []*pb.FieldChange {
	var out []*pb.FieldChange
	for _, c := range list {
		out = append(out, &pb.FieldChange{Field: text(c.Field), From: text(c.From), To: text(c.To), Immediate: c.Immediate})
	}
	return out
}

func toReason(r lifecycle.Reason) pb.Reason { return api.ParseReason(string(r)) }

func toLifecycleSteps(list []*pb.CanaryStep) []lifecycle.CanaryStep {
	var out []lifecycle.CanaryStep
	for _, s := range list {
		out = append(out, lifecycle.CanaryStep{Weight: int(s.GetWeight()), Manual: s.GetManual()})
	}
	return out
}

// newTimestamp leaves out the zero time.
func newTimestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// count is a number that the contract holds in 32 bits.
func count(n int) int32 { return int32(min(max(n, math.MinInt32), math.MaxInt32)) }

// optional leaves out what cannot be known.
func optional(n *int) *int32 {
	if n == nil {
		return nil
	}
	c := count(*n)
	return &c
}

// text is what a program may have written, bounded and valid for protobuf.
func text(s string) string { return clean(s, maxMessage) }

// maxMessage bounds one text of an answer.
const maxMessage = 64 << 10

func texts(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, text(s))
	}
	return out
}
