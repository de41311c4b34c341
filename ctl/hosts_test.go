package ctl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

// fleet is agents with an inventory of them.
type fleet struct {
	agents map[string]*agent
	file   string
	dir    string
}

// newFleet starts three agents that run web, of which one differs, and knows of a
// fourth that does not answer.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{agents: map[string]*agent{}, dir: shortDir(t)}
	var hosts strings.Builder
	for i, name := range []string{"web-1", "web-2", "web-3"} {
		st := proto.Clone(story()[4]).(*pb.ServiceStatus)
		info := &pb.AgentInfo{Host: "not-" + name, Version: "v1.4.0", Platform: "linux/amd64", Kernel: "6.1", Services: 1}
		info.Network = &pb.AgentNetwork{NotAfter: timestamppb.New(noon.Add(90 * 24 * time.Hour))}
		if name == "web-2" {
			st = proto.Clone(failed()).(*pb.ServiceStatus)
			st.Service.Spec.Args, st.Service.Spec.Env = []string{"-v"}, map[string]string{"A": "b"}
			info.Degraded, info.Network = []string{"record of api is quarantined"}, nil
		}
		a := newAgent(t)
		a.on(&pb.GetAgentInfoRequest{}, &pb.GetAgentInfoResponse{Agent: info})
		a.on(&pb.ListServicesRequest{}, &pb.ListServicesResponse{Services: []*pb.ServiceStatus{st}})
		a.on(&pb.GetServiceRequest{}, &pb.GetServiceResponse{Status: st})
		a.on(&pb.PromoteUpgradeRequest{}, &pb.PromoteUpgradeResponse{Upgrade: st.Upgrade})
		a.looks = []*pb.ServiceStatus{st}
		f.agents[name] = a
		fmt.Fprintf(&hosts, "  - {name: %s, address: \"unix:%s\", labels: {zone: %c}}\n", name, a.socket, "abb"[i])
	}
	fmt.Fprintf(&hosts, "  - {name: gone, address: \"unix:%s\"}\n", filepath.Join(f.dir, "absent"))
	f.file = filepath.Join(f.dir, "fleet.yaml")
	if err := os.WriteFile(f.file, []byte("hosts:\n"+hosts.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// gracectl runs the command line with the inventory. Paths are named in what it says.
func (f *fleet) gracectl(t *testing.T, line string) ran {
	t.Helper()
	r := gracectl(t, t.Context(), map[string]string{"GRACECTL_INVENTORY": f.file}, strings.Fields(line)...)
	for name, a := range f.agents {
		r.out, r.err = strings.ReplaceAll(r.out, a.socket, "/"+name), strings.ReplaceAll(r.err, a.socket, "/"+name)
	}
	r.out, r.err = strings.ReplaceAll(r.out, f.dir, "/dir"), strings.ReplaceAll(r.err, f.dir, "/dir")
	return r
}

func TestReadsOfManyHosts(t *testing.T) {
	f := newFleet(t)
	for file, line := range map[string]string{
		"hosts.txt":        "hosts",
		"hosts.json":       "hosts -o json",
		"status-hosts.txt": "status --all",
		"status-web.txt":   "status web --hosts gone,web-1",
		"status-web.json":  "status web --hosts gone,web-1 -o json",
		"info-hosts.txt":   "info --all",
	} {
		r := f.gracectl(t, line)
		if r.code != ExitUnreachable || !strings.Contains(r.err, " hosts unreachable: gone\n") {
			t.Errorf("%s: exit %d: %s", line, r.code, r.err)
		}
		golden(t, file, r.out)
	}
	if r := f.gracectl(t, "status --all --limit web-*"); r.code != ExitDone || r.err != "" || strings.Count(r.out, "\nweb-") != 3 {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

// What programs read is whole, whichever form they ask for.
func TestListsOfHostsAreObjects(t *testing.T) {
	f := newFleet(t)
	for _, line := range []string{"hosts", "hosts --hosts web-1", "status --all", "status web --all", "info --all"} {
		var fromJSON, fromYAML map[string]any
		if err := json.Unmarshal([]byte(f.gracectl(t, line+" -o json").out), &fromJSON); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if err := yaml.Unmarshal([]byte(f.gracectl(t, line+" -o yaml").out), &fromYAML); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		again, _ := json.Marshal(fromYAML)
		want, _ := json.Marshal(fromJSON)
		if string(again) != string(want) || fromJSON["hosts"] == nil {
			t.Errorf("%s: yaml differs from json:\n%s\n%s", line, again, want)
		}
	}
}

func TestOneHostOfTheInventory(t *testing.T) {
	f := newFleet(t)
	if r := f.gracectl(t, "promote web --hosts web-1 -o json"); r.code != ExitDone || !strings.Contains(r.out, `"host":"web-1"`) {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if len(asked[*pb.PromoteUpgradeRequest](f.agents["web-1"])) != 1 {
		t.Error("web-1 was not asked")
	}
	for _, line := range []string{"abort web --all", "promote web --hosts web-*", "status -w --all", "logs web --hosts zone=b", "audit --all"} {
		r := f.gracectl(t, line)
		if r.code != ExitUsage || !strings.Contains(r.err, "this command takes one host, and ") || !strings.Contains(r.err, "web-2, web-3") {
			t.Errorf("%s: exit %d: %s%s", line, r.code, r.out, r.err)
		}
	}
	for name, a := range f.agents {
		if name != "web-1" && len(a.requests) > 0 {
			t.Errorf("%s was asked %v", name, a.requests)
		}
	}
}

func TestMisuseOfTargets(t *testing.T) {
	f := newFleet(t)
	for line, want := range map[string]string{
		"status":                               "which hosts? --hosts SELECTOR, or --all",
		"abort web":                            "which hosts?",
		"status --all --hosts web-1":           "--all and --hosts: say one of them",
		"hosts --all --hosts web-1":            "--all and --hosts: say one of them",
		"status --hosts web-1,,":               "an empty part",
		"status --hosts wbe-1":                 "no host is called wbe-1: did you mean web-1",
		"status --hosts web-1 --limit web-2":   "the limit web-2 leaves none of the hosts of web-1",
		"status --agent unix:/x --all":         "--hosts, --all and --limit choose from an inventory",
		"status --agent unix:/x --inventory y": "--agent and --inventory: say one of them",
		"status --all --agent-id spiffe://x":   "--agent-id is for one --agent",
		"status --all --inventory exec:hosts":  "the absolute path of a program",
		"status --all --context prod":          "no configuration file",
		"hosts --hosts @broken:R1":             "hosts of a rollout are @failed:",
	} {
		r := f.gracectl(t, line)
		if r.code != ExitUsage || !strings.Contains(r.err, want) || !strings.Contains(r.err, "hint: gracectl") || r.out != "" {
			t.Errorf("%s: exit %d: %s%s; want %s", line, r.code, r.out, r.err, want)
		}
	}
	os.WriteFile(f.file, []byte("hosts: [{nam: a}]"), 0o600)
	if r := f.gracectl(t, "status --all"); r.code != ExitError || !strings.HasPrefix(r.err, "/dir/fleet.yaml:1:9: hosts[0]: the key name is missing\n/dir/fleet.yaml:1:10: hosts[0].nam: unknown key") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	for name, a := range f.agents {
		if len(a.requests) > 0 {
			t.Errorf("%s was asked %v", name, a.requests)
		}
	}
}

func TestExitCodesOfManyHosts(t *testing.T) {
	f := newFleet(t)
	f.agents["web-3"].on(&pb.ListServicesRequest{}, status.Error(codes.PermissionDenied, "not you"))
	r := f.gracectl(t, "status --hosts web-*")
	if r.code != ExitError || r.err != "1 of 3 hosts failed: web-3\n" || !strings.Contains(r.out, "web-3  -             FAILED") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := f.gracectl(t, "status --all"); r.code != ExitUnreachable || r.err != "1 of 4 hosts failed: web-3\n1 of 4 hosts unreachable: gone\n" {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r := f.gracectl(t, "status --hosts gone"); r.code != ExitUnreachable || r.err != "1 of 1 host unreachable: gone\n" {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}

// hanging is an agent that answers no call before its caller gives up.
func hanging(t *testing.T, a *agent) (called chan struct{}) {
	called = make(chan struct{}, 10)
	a.stop()
	os.Remove(a.socket)
	l, err := net.Listen("unix", a.socket)
	if err != nil {
		t.Fatal(err)
	}
	a.server = grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		called <- struct{}{}
		<-s.Context().Done()
		return s.Context().Err()
	}))
	go func() { a.served <- a.server.Serve(l) }()
	return called
}

// A wait that ends leaves no host out of the report.
func TestInterruptedReads(t *testing.T) {
	f := newFleet(t)
	called := hanging(t, f.agents["web-2"])
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-called
		cancel()
	}()
	r := gracectl(t, ctx, map[string]string{"GRACECTL_INVENTORY": f.file}, "status", "web", "--hosts", "web-*", "-o", "json")
	var report struct {
		Hosts []struct{ Host, Outcome, Error string }
	}
	if err := json.Unmarshal([]byte(r.out), &report); err != nil {
		t.Fatalf("%v: %s", err, r.out)
	}
	if r.code != ExitDetached || !strings.HasSuffix(r.err, "\ninterrupted\n") || len(report.Hosts) != 3 || report.Hosts[1].Host != "web-2" || report.Hosts[1].Outcome != "skipped" {
		t.Errorf("exit %d: %+v: %s", r.code, report, r.err)
	}
	r = f.gracectl(t, "hosts --hosts web-2 --timeout 50ms")
	if r.code != ExitDetached || !strings.Contains(r.err, "--timeout passed") || !strings.Contains(r.out, "web-2  SKIPPED") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

func TestHostsOfOneAgent(t *testing.T) {
	f := newFleet(t)
	r := f.agents["web-1"].gracectl(t, "hosts")
	if r.code != ExitDone || strings.Count(r.out, "\n") != 2 || !strings.Contains(r.out, "web v2") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

// overTLS has a fake agent answer on the network, too, and returns its port.
func (a *agent) overTLS(t *testing.T, ca *certstest.CA, own tls.Certificate) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(a.unary), grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(), MinVersion: tls.VersionTLS13,
	})))
	pb.RegisterAgentServiceServer(server, a)
	pb.RegisterSupervisorServiceServer(server, a)
	pb.RegisterUpgradeServiceServer(server, a)
	pb.RegisterArtifactServiceServer(server, a)
	pb.RegisterRolloutServiceServer(server, a.rollouts)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Each host must be the one that the inventory says.
func TestHostsAreWhoTheInventorySays(t *testing.T) {
	f := newFleet(t)
	ca := certstest.NewCA(t)
	nameless := func(c *x509.Certificate) { c.IPAddresses = nil }
	port := f.agents["web-1"].overTLS(t, ca, ca.Agent("web-1", nameless).Pair(t))
	files := ca.ClientFiles("read", "alice")
	inventory := func(id string) {
		text := fmt.Sprintf("hosts: [{name: web-1, address: \"127.0.0.1:%s\"%s}, {name: web-2, address: \"unix:%s\"}]", port, id, f.agents["web-2"].socket)
		if err := os.WriteFile(f.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flags := fmt.Sprintf(" --tls-cert %s --tls-key %s --tls-ca %s", files.Cert, files.Key, files.CA)
	inventory(", agent_id: spiffe://example.org/gracefleet/agent/web-1")
	if r := f.gracectl(t, "status --all"+flags); r.code != ExitDone {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	for _, id := range []string{", agent_id: spiffe://example.org/gracefleet/agent/web-2", ""} {
		inventory(id)
		r := f.gracectl(t, "status --all"+flags)
		if r.code != ExitUnreachable || !strings.Contains(r.out, "no connection that both sides trust") || strings.Contains(r.err, "web-2") {
			t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
		}
	}
	// What is wrong with all of them is said once, before any is asked.
	if r := f.gracectl(t, "status --all"); r.code != ExitError || strings.Count(r.err, "--tls-cert is missing") != 1 || r.out != "" {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

// A closed pipe ends it.
func TestReadsEndWithTheirReader(t *testing.T) {
	f := newFleet(t)
	for _, output := range []string{"table", "json", "yaml"} {
		var stderr strings.Builder
		code := Run(t.Context(), []string{"status", "--all", "-o", output}, Stdio{Out: closedPipe{}, Err: &stderr, Getenv: func(k string) string {
			return map[string]string{"GRACECTL_INVENTORY": f.file}[k]
		}})
		if code != ExitError || !strings.Contains(stderr.String(), "nobody reads") {
			t.Errorf("%s: exit %d: %s", output, code, stderr.String())
		}
	}
}

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, errors.New("nobody reads") }

// BenchmarkSweep asks a thousand hosts for their services, each over a connection of its
// own with mutual TLS. Both ends are in the process.
func BenchmarkSweep(b *testing.B) {
	ca := certstest.NewCA(b)
	own := ca.Agent("web-1").Pair(b)
	files := ca.ClientFiles("read", "alice")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()})))
	pb.RegisterSupervisorServiceServer(server, lister{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		server.Stop()
		<-served
	}()
	hosts := numbered(1000)
	for i := range hosts {
		hosts[i].Address, hosts[i].AgentID = l.Addr().String(), "spiffe://example.org/gracefleet/agent/web-1"
	}
	s := &session{stdio: Stdio{Out: io.Discard, Err: io.Discard, Getenv: func(string) string { return "" }}, output: "table"}
	s.to = &destination{tls: api.TLS{CertFile: files.Cert, KeyFile: files.Key, CAFile: files.CA}}
	for b.Loop() {
		if err := s.statusOfHosts(b.Context(), hosts, nil); err != nil {
			b.Fatal(err)
		}
	}
}

type lister struct {
	pb.UnimplementedSupervisorServiceServer
}

func (lister) ListServices(context.Context, *pb.ListServicesRequest) (*pb.ListServicesResponse, error) {
	return &pb.ListServicesResponse{Services: story()[4:]}, nil
}
