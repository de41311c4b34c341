package ctl

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/types/known/durationpb"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func TestStatusOfOneServiceIsOneObject(t *testing.T) {
	st := story()[4]
	st.Generations[1].OpenConnections = nil
	a := newAgent(t).on(&pb.GetServiceRequest{}, &pb.GetServiceResponse{Status: st})
	r := a.gracectl(t, "status", "web", "-o", "json")
	golden(t, "status.json", r.out)
	var fromJSON, fromYAML map[string]any
	if err := json.Unmarshal([]byte(r.out), &fromJSON); err != nil {
		t.Fatal(err)
	}
	y := a.gracectl(t, "status", "web", "-o", "yaml")
	if err := yaml.Unmarshal([]byte(y.out), &fromYAML); err != nil {
		t.Fatal(err)
	}
	again, _ := json.Marshal(fromYAML)
	want, _ := json.Marshal(fromJSON)
	if string(again) != string(want) {
		t.Errorf("yaml differs from json:\n%s\n%s", again, want)
	}
}

func TestStatusTable(t *testing.T) {
	var text []string
	for _, st := range append(story(), failed()) {
		text = append(text, statusLines(st, noon.Add(5*time.Second), false)...)
		text = append(text, "")
	}
	golden(t, "status.txt", strings.Join(text, "\n"))
	golden(t, "services.txt", strings.Join(serviceTable(story(), noon.Add(5*time.Second)).lines(false), "\n")+"\n")
	history := []*pb.Upgrade{story()[4].Upgrade, failed().Upgrade}
	history[0].Actor, history[0].Comment = "alice", "faster"
	golden(t, "history.txt", strings.Join(historyTable(history, auditLines(auditRecord())[1:2], noon.Add(time.Hour)).lines(false), "\n")+"\n")
}

func TestColoredTablesAlign(t *testing.T) {
	plain, coloured := statusLines(story()[4], noon, false), statusLines(story()[4], noon, true)
	for i := range plain {
		if fit(coloured[i], 1000) == plain[i] {
			continue
		}
		bare := coloured[i]
		for _, c := range []string{"32", "33", "31", "2", "0"} {
			bare = strings.ReplaceAll(bare, "\x1b["+c+"m", "")
		}
		if bare != plain[i] {
			t.Errorf("%q\n%q", bare, plain[i])
		}
	}
	if strings.Join(plain, "") == strings.Join(coloured, "") {
		t.Error("no colours")
	}
}

func TestListOfServices(t *testing.T) {
	a := newAgent(t).on(&pb.ListServicesRequest{}, &pb.ListServicesResponse{})
	if r := a.gracectl(t, "status", "-o", "json"); r.out != "{\n  \"services\": []\n}\n" {
		t.Errorf("%q", r.out)
	}
	if r := a.gracectl(t, "status"); r.code != ExitDone || !strings.Contains(r.err, "no services") {
		t.Errorf("%+v", r)
	}
}

func TestMessage(t *testing.T) {
	o := message(&pb.Generation{
		Number: 7, State: pb.Generation_STATE_STANDBY, OpenConnections: ptr(int32(0)),
		Drain: &pb.DrainStatus{PendingBytes: ptr(int64(1 << 40)), InFlight: map[string]int32{"b": 1, "a": 2}},
		Spec:  &pb.ServiceSpec{Upgrade: &pb.UpgradePolicy{Soak: durationpb.New(1500 * time.Millisecond)}},
	})
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"state":"STANDBY"`, `"openConnections":0`, `"pid":0`, `"weight":0`, `"restarts":0`,
		`"pendingBytes":1099511627776`, `"inFlight":{"a":2,"b":1}`, `"soak":"1.500s"`, `"args":[]`, `"good":false`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is missing in %s", want, b)
		}
	}
	for _, absent := range []string{`"active"`, `"deadline"`, `"keepGenerations"`, `"reason"`, `UNSPECIFIED`, `"endTime"`} {
		if strings.Contains(string(b), absent) {
			t.Errorf("%s is in %s", absent, b)
		}
	}
}

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"plain äß\tx":      "plain äß\tx",
		"\x1b[2Jgone\r":    `\x1b[2Jgone\x0d`,
		"a\x00\x7f\u009bb": `a\x00\x7f\x9bb`,
		"\xff":             `\xff`,
		"\u202eevil":       `\u{202e}evil`,
	} {
		if got := visible(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestFit(t *testing.T) {
	for _, test := range [][2]string{{"abcdef", "abc"}, {"\x1b[31mabcdef\x1b[0m", "\x1b[31mabc\x1b[0m"}, {"äöüß", "äöü"}, {"ab", "ab"}} {
		if got := fit(test[0], 3); got != test[1] {
			t.Errorf("%q became %q", test[0], got)
		}
	}
}

func TestFormats(t *testing.T) {
	for _, test := range [][2]string{
		{percent(10000), "100%"},
		{percent(50), "0.5%"},
		{percent(0), "0%"},
		{percent(1), "0.01%"},
		{short(digest7), "777777777777"},
		{short("host:/bin/x"), "host:/bin/x"},
		{span(10234 * time.Millisecond), "10.2s"},
		{span(3456 * time.Microsecond), "3ms"},
		{span(90 * time.Second), "1m30s"},
		{span(10 * time.Minute), "10m0s"},
		{span(75 * time.Hour), "3d"},
		{size(512), "512 B"},
		{size(12 << 20), "12.0 MiB"},
		{count(1, "connection"), "1 connection"},
		{count(0, "connection"), "0 connections"},
	} {
		if test[0] != test[1] {
			t.Errorf("%q, want %q", test[0], test[1])
		}
	}
}

func TestLogsAndEvents(t *testing.T) {
	a := newAgent(t)
	a.lines = []*pb.ReadLogsResponse{{Generation: 7, Time: at(0), Line: []byte("hello \x1b[31m")}, {Generation: 8, Time: at(0), Line: []byte("bye")}}
	a.events = []*pb.Event{
		{Sequence: 1, Time: at(0), Service: "web", Generation: 8, Kind: &pb.Event_GenerationChanged{GenerationChanged: &pb.GenerationChanged{From: pb.Generation_STATE_CANDIDATE, To: pb.Generation_STATE_ACTIVE}}},
		{Sequence: 2, Time: at(0), Kind: &pb.Event_EventsDropped{EventsDropped: &pb.EventsDropped{Count: 3}}},
		{Sequence: 3, Time: at(0), Service: "web", Kind: &pb.Event_ServiceChanged{ServiceChanged: &pb.ServiceChanged{Verb: "stopped", Actor: "alice", Reason: "why"}}},
		{Sequence: 4, Time: at(0), Service: "web", Kind: &pb.Event_UpgradeChanged{UpgradeChanged: &pb.UpgradeChanged{Upgrade: failed().Upgrade}}},
		{Sequence: 5, Time: at(0), Service: "web", Kind: &pb.Event_Notice{Notice: &pb.Notice{Warning: true, Message: "look"}}},
	}
	if r := a.gracectl(t, "logs", "web", "--raw"); r.out != "hello \x1b[31m\nbye\n" {
		t.Errorf("%q", r.out)
	}
	if r := a.gracectl(t, "logs", "web"); !strings.HasSuffix(r.out, " 8 | bye\n") {
		t.Errorf("%q", r.out)
	}
	r := a.gracectl(t, "logs", "web", "-o", "json")
	if lines := strings.Split(r.out, "\n"); len(lines) != 4 || lines[0] != `{"type":"log","time":"2026-05-01T12:00:00Z","host":"h1","generation":7,"line":"hello \u001b[31m"}` {
		t.Errorf("%s", r.out)
	}
	golden(t, "events.json", strings.Join(strings.SplitAfter(a.gracectl(t, "events", "-o", "json").out, "\n")[:3], ""))
	var text []string
	for _, e := range a.events {
		text = append(text, eventText(e))
	}
	golden(t, "events.txt", strings.Join(text, "\n")+"\n")
}

func TestInfoAndVersion(t *testing.T) {
	a := newAgent(t).on(&pb.GetAgentInfoRequest{}, &pb.GetAgentInfoResponse{Agent: &pb.AgentInfo{
		Host: "h1", Version: "v1", Platform: "linux/amd64", Kernel: "6.1",
		Services: 2, Pid: 9, Degraded: []string{"record of api is quarantined"},
		Network: &pb.AgentNetwork{
			Address: "0.0.0.0:7443", Identity: "spiffe://example.org/gracefleet/agent/web-1", Serial: "3f2a9c01", Issuer: "CN=gracefleet CA",
			NotAfter: timestamppb.New(noon.Add(90 * 24 * time.Hour)), CaNotAfter: timestamppb.New(noon.Add(3652 * 24 * time.Hour)),
			CrlNextUpdate: timestamppb.New(noon.Add(30 * 24 * time.Hour)), Renew: "ca.example.org:7444", RenewError: "connection refused",
		},
		Capabilities: []*pb.Capability{{Name: "cgroup_v2", Available: true, Detail: "delegated"}, {Name: "pidfd", Fallback: "start time"}},
	}})
	golden(t, "info.txt", a.gracectl(t, "info").out)
	if r := a.gracectl(t, "version"); !strings.HasPrefix(r.out, "gracectl v1.2.3") {
		t.Errorf("%s", r.out)
	}
	for _, args := range [][]string{{"explain", "spec"}, {"explain", "dialects"}, {"explain", "presets"}, {"explain", "config"}, {"version"}, {"info"}} {
		if r := a.gracectl(t, append(args, "-o", "json")...); !json.Valid([]byte(r.out)) || r.code != ExitDone {
			t.Errorf("%v: %s", args, r.out)
		}
		if r := a.gracectl(t, args...); r.out == "" || r.code != ExitDone {
			t.Errorf("%v: nothing", args)
		}
	}
}
