//go:build linux

package e2e

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
)

// Every mistake in a service file is refused in words that help, and touches
// nothing.
func TestBadSpecs(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", signalDrain)
	pid := harness.Active(s.Status(t, "web")).GetPid()
	good := s.yaml("v1")
	for _, test := range []struct {
		name, from, to string
		want           string
	}{
		{"unknown key", "upgrade:", "upgrdae:", ":5:1: upgrdae"},
		{"address", "tcp://", "http://", "unknown network"},
		{"port", s.address, "127.0.0.1:99999", "99999"},
		{"duplicate socket names", "sockets: [", "sockets: [{name: http, listen: \"tcp://127.0.0.1:1\"}, ", "http"},
		{"two readiness keys", "{notify: {}}", "{notify: {}, alive_for: 1s}", "alive_for"},
		{"duration", "soak: 0s", "soak: 10mm", "10mm"},
		{"percent", "soak: 0s", "steps: [1%%], soak: 0s", "1%%"},
		{"share", "soak: 0s", "steps: [50%, 10%], soak: 0s", "steps"},
		{"relative directory", "drain:", "working_directory: srv/web\ndrain:", "working_directory"},
		{"missing user", "drain:", "user: nobody-of-that-name\ndrain:", ""}, // a start tells: see below
		{"name with a slash", "name: web", "name: a/b", "name"},
		{"name that climbs", "name: web", "name: ../x", "name"},
		{"long name", "name: web", "name: " + strings.Repeat("x", 64), "name"},
		{"no name", "name: web\n", "", "name"},
		{"overlapping address", s.address, "0.0.0.0:" + portOf(s.address), "meets"},
	} {
		r := s.Ctl(t, "upgrade", "web", "-f", s.Spec(t, strings.Replace(good, test.from, test.to, 1)))
		if test.name == "missing user" {
			if r.Code == 0 || !strings.Contains(r.Stderr, "nobody-of-that-name") {
				t.Errorf("%s: %v", test.name, r)
			}
			continue
		}
		if r.Code == 0 || !strings.Contains(r.Stderr, test.want) {
			t.Errorf("%s: exit code %d, want %q in: %s", test.name, r.Code, test.want, r.Stderr)
		}
	}
	s.untouched(pid)
}

func portOf(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		panic(err) // the tests' own
	}
	return port
}

// The agent itself refuses names, whoever asks.
func TestBadNamesPastTheClient(t *testing.T) {
	t.Parallel()
	a := harness.Start(t)
	services := pb.NewSupervisorServiceClient(a.Client(t))
	for _, name := range []string{"", "../x", "a/b", strings.Repeat("x", 64), "web\n", "Web", ".web", "web\x00"} {
		_, err := services.ApplyService(t.Context(), &pb.ApplyServiceRequest{Name: name, Spec: &pb.ServiceSpec{Artifact: "host:/bin/true"}})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("name %q: %v, want InvalidArgument", name, err)
		}
	}
}

// Somebody else's port is named with who has it.
func TestForeignPort(t *testing.T) {
	t.Parallel()
	a := harness.Start(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	spec := a.Spec(t, fmt.Sprintf("name: web\nartifact: %s\nsockets: [{name: http, listen: \"tcp://%s\"}]\n",
		harness.Program(t, "runtime", "v1"), l.Addr()))
	r := a.Ctl(t, "apply", "-f", spec)
	if r.Code != 1 || !strings.Contains(r.Stderr, fmt.Sprintf("pid %d", os.Getpid())) || !strings.Contains(r.Stderr, l.Addr().String()) {
		t.Errorf("a port that this test holds: %v", r)
	}
	if r := a.Ctl(t, "status", "web"); r.Code != 1 {
		t.Errorf("a refused service exists: %v", r)
	}
}

func TestTwoServicesCannotShareAnAddress(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", signalDrain)
	r := s.Ctl(t, "apply", "-f", s.Spec(t, strings.Replace(s.yaml("v1"), "name: web", "name: other", 1)))
	if r.Code != 1 || !strings.Contains(r.Stderr, `"web"`) {
		t.Errorf("a second service on the address: %v", r)
	}
}

// Text stays as it is written: 0660 is a mode, 1.10 a version.
func TestScalarsStayAsWritten(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", signalDrain+"env: {V: 1.10, ON: on}\n")
	env := harness.Active(s.Status(t, "web")).GetSpec().GetEnv()
	if env["V"] != "1.10" || env["ON"] != "on" {
		t.Errorf("env is %v", env)
	}
}
