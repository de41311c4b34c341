package ctl

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

func TestWhoami(t *testing.T) {
	a := newAgent(t).on(&pb.GetCallerRequest{}, &pb.GetCallerResponse{
		Actor: "ci/web", From: "tls 10.0.0.9:1234", Roles: []string{"ci"},
		Grants: []*pb.Grant{{Permissions: []string{"push", "upgrade"}, Services: []string{"web", "api-*"}}, {Permissions: []string{"read"}}},
	})
	want := "ci/web, from tls 10.0.0.9:1234\nroles: ci\nmay push, upgrade on web, api-*\nmay read on every service\n"
	if r := a.gracectl(t, "auth", "whoami"); r.code != ExitDone || r.out != want {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	r := a.gracectl(t, "auth", "whoami", "-o", "json")
	if r.code != ExitDone || !strings.Contains(r.out, `"actor": "ci/web"`) || !strings.Contains(r.out, `"api-*"`) {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	a.on(&pb.GetCallerRequest{}, &pb.GetCallerResponse{Actor: "gardener/bob\x1b[2J", From: "tls 10.0.0.9:1234"})
	r = a.gracectl(t, "auth", "whoami")
	if r.code != ExitDone || !strings.Contains(r.out, "may nothing on this host") || strings.Contains(r.out, "\x1b") {
		t.Errorf("exit %d: %q%s", r.code, r.out, r.err)
	}
}

func TestCanI(t *testing.T) {
	a := newAgent(t).on(&pb.CheckPermissionRequest{}, &pb.CheckPermissionResponse{Allowed: true})
	if r := a.gracectl(t, "auth", "can-i", "upgrade", "web"); r.code != ExitDone || r.out != "yes\n" {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if req := asked[*pb.CheckPermissionRequest](a)[0]; req.GetPermission() != "upgrade" || req.GetService() != "web" {
		t.Errorf("asked %v", req)
	}
	a.on(&pb.CheckPermissionRequest{}, &pb.CheckPermissionResponse{})
	if r := a.gracectl(t, "auth", "can-i", "admin"); r.code != ExitError || r.out != "no\n" || r.err != "" {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := a.gracectl(t, "auth", "can-i", "admin", "-o", "json"); r.code != ExitError || !strings.Contains(r.out, `"allowed": false`) {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	for _, line := range [][]string{{"auth"}, {"auth", "can-i"}, {"auth", "can-i", "a", "b", "c"}, {"auth", "whoami", "x"}} {
		if r := a.gracectl(t, line...); r.code != ExitUsage {
			t.Errorf("%v: exit %d: %s", line, r.code, r.err)
		}
	}
}

// Who may not know the agent's host name still gets records, under its address.
func TestRecordsWithoutTheHostsName(t *testing.T) {
	a := newAgent(t).on(&pb.GetAgentInfoRequest{}, &api.Error{Code: codes.PermissionDenied, Reason: pb.Reason_REASON_PERMISSION, Message: "no"})
	r := a.gracectl(t, "events", "-o", "json")
	if r.code != ExitDone || !strings.Contains(r.out, `"host":"unix:`+a.socket+`"`) {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
}

// That a certificate is not accepted is said as such, and not tried again.
func TestTurnedAway(t *testing.T) {
	for text, want := range map[string]bool{
		`connection error: desc = "error reading server preface: remote error: tls: bad certificate"`:                                             true,
		`connection error: desc = "transport: authentication handshake failed: tls: failed to verify certificate: x509: certificate has expired"`: true,
		`connection error: desc = "transport: authentication handshake failed: x509: certificate signed by unknown authority"`:                    true,
		`connection error: desc = "transport: Error while dialing: dial tcp 10.0.0.5:7443: connect: connection refused"`:                          false,
		`connection error: desc = "transport: authentication handshake failed: EOF"`:                                                              false,
	} {
		err := status.Error(codes.Unavailable, text)
		if turnedAway(err) != want || strings.Contains(words(err), turnedAwayWords) != want {
			t.Errorf("%s: %v: %s", text, !want, words(err))
		}
	}
	if turnedAway(status.Error(codes.Internal, "remote error: tls: bad certificate")) || turnedAway(nil) {
		t.Error("another failure is taken for one of TLS")
	}
}

func TestTLSFlags(t *testing.T) {
	files := certstest.NewCA(t).ClientFiles("operator", "alice")
	all := map[string]string{"--tls-cert": files.Cert, "--tls-key": files.Key, "--tls-ca": files.CA}
	variables := map[string]string{"--tls-cert": "GRACECTL_TLS_CERT", "--tls-key": "GRACECTL_TLS_KEY", "--tls-ca": "GRACECTL_TLS_CA"}
	for missing := range all {
		args, env := []string{"status", "--agent", "localhost:1"}, map[string]string{}
		for flag, file := range all {
			if flag != missing {
				args, env[variables[flag]] = append(args, flag, file), file
			}
		}
		for _, r := range []ran{gracectl(t, t.Context(), nil, args...), gracectl(t, t.Context(), env, args[:3]...)} {
			if r.code != ExitError || !strings.Contains(r.err, missing+" is missing") {
				t.Errorf("without %s: exit %d: %s", missing, r.code, r.err)
			}
		}
	}
	env := map[string]string{"GRACECTL_AGENT": "localhost:1", "GRACECTL_AGENT_ID": "web-1", "GRACECTL_TLS_CERT": files.Cert, "GRACECTL_TLS_KEY": files.Key, "GRACECTL_TLS_CA": files.CA}
	if r := gracectl(t, t.Context(), env, "status"); r.code != ExitError || !strings.Contains(r.err, `agent id "web-1"`) {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}
