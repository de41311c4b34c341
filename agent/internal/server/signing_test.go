package server

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/certstest"
	"github.com/gracefleet/gracefleet/internal/chain"
	"github.com/gracefleet/gracefleet/internal/statement"
)

func TestSignaturesReachTheSupervisor(t *testing.T) {
	h := newHost(t)
	ctx := limited(t)
	signature := []byte("signed")
	spec := &pb.ServiceSpec{Artifact: digestOf(nil)}
	for name, ask := range map[string]func() (supervisor.Signing, supervisor.Caller, error){
		"upgrade": func() (supervisor.Signing, supervisor.Caller, error) {
			_, err := h.upgrades().StartUpgrade(ctx, &pb.StartUpgradeRequest{Service: "web", Signature: signature, BreakGlass: true, Reason: "an emergency"})
			q, _ := h.supervisor.last().(supervisor.UpgradeRequest)
			return q.Signing, q.Caller, err
		},
		"apply": func() (supervisor.Signing, supervisor.Caller, error) {
			_, err := h.services().ApplyService(ctx, &pb.ApplyServiceRequest{Name: "web", Spec: spec, Signature: signature, BreakGlass: true, Reason: "an emergency"})
			q, _ := h.supervisor.last().(supervisor.ApplyRequest)
			return q.Signing, q.Caller, err
		},
		"adopt": func() (supervisor.Signing, supervisor.Caller, error) {
			_, err := h.services().AdoptService(ctx, &pb.AdoptServiceRequest{
				Name: "web", Spec: spec, Program: &pb.AdoptServiceRequest_Pid{Pid: 7}, Signature: signature, BreakGlass: true, Reason: "an emergency",
			})
			q, _ := h.supervisor.last().(supervisor.AdoptRequest)
			return q.Signing, q.Caller, err
		},
	} {
		got, by, err := ask()
		if err != nil || string(got.Signature) != "signed" || !got.BreakGlass || !by.Root {
			t.Errorf("%s: asked with %+v by %+v: %v", name, got, by, err)
		}
	}
	for _, none := range []string{"", " "} {
		_, err := h.services().ApplyService(ctx, &pb.ApplyServiceRequest{Name: "web", Spec: spec, BreakGlass: true, Reason: none})
		wantViolation(t, err, "reason")
	}
	_, err := h.services().ApplyService(ctx, &pb.ApplyServiceRequest{Name: "web", Spec: spec, Signature: make([]byte, statement.MaxFile+1)})
	wantViolation(t, err, "signature")
}

// Who is admin from elsewhere is not the host's root.
func TestRootIsOnTheHost(t *testing.T) {
	ca := certstest.NewCA(t)
	h := newHostAt(t, listenRemote(t, ca))
	conn := h.dialTLS(t, ca, ca.Client("admin", "alice"))
	defer conn.Close()
	if _, err := pb.NewUpgradeServiceClient(conn).StartUpgrade(limited(t), &pb.StartUpgradeRequest{Service: "web"}); err != nil {
		t.Fatal(err)
	}
	if q := h.supervisor.last().(supervisor.UpgradeRequest); q.Root {
		t.Errorf("%+v counts as root", q.Caller)
	}
}

func TestRefusedSignatures(t *testing.T) {
	h := newHost(t)
	for _, row := range []struct {
		err    error
		code   codes.Code
		reason pb.Reason
		part   string
	}{
		{supervisor.ErrSignatureRequired, codes.FailedPrecondition, pb.Reason_REASON_SIGNATURE_REQUIRED, ""},
		{fmt.Errorf("%w: %w", supervisor.ErrSignatureRefused, &statement.Refusal{Part: "expires", Reason: "it expired"}), codes.FailedPrecondition, pb.Reason_REASON_SIGNATURE_REFUSED, "expires"},
		{supervisor.ErrReleaseBelowFloor, codes.FailedPrecondition, pb.Reason_REASON_SIGNATURE_BELOW_FLOOR, ""},
		{supervisor.ErrNotRoot, codes.PermissionDenied, pb.Reason_REASON_PERMISSION, ""},
	} {
		h.supervisor.err = row.err
		after := h.audit.Head().Seq
		_, err := h.upgrades().StartUpgrade(limited(t), &pb.StartUpgradeRequest{Service: "web"})
		wantError(t, err, row.code, row.reason)
		if got := api.FromStatus(err).Metadata["part"]; got != row.part {
			t.Errorf("%v: the part is %q, want %q", row.err, got, row.part)
		}
		if all := h.since(t, after); len(all) != 2 || all[0].Decision != chain.Allowed || all[1].Decision != chain.Denied || !strings.Contains(all[1].Why, row.err.Error()) {
			t.Errorf("%v: recorded %+v", row.err, all)
		}
	}
}
