package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/gracefleet/gracefleet/agent/internal/access"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/certstest"
	"github.com/gracefleet/gracefleet/internal/chain"
)

// asks is what each method asks for, once more and in other words: a permission on
// the service that is named, on any, or on every one; and whether it is recorded.
var asks = map[string]string{
	"gracefleet.v1.AgentService/GetAgentInfo":         "read any",
	"gracefleet.v1.AgentService/GetCaller":            "-",
	"gracefleet.v1.AgentService/CheckPermission":      "-",
	"gracefleet.v1.AuditService/ReadAudit":            "read named",
	"gracefleet.v1.ArtifactService/UploadArtifact":    "push any, recorded",
	"gracefleet.v1.ArtifactService/FetchArtifact":     "push any, recorded",
	"gracefleet.v1.ArtifactService/GrantArtifact":     "push any, recorded",
	"gracefleet.v1.ArtifactService/GetUploadStatus":   "push any",
	"gracefleet.v1.ArtifactService/ListArtifacts":     "read every",
	"gracefleet.v1.ArtifactService/DeleteArtifact":    "admin every, recorded",
	"gracefleet.v1.SupervisorService/ApplyService":    "admin named, recorded",
	"gracefleet.v1.SupervisorService/AdoptService":    "admin named, recorded",
	"gracefleet.v1.SupervisorService/GetService":      "read named",
	"gracefleet.v1.SupervisorService/ListServices":    "read any",
	"gracefleet.v1.SupervisorService/StopService":     "stop named, recorded",
	"gracefleet.v1.SupervisorService/StartService":    "stop named, recorded",
	"gracefleet.v1.SupervisorService/ReloadService":   "upgrade named, recorded",
	"gracefleet.v1.SupervisorService/DeleteService":   "admin named, recorded",
	"gracefleet.v1.SupervisorService/ListGenerations": "read named",
	"gracefleet.v1.SupervisorService/WatchEvents":     "read named",
	"gracefleet.v1.SupervisorService/WatchService":    "read named",
	"gracefleet.v1.SupervisorService/ReadLogs":        "logs named",
	"gracefleet.v1.UpgradeService/StartUpgrade":       "upgrade named, recorded",
	"gracefleet.v1.UpgradeService/GetUpgrade":         "read named",
	"gracefleet.v1.UpgradeService/ListUpgrades":       "read named",
	"gracefleet.v1.UpgradeService/PromoteUpgrade":     "upgrade named, recorded",
	"gracefleet.v1.UpgradeService/AbortUpgrade":       "rollback named, recorded",
	"gracefleet.v1.UpgradeService/RollbackService":    "rollback named, recorded",
	"gracefleet.v1.RolloutService/ClaimRollout":       "upgrade named, recorded",
	"gracefleet.v1.RolloutService/RenewRollout":       "upgrade named",
	"gracefleet.v1.RolloutService/AdvanceRollout":     "upgrade named, recorded",
	"gracefleet.v1.RolloutService/WatchRollout":       "read named",
	"gracefleet.v1.RolloutService/ControlRollout":     "upgrade named, recorded",
	"gracefleet.v1.RolloutService/ReleaseRollout":     "upgrade named, recorded",
	"gracefleet.v1.RolloutService/GetRollout":         "read named",
	"gracefleet.v1.RolloutService/ListRollouts":       "read named",
	"gracefleet.v1.RolloutService/FreezeHost":         "stop every, recorded",
	"gracefleet.v1.RolloutService/UnfreezeHost":       "stop every, recorded",
	"grpc.health.v1.Health/Check":                     "-",
	"grpc.health.v1.Health/List":                      "-",
	"grpc.health.v1.Health/Watch":                     "-",
}

func registered() map[string]grpc.ServiceInfo {
	g := grpc.NewServer()
	New(Options{Supervisor: &recorder{}, Log: hclog.NewNullLogger(), Policy: &access.Policy{}}).register(g, health.NewServer())
	return g.GetServiceInfo()
}

func TestEveryMethodHasARule(t *testing.T) {
	seen := 0
	for name, s := range registered() {
		for _, m := range s.Methods {
			seen++
			if _, ok := rules["/"+name+"/"+m.Name]; !ok {
				t.Errorf("%s/%s has no rule", name, m.Name)
			}
			ask := asks[name+"/"+m.Name]
			if ask == "" {
				t.Errorf("%s/%s is in no row of this test", name, m.Name)
			}
			if got := rules["/"+name+"/"+m.Name].mutates; got != strings.HasSuffix(ask, ", recorded") {
				t.Errorf("%s/%s: it is said that it changes something: %v", name, m.Name, got)
			}
		}
	}
	if len(rules) != seen || len(asks) != seen {
		t.Errorf("%d rules and %d rows for %d methods", len(rules), len(asks), seen)
	}
}

// Without reflection and with every service of the contract.
func TestRegisteredServices(t *testing.T) {
	want := []string{
		"gracefleet.v1.AgentService", "gracefleet.v1.ArtifactService", "gracefleet.v1.AuditService", "gracefleet.v1.RolloutService", "gracefleet.v1.SupervisorService",
		"gracefleet.v1.UpgradeService", "grpc.health.v1.Health",
	}
	got := registered()
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
	for _, name := range want {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
}

// Every method, by every role, on a service that the role is for and on another,
// from the host and over the network.
func TestMatrix(t *testing.T) {
	roles := map[string]access.Role{"operator": access.BuiltinRoles()["operator"]}
	for _, may := range access.Permissions() {
		roles[string(may)] = access.Role{May: []access.Permission{may}}
		roles["web-"+string(may)] = access.Role{May: []access.Permission{may}, Services: []string{"web"}}
		roles["elsewhere-"+string(may)] = access.Role{May: []access.Permission{may}, Hosts: []string{"env=other"}}
	}
	policy := &access.Policy{TrustDomain: "example.org", Roles: roles, Labels: map[string]string{"env": "prod"}}
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca), withoutBound)
	h.openToAll(t)
	h.supervisor.events = []supervisor.Event{{Service: "web", Sequence: 1}, {Service: "other", Sequence: 2}}
	h.server.SetPolicy(policy)
	for name, role := range roles {
		t.Run(name, func(t *testing.T) {
			conn := h.dialTLS(t, ca, ca.Client(name, "x"))
			defer conn.Close()
			h.matrix(t, conn, name, role)
			if os.Geteuid() != 0 {
				return
			}
			local := *policy
			local.Groups = map[string]string{"daemon": name}
			h.server.SetPolicy(&local)
			here := h.dial(t, as(65534, 65534, 1))
			defer here.Close()
			if !strings.HasPrefix(name, "elsewhere-") { // who has no role here does not get in
				h.matrix(t, here, name, role)
			}
		})
	}
}

func (h *host) matrix(t *testing.T, conn *grpc.ClientConn, name string, role access.Role) {
	t.Helper()
	for method, ask := range asks {
		ask, recorded := strings.CutSuffix(ask, ", recorded")
		for _, service := range []string{"web", "other"} {
			before := h.audit.Head().Seq
			err := call(limited(t), conn, method, service)
			code := status.Code(err)
			denied := code == codes.PermissionDenied
			if denied == permitted(name, role, ask, service) || code == codes.Unavailable {
				t.Fatalf("%s of %s by %s: %v", method, service, name, err)
			}
			h.checkRecord(t, before, method, denied, recorded)
		}
	}
}

// checkRecord checks that a call left the line that it ought to.
func (h *host) checkRecord(t *testing.T, before int64, method string, denied, recorded bool) {
	t.Helper()
	lines := h.since(t, before)
	if !denied && !recorded {
		if len(lines) > 0 {
			t.Fatalf("%s: recorded as %+v", method, lines)
		}
		return
	}
	want := chain.Allowed
	if denied {
		want = chain.Denied
	}
	if len(lines) != 1 || lines[0].Method != "/"+method || lines[0].Decision != want || lines[0].Actor == "" {
		t.Fatalf("%s, denied %v: recorded as %+v", method, denied, lines)
	}
}

// permitted is what ought to be: the words of asks, read by themselves.
func permitted(name string, role access.Role, ask, service string) bool {
	if ask == "-" {
		return true
	}
	may, on, _ := strings.Cut(ask, " ")
	if strings.HasPrefix(name, "elsewhere-") {
		return false
	}
	has := slices.Contains(role.May, access.Permission(may)) || slices.Contains(role.May, access.Admin)
	scoped := len(role.Services) > 0
	switch on {
	case "any":
		return has
	case "every":
		return has && !scoped
	}
	return has && (!scoped || service == "web")
}

// call makes one call with an otherwise empty request about a service.
func call(ctx context.Context, conn *grpc.ClientConn, method, service string) error {
	name, short, _ := strings.Cut(method, "/")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return err
	}
	m := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(short))
	request, answer := newMessage(m.Input()), newMessage(m.Output())
	for _, field := range []protoreflect.Name{"name", "service"} {
		if f := m.Input().Fields().ByName(field); f != nil {
			request.ProtoReflect().Set(f, protoreflect.ValueOfString(service))
		}
	}
	if f := m.Input().Fields().ByName("driver"); f != nil && f.Message() != nil {
		request.ProtoReflect().Set(f, protoreflect.ValueOfMessage((&pb.RolloutDriver{Service: service}).ProtoReflect()))
	}
	if !m.IsStreamingClient() && !m.IsStreamingServer() {
		return conn.Invoke(ctx, "/"+method, request, answer)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+method)
	if err != nil {
		return err
	}
	// A stream that was refused already ends with EOF here; why, the answer says.
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.RecvMsg(answer)
}

func newMessage(d protoreflect.MessageDescriptor) proto.Message {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(fmt.Sprintf("%s: %v", d.FullName(), err))
	}
	return kind.New().Interface()
}

func TestDenied(t *testing.T) {
	s := New(Options{Supervisor: &recorder{}, Log: hclog.NewNullLogger(), Policy: &access.Policy{}})
	root := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: Caller{local: &Peer{}}})
	for method := range rules {
		if err := s.authorise(root, method, &pb.GetServiceRequest{Name: "web"}); err != nil {
			t.Errorf("%s by root: %v", method, err)
		}
		wantError(t, s.authorise(t.Context(), method, nil), codes.PermissionDenied, pb.Reason_REASON_PERMISSION)
	}
	for _, method := range []string{"", "/x", "gracefleet.v1.AgentService/GetAgentInfo", pb.AgentService_GetAgentInfo_FullMethodName + "/"} {
		wantError(t, s.authorise(root, method, nil), codes.PermissionDenied, pb.Reason_REASON_PERMISSION)
	}
	other := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{}})
	wantError(t, s.authorise(other, pb.AgentService_GetAgentInfo_FullMethodName, nil), codes.PermissionDenied, pb.Reason_REASON_PERMISSION)
}

// Who may upgrade may not choose the program.
func TestOnlyAdminChoosesTheProgram(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	conn := h.dialTLS(t, ca, ca.Client("upgrade", "ci"))
	defer conn.Close()
	upgrades := pb.NewUpgradeServiceClient(conn)
	for name, r := range map[string]*pb.StartUpgradeRequest{
		"a specification": {Service: "web", Spec: &pb.ServiceSpec{Artifact: digestOf(nil), User: "root", Sockets: []*pb.Socket{{Name: "http", Listen: "tcp://:80"}}}},
		"a host's path":   {Service: "web", Artifact: "host:/bin/sh"},
		"an old release":  {Service: "web", Artifact: digestOf(nil), BreakGlass: true, Reason: "an emergency"},
	} {
		_, err := upgrades.StartUpgrade(limited(t), r)
		if wantError(t, err, codes.PermissionDenied, pb.Reason_REASON_PERMISSION); h.supervisor.last() != nil {
			t.Errorf("%s reached the supervisor", name)
		}
	}
	if _, err := upgrades.StartUpgrade(limited(t), &pb.StartUpgradeRequest{Service: "web", Artifact: digestOf(nil)}); err != nil {
		t.Error(err)
	}
}

// What a rollout brings is not looked at when it is recorded: who goes on with it has to
// know whether it came from somebody who may declare the service.
func TestClaimsTellWhetherAnAdminMadeThem(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	for role, want := range map[string]bool{"upgrade": false, "admin": true} {
		conn := h.dialTLS(t, ca, ca.Client(role, "ci"))
		defer conn.Close()
		if _, err := pb.NewRolloutServiceClient(conn).ClaimRollout(limited(t), claimOf(func(*pb.ClaimRolloutRequest) {})); err != nil {
			t.Fatal(err)
		}
		if got := h.supervisor.last().(supervisor.ClaimRequest).Admin; got != want {
			t.Errorf("%s: claimed by an admin: %v", role, got)
		}
	}
}
