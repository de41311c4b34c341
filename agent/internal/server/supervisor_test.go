package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gracefleet/gracefleet/agent/internal/service/spectest"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func TestApply(t *testing.T) {
	h := newHost(t)
	h.supervisor.status = supervisor.Status{Name: "web", Spec: spectest.Minimal(), ETag: "e1"}
	answer, err := h.services().ApplyService(limited(t), &pb.ApplyServiceRequest{
		Name: "web", Etag: "e0", ValidateOnly: true, RequestId: "r1", Reason: "because",
		Spec: &pb.ServiceSpec{Artifact: "host:/bin/web", Sockets: []*pb.Socket{{Name: "http", Listen: "tcp://:80"}}},
	})
	if err != nil || !answer.GetCreated() || answer.GetService().GetEtag() != "e1" {
		t.Fatalf("got %v, %v", answer, err)
	}
	q, _ := h.supervisor.last().(supervisor.ApplyRequest)
	if q.ETag != "e0" || !q.DryRun || q.RequestID != "r1" || q.Comment != "because" {
		t.Errorf("asked %+v", q)
	}
	if want := fmt.Sprintf("uid %d", os.Getuid()); !strings.Contains(q.Actor, want) {
		t.Errorf("actor %q, want %q", q.Actor, want)
	}
	if q.Spec.Name != "web" || q.Spec.Upgrade.Soak != 10*time.Second || q.Spec.KeepGenerations != 5 || q.Spec.Readiness.TCP.Socket != "http" {
		t.Errorf("defaults are missing: %+v", q.Spec)
	}
}

func TestAdopt(t *testing.T) {
	h := newHost(t)
	h.supervisor.status = supervisor.Status{Name: "web", Spec: spectest.Minimal()}
	spec := &pb.ServiceSpec{Artifact: "host:/bin/web", Sockets: []*pb.Socket{{Name: "http", Listen: "tcp://:80"}}}
	answer, err := h.services().AdoptService(limited(t), &pb.AdoptServiceRequest{
		Name: "web", Spec: spec, Program: &pb.AdoptServiceRequest_Unit{Unit: "nginx"}, RequestId: "r1", Reason: "because",
	})
	if p := answer.GetProgram(); err != nil || p.GetPid() != 7 || p.GetPath() != "/x" || p.GetUnit() != "nginx" {
		t.Fatalf("got %v, %v", answer, err)
	}
	q, _ := h.supervisor.last().(supervisor.AdoptRequest)
	if q.Unit != "nginx" || q.PID != 0 || q.RequestID != "r1" || q.Comment != "because" || q.Spec.KeepGenerations != 5 {
		t.Errorf("asked %+v", q)
	}
	for name, r := range map[string]*pb.AdoptServiceRequest{
		"no program": {Name: "web", Spec: spec},
		"no unit":    {Name: "web", Spec: spec, Program: &pb.AdoptServiceRequest_Unit{}},
		"long unit":  {Name: "web", Spec: spec, Program: &pb.AdoptServiceRequest_Unit{Unit: strings.Repeat("a", maxText+1)}},
		"init":       {Name: "web", Spec: spec, Program: &pb.AdoptServiceRequest_Pid{Pid: 1}},
		"negative":   {Name: "web", Spec: spec, Program: &pb.AdoptServiceRequest_Pid{Pid: -5}},
	} {
		if _, err := h.services().AdoptService(limited(t), r); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadNamesReachNobody(t *testing.T) {
	h := newHost(t)
	ctx := limited(t)
	for _, name := range []string{"", "../x", "a/b", "web\n", strings.Repeat("a", 64), ".", "UPPER"} {
		calls := map[string]func() error{
			"apply": func() error {
				_, err := h.services().ApplyService(ctx, &pb.ApplyServiceRequest{Name: name, Spec: &pb.ServiceSpec{}})
				return err
			},
			"get": func() error {
				_, err := h.services().GetService(ctx, &pb.GetServiceRequest{Name: name})
				return err
			},
			"stop": func() error {
				_, err := h.services().StopService(ctx, &pb.StopServiceRequest{Name: name})
				return err
			},
			"delete": func() error {
				_, err := h.services().DeleteService(ctx, &pb.DeleteServiceRequest{Name: name})
				return err
			},
		}
		for what, call := range calls {
			t.Run(fmt.Sprintf("%s %q", what, name), func(t *testing.T) { wantViolation(t, call(), "name") })
		}
		t.Run(fmt.Sprintf("service %q", name), func(t *testing.T) {
			_, err := h.upgrades().StartUpgrade(ctx, &pb.StartUpgradeRequest{Service: name})
			wantViolation(t, err, "service")
			_, err = h.upgrades().RollbackService(ctx, &pb.RollbackServiceRequest{Service: name})
			wantViolation(t, err, "service")
			logs, err := h.services().ReadLogs(ctx, &pb.ReadLogsRequest{Service: name})
			if err != nil {
				t.Fatal(err)
			}
			_, err = logs.Recv()
			wantViolation(t, err, "service")
		})
	}
	if asked := h.supervisor.last(); asked != nil {
		t.Errorf("the supervisor was asked %v", asked)
	}
}

func TestBadCallers(t *testing.T) {
	h := newHost(t)
	for field, r := range map[string]*pb.StopServiceRequest{
		"request_id": {Name: "web", RequestId: strings.Repeat("x", 129)},
		"reason":     {Name: "web", Reason: "a\x1b[2J"},
	} {
		_, err := h.services().StopService(limited(t), r)
		wantViolation(t, err, field)
	}
	_, err := h.services().StopService(limited(t), &pb.StopServiceRequest{Name: "web", RequestId: "a b"})
	wantViolation(t, err, "request_id")
}

func TestCommands(t *testing.T) {
	h := newHost(t)
	ctx := limited(t)
	calls := []func() error{
		func() error {
			_, err := h.services().StopService(ctx, &pb.StopServiceRequest{Name: "web", Now: true})
			return err
		},
		func() error {
			_, err := h.services().StartService(ctx, &pb.StartServiceRequest{Name: "web"})
			return err
		},
		func() error {
			_, err := h.services().ReloadService(ctx, &pb.ReloadServiceRequest{Name: "web"})
			return err
		},
		func() error {
			_, err := h.services().DeleteService(ctx, &pb.DeleteServiceRequest{Name: "web"})
			return err
		},
	}
	for i, call := range calls {
		if err := call(); err != nil {
			t.Fatal(err)
		}
		c, _ := h.supervisor.last().(supervisor.ServiceCommand)
		if c.Service != "web" || c.Now != (i == 0) || c.Actor == "" || c.RequestID == "" {
			t.Errorf("call %d asked %+v", i, c)
		}
	}
}

func TestListServicesInPages(t *testing.T) {
	h := newHost(t)
	for i := range 250 {
		h.supervisor.list = append(h.supervisor.list, supervisor.Status{Name: fmt.Sprintf("s%03d", 249-i)})
	}
	var names []string
	token := ""
	for pages := 0; ; pages++ {
		answer, err := h.services().ListServices(limited(t), &pb.ListServicesRequest{PageToken: token})
		if err != nil || pages > 3 {
			t.Fatal(pages, err)
		}
		for _, s := range answer.GetServices() {
			names = append(names, s.GetService().GetName())
		}
		if token = answer.GetNextPageToken(); token == "" {
			break
		}
	}
	if len(names) != 250 || names[0] != "s000" || names[249] != "s249" {
		t.Errorf("got %d: %v", len(names), names)
	}
	_, err := h.services().ListServices(limited(t), &pb.ListServicesRequest{PageToken: "!"})
	wantViolation(t, err, "page_token")
	_, err = h.services().ListServices(limited(t), &pb.ListServicesRequest{PageSize: -1})
	wantViolation(t, err, "page_size")
}

func TestWatchService(t *testing.T) {
	h := newHost(t)
	h.supervisor.status = supervisor.Status{Name: "web"}
	stream, err := h.services().WatchService(limited(t), &pb.WatchServiceRequest{MinInterval: durationpb.New(time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil || first.GetStatus().GetService().GetName() != "web" {
		t.Fatalf("got %v, %v", first, err)
	}
	if second, err := stream.Recv(); err != nil || second.GetDeleted() != "gone" || second.GetStatus() != nil {
		t.Fatalf("got %v, %v", second, err)
	}
	if asked := h.supervisor.last().([]any); asked[1] != 50*time.Millisecond {
		t.Errorf("interval %v", asked[1])
	}
	// The end of the agent ends the watch.
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	wantError(t, err, codes.Unavailable, 0)
}

func TestWatchEvents(t *testing.T) {
	h := newHost(t)
	h.supervisor.events = []supervisor.Event{
		{Sequence: 4, Dropped: 3},
		{Sequence: 5, Notice: &supervisor.Notice{Warning: true, Message: "bad \xff byte"}},
	}
	stream, err := h.services().WatchEvents(limited(t), &pb.WatchEventsRequest{Service: "web", AfterSequence: 1, NoFollow: true})
	if err != nil {
		t.Fatal(err)
	}
	gap, err := stream.Recv()
	if err != nil || gap.GetEvent().GetEventsDropped().GetCount() != 3 {
		t.Fatalf("got %v, %v", gap, err)
	}
	notice, err := stream.Recv()
	if err != nil || notice.GetEvent().GetNotice().GetMessage() != "bad \uFFFD byte" {
		t.Fatalf("got %v, %v", notice, err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if asked := fmt.Sprint(h.supervisor.last()); asked != "[web 1 false]" {
		t.Errorf("asked %s", asked)
	}
}

func TestInfoAndHealth(t *testing.T) {
	h := newHost(t)
	h.supervisor.list = make([]supervisor.Status, 3)
	info, err := pb.NewAgentServiceClient(h.conn).GetAgentInfo(limited(t), &pb.GetAgentInfoRequest{})
	if err != nil || info.GetAgent().GetHost() != "h\uFFFD" || info.GetAgent().GetServices() != 3 || info.GetAgent().GetCapabilities()[0].GetName() != "x" {
		t.Fatalf("got %v, %v", info, err)
	}
	alive, err := healthpb.NewHealthClient(h.conn).Check(limited(t), &healthpb.HealthCheckRequest{})
	if err != nil || alive.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("got %v, %v", alive, err)
	}
}

// All who watch a service are sent one message of one look at it, made once.
func TestWatchersShareMessages(t *testing.T) {
	h := newHost(t)
	show := func(look uint64, file string) *pb.ServiceStatus {
		t.Helper()
		h.supervisor.mu.Lock()
		h.supervisor.status = supervisor.Status{Name: "web", Look: look, ETag: file}
		h.supervisor.mu.Unlock()
		stream, err := h.services().WatchService(limited(t), &pb.WatchServiceRequest{Name: "web"})
		if err != nil {
			t.Fatal(err)
		}
		first, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if gone, err := stream.Recv(); err != nil || gone.GetDeleted() != "gone" {
			t.Fatalf("%v, %v", gone, err)
		}
		return first.GetStatus()
	}
	for _, row := range []struct {
		look       uint64
		file, want string
	}{
		{7, "a", "a"},
		{7, "b", "a"}, // the same look
		{8, "c", "c"},
		{7, "d", "d"}, // somebody who is late takes nothing from the others
		{8, "e", "c"},
		{0, "f", "f"}, // nobody has looked
		{0, "g", "g"},
	} {
		if got := show(row.look, row.file).GetService().GetEtag(); got != row.want {
			t.Errorf("look %d with %s shows %s, want %s", row.look, row.file, got, row.want)
		}
	}
}
