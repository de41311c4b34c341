package ctl

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// serving is a service whose active generation has an artifact; "" is none.
func serving(name, artifact string, spec *pb.ServiceSpec) *pb.ServiceStatus {
	st := &pb.ServiceStatus{Service: &pb.Service{Name: name, Spec: spec}}
	if artifact != "" {
		st.Service.ActiveGeneration = 3
		st.Generations = []*pb.Generation{{Number: 4, Artifact: "candidate"}, {Number: 3, Artifact: artifact}}
	}
	return st
}

func TestDrift(t *testing.T) {
	type host struct {
		name string
		all  []*pb.ServiceStatus
	}
	// The recorded artifact is the next upgrade's: what runs is what counts.
	plain := func(artifact string) *pb.ServiceSpec { return &pb.ServiceSpec{Artifact: artifact, User: "web"} }
	for name, test := range map[string]struct {
		hosts []host
		want  []deviation
	}{
		"none": {hosts: nil},
		"alike": {hosts: []host{
			{"a", []*pb.ServiceStatus{serving("web", "x", plain("x")), serving("api", "y", nil)}},
			{"b", []*pb.ServiceStatus{serving("web", "x", plain("z"))}},
			{"c", []*pb.ServiceStatus{serving("web", "x", plain("x")), serving("api", "y", &pb.ServiceSpec{})}},
		}},
		"artifacts": {
			hosts: []host{
				{"a", []*pb.ServiceStatus{serving("web", "old", plain("x"))}},
				{"b", []*pb.ServiceStatus{serving("web", "x", plain("x"))}},
				{"c", []*pb.ServiceStatus{serving("web", "", plain("x"))}},
				{"d", []*pb.ServiceStatus{serving("web", "x", plain("x"))}},
			},
			want: []deviation{
				{service: "web", host: "a", artifact: "old", most: "x", mostHosts: 2, hosts: 4},
				{service: "web", host: "c", artifact: "", most: "x", mostHosts: 2, hosts: 4},
			},
		},
		"specifications": {
			hosts: []host{
				{"a", []*pb.ServiceStatus{serving("web", "x", plain("x")), serving("api", "y", plain("y"))}},
				{"b", []*pb.ServiceStatus{serving("web", "x", &pb.ServiceSpec{User: "root", Upgrade: &pb.UpgradePolicy{}}), serving("api", "z", plain("y"))}},
				{"c", []*pb.ServiceStatus{serving("web", "x", plain("x")), serving("api", "z", &pb.ServiceSpec{User: "web", Args: []string{"-v"}})}},
			},
			want: []deviation{
				{service: "api", host: "a", artifact: "y", most: "z", mostHosts: 2, hosts: 3},
				{service: "api", host: "c", artifact: "z", most: "z", mostHosts: 2, hosts: 3, fields: []string{"args"}},
				{service: "web", host: "b", artifact: "x", most: "x", mostHosts: 3, hosts: 3, fields: []string{"user", "upgrade"}},
			},
		},
		"as many as others: the first": {
			hosts: []host{{"a", []*pb.ServiceStatus{serving("web", "x", nil)}}, {"b", []*pb.ServiceStatus{serving("web", "y", nil)}}},
			want:  []deviation{{service: "web", host: "b", artifact: "y", most: "x", mostHosts: 1, hosts: 2}},
		},
	} {
		var d drift
		for _, h := range test.hosts {
			for _, st := range h.all {
				d.add(h.name, st)
			}
		}
		if diff := cmp.Diff(test.want, d.deviations(), cmp.AllowUnexported(deviation{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
