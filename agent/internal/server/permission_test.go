package server

import (
	"testing"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/peer"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func TestEveryMethodHasAPermission(t *testing.T) {
	g := grpc.NewServer()
	New(Options{Supervisor: &recorder{}, Log: hclog.NewNullLogger()}).register(g, health.NewServer())
	seen := map[string]bool{}
	for name, s := range g.GetServiceInfo() {
		for _, m := range s.Methods {
			method := "/" + name + "/" + m.Name
			seen[method] = true
			if permissions[method] == "" {
				t.Errorf("%s has no permission", method)
			}
		}
	}
	for method := range permissions {
		if !seen[method] {
			t.Errorf("%s has a permission and does not exist", method)
		}
	}
}

// Without reflection and with every service of the contract.
func TestRegisteredServices(t *testing.T) {
	g := grpc.NewServer()
	New(Options{Supervisor: &recorder{}, Log: hclog.NewNullLogger()}).register(g, health.NewServer())
	want := []string{
		"gracefleet.v1.AgentService", "gracefleet.v1.ArtifactService", "gracefleet.v1.SupervisorService",
		"gracefleet.v1.UpgradeService", "grpc.health.v1.Health",
	}
	if len(g.GetServiceInfo()) != len(want) {
		t.Errorf("got %v", g.GetServiceInfo())
	}
	for _, name := range want {
		if _, ok := g.GetServiceInfo()[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestDenied(t *testing.T) {
	known := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: Peer{}})
	for method := range permissions {
		if err := authorise(known, method); err != nil {
			t.Errorf("%s: %v", method, err)
		}
		err := authorise(t.Context(), method)
		if open := permissions[method] == PermNone; (err == nil) != open {
			t.Errorf("%s of an unknown caller: %v", method, err)
		}
	}
	for _, method := range []string{"", "/x", "gracefleet.v1.AgentService/GetAgentInfo", pb.AgentService_GetAgentInfo_FullMethodName + "/"} {
		wantError(t, authorise(known, method), codes.PermissionDenied, pb.Reason_REASON_PERMISSION)
	}
	other := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{}})
	wantError(t, authorise(other, pb.AgentService_GetAgentInfo_FullMethodName), codes.PermissionDenied, pb.Reason_REASON_PERMISSION)
}
