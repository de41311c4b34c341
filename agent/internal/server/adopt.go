package server

import (
	"context"

	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// AdoptService makes a running program the first generation of a service.
func (s *supervisorService) AdoptService(ctx context.Context, r *pb.AdoptServiceRequest) (*pb.AdoptServiceResponse, error) {
	c := &checker{}
	request := supervisor.AdoptRequest{
		Caller: c.caller(ctx, r.GetRequestId(), r.GetReason()), Signing: c.signing(r),
		Spec: c.spec(r.GetName(), r.GetSpec()), Unit: r.GetUnit(), PID: int(r.GetPid()), DryRun: r.GetValidateOnly(),
	}
	c.text("unit", r.GetUnit(), maxText)
	switch r.GetProgram().(type) {
	case *pb.AdoptServiceRequest_Unit:
		c.that(r.GetUnit() != "", "unit", "is empty")
	case *pb.AdoptServiceRequest_Pid:
		c.that(r.GetPid() > 1, "pid", "want the number of a process, greater than 1")
	default:
		c.add("program", "want a unit or a pid")
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	result, err := s.supervisor.Adopt(ctx, request)
	if err != nil {
		return nil, err
	}
	return &pb.AdoptServiceResponse{
		Status: toStatusMessage(result.Status), Program: toExternal(&result.Program), Upgrade: toUpgrade(result.Upgrade),
	}, nil
}

func toExternal(x *supervisor.External) *pb.ExternalProgram {
	if x == nil {
		return nil
	}
	return &pb.ExternalProgram{Pid: int32(x.PID), Path: text(x.Program), Unit: text(x.Unit), Triggers: texts(x.Triggers), Dependents: texts(x.Dependents)}
}
