package server

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/statement"
)

func TestStartUpgrade(t *testing.T) {
	h := newHost(t)
	answer, err := h.upgrades().StartUpgrade(limited(t), &pb.StartUpgradeRequest{
		Service: "web", Artifact: "host:/bin/new", Spec: &pb.ServiceSpec{},
		Steps: []*pb.CanaryStep{{Weight: 100, Manual: true}}, Soak: durationpb.New(0), ExpectedGeneration: 7,
	})
	if err != nil || !answer.GetAttached() {
		t.Fatalf("got %v, %v", answer, err)
	}
	q, _ := h.supervisor.last().(supervisor.UpgradeRequest)
	if q.Spec == nil || q.Spec.Artifact != "host:/bin/new" || q.Expected != 7 || q.RequestID == "" {
		t.Errorf("asked %+v", q)
	}
	if q.Hold != nil || q.Soak == nil || *q.Soak != 0 || len(q.Steps) != 1 || !q.Steps[0].Manual {
		t.Errorf("hold %v, soak %v, steps %v", q.Hold, q.Soak, q.Steps)
	}
}

func TestBadUpgrades(t *testing.T) {
	h := newHost(t)
	for name, c := range map[string]struct {
		field   string
		request *pb.StartUpgradeRequest
	}{
		"artifact":         {"artifact", &pb.StartUpgradeRequest{Service: "web", Artifact: "./web"}},
		"restart and more": {"restart", &pb.StartUpgradeRequest{Service: "web", Artifact: "host:/bin/x", Restart: true}},
		"steps and none":   {"no_steps", &pb.StartUpgradeRequest{Service: "web", NoSteps: true, Steps: []*pb.CanaryStep{{Weight: 1}}}},
		"falling steps":    {"steps", &pb.StartUpgradeRequest{Service: "web", Steps: []*pb.CanaryStep{{Weight: 2}, {Weight: 1}}}},
		"negative hold":    {"hold", &pb.StartUpgradeRequest{Service: "web", Hold: durationpb.New(-time.Second)}},
		"broken duration":  {"soak", &pb.StartUpgradeRequest{Service: "web", Soak: &durationpb.Duration{Seconds: 1, Nanos: -1}}},
		"negative":         {"expected_generation", &pb.StartUpgradeRequest{Service: "web", ExpectedGeneration: -1}},
		"spec":             {"artifact", &pb.StartUpgradeRequest{Service: "web", Spec: &pb.ServiceSpec{}}},
		"no reason given":  {"reason", &pb.StartUpgradeRequest{Service: "web", BreakGlass: true}},
		"a long signature": {"signature", &pb.StartUpgradeRequest{Service: "web", Signature: make([]byte, statement.MaxFile+1)}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.upgrades().StartUpgrade(limited(t), c.request)
			wantViolation(t, err, c.field)
		})
	}
	if asked := h.supervisor.last(); asked != nil {
		t.Errorf("the supervisor was asked %v", asked)
	}
}

func TestRollbackTargets(t *testing.T) {
	h := newHost(t)
	ctx := limited(t)
	for _, c := range []struct {
		request *pb.RollbackServiceRequest
		want    supervisor.RollbackRequest
	}{
		{&pb.RollbackServiceRequest{}, supervisor.RollbackRequest{}},
		{&pb.RollbackServiceRequest{Target: &pb.RollbackServiceRequest_Generation{Generation: 3}}, supervisor.RollbackRequest{Generation: 3}},
		{&pb.RollbackServiceRequest{Target: &pb.RollbackServiceRequest_Back{Back: 2}}, supervisor.RollbackRequest{Back: 2}},
		{&pb.RollbackServiceRequest{Target: &pb.RollbackServiceRequest_Artifact{Artifact: "host:/x"}}, supervisor.RollbackRequest{Artifact: "host:/x"}},
		{&pb.RollbackServiceRequest{Target: &pb.RollbackServiceRequest_Version{Version: "v1"}}, supervisor.RollbackRequest{Version: "v1"}},
	} {
		c.request.Service = "web"
		if _, err := h.upgrades().RollbackService(ctx, c.request); err != nil {
			t.Fatal(err)
		}
		got := h.supervisor.last().(supervisor.RollbackRequest)
		c.want.Caller, c.want.Service = got.Caller, "web"
		if got != c.want {
			t.Errorf("got %+v, want %+v", got, c.want)
		}
	}
	for field, r := range map[string]*pb.RollbackServiceRequest{
		"generation": {Service: "web", Target: &pb.RollbackServiceRequest_Generation{}},
		"back":       {Service: "web", Target: &pb.RollbackServiceRequest_Back{Back: -1}},
		"artifact":   {Service: "web", Target: &pb.RollbackServiceRequest_Artifact{}},
		"version":    {Service: "web", Target: &pb.RollbackServiceRequest_Version{}},
	} {
		_, err := h.upgrades().RollbackService(ctx, r)
		wantViolation(t, err, field)
	}
}

func TestPromoteAndAbort(t *testing.T) {
	h := newHost(t)
	up, err := h.upgrades().PromoteUpgrade(limited(t), &pb.PromoteUpgradeRequest{Service: "web", Id: "u1", Step: true})
	if err != nil || up.GetUpgrade().GetId() != "u1" {
		t.Fatalf("got %v, %v", up, err)
	}
	if c := h.supervisor.last().(supervisor.UpgradeCommand); !c.Step || c.ID != "u1" || c.Service != "web" {
		t.Errorf("asked %+v", c)
	}
	if _, err := h.upgrades().AbortUpgrade(limited(t), &pb.AbortUpgradeRequest{Service: "web", ValidateOnly: true}); err != nil {
		t.Fatal(err)
	}
	if c := h.supervisor.last().(supervisor.UpgradeCommand); !c.DryRun || c.Step {
		t.Errorf("asked %+v", c)
	}
}

func TestGetAndListUpgrades(t *testing.T) {
	h := newHost(t)
	start := time.Unix(1000, 0)
	_, err := h.upgrades().GetUpgrade(limited(t), &pb.GetUpgradeRequest{Service: "web"})
	wantError(t, err, codes.NotFound, pb.Reason_REASON_UPGRADE_NOT_FOUND)
	h.supervisor.upgrades = []supervisor.Upgrade{{ID: "new", CreatedAt: start.Add(time.Nanosecond)}, {ID: "old", CreatedAt: start}}
	for id, want := range map[string]string{"": "new", "old": "old"} {
		got, err := h.upgrades().GetUpgrade(limited(t), &pb.GetUpgradeRequest{Service: "web", Id: id})
		if err != nil || got.GetUpgrade().GetId() != want {
			t.Errorf("%q: got %v, %v", id, got, err)
		}
	}
	first, err := h.upgrades().ListUpgrades(limited(t), &pb.ListUpgradesRequest{Service: "web", PageSize: 1})
	if err != nil || len(first.GetUpgrades()) != 1 || first.GetUpgrades()[0].GetId() != "new" {
		t.Fatalf("got %v, %v", first, err)
	}
	second, err := h.upgrades().ListUpgrades(limited(t), &pb.ListUpgradesRequest{Service: "web", PageToken: first.GetNextPageToken()})
	if err != nil || len(second.GetUpgrades()) != 1 || second.GetUpgrades()[0].GetId() != "old" || second.GetNextPageToken() != "" {
		t.Fatalf("got %v, %v", second, err)
	}
}
