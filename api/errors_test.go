package api_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/api"
	gracefleetv1 "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

func TestErrorRoundTrip(t *testing.T) {
	sent := &api.Error{
		Code: codes.InvalidArgument, Reason: gracefleetv1.Reason_REASON_INVALID, Message: "name: a name is required",
		Metadata:   map[string]string{api.MetadataCommittedBytes: "7"},
		Violations: []api.Violation{{Field: "name", Reason: "a name is required"}},
	}
	wire := sent.GRPCStatus().Err()
	got := api.FromStatus(fmt.Errorf("apply: %w", wire))
	if got.Code != sent.Code || got.Reason != sent.Reason || api.ReasonOf(wire) != sent.Reason {
		t.Errorf("got %v %v", got.Code, got.Reason)
	}
	if d := cmp.Diff(sent.Metadata, got.Metadata) + cmp.Diff(sent.Violations, got.Violations); d != "" {
		t.Error(d)
	}
	if !errors.Is(got, wire) || status.Code(got) != codes.InvalidArgument {
		t.Error("the cause is lost")
	}
}

func TestFromStatusOfOthers(t *testing.T) {
	if api.FromStatus(nil) != nil || api.ReasonOf(nil) != gracefleetv1.Reason_REASON_UNSPECIFIED {
		t.Error("nil is an error")
	}
	for want, err := range map[codes.Code]error{
		codes.Canceled:         context.Canceled,
		codes.DeadlineExceeded: fmt.Errorf("call: %w", context.DeadlineExceeded),
		codes.Unknown:          errors.New("other"),
		codes.Unavailable:      status.Error(codes.Unavailable, "no agent"),
	} {
		e := api.FromStatus(err)
		if e.Code != want || e.Reason != gracefleetv1.Reason_REASON_UNSPECIFIED || e.Message == "" {
			t.Errorf("%v: got %+v", err, e)
		}
	}
}

func TestForeignDomainIsNoReason(t *testing.T) {
	foreign := (&api.Error{Code: codes.Aborted, Message: "x"}).GRPCStatus().Err()
	if e := api.FromStatus(foreign); e.Reason != 0 || e.Metadata != nil {
		t.Errorf("got %+v", e)
	}
}

func TestReasonText(t *testing.T) {
	for n := range gracefleetv1.Reason_name {
		r := gracefleetv1.Reason(n)
		if got := api.ParseReason(api.ReasonText(r)); got != r {
			t.Errorf("%v became %v", r, got)
		}
	}
	if got := api.ReasonText(gracefleetv1.Reason_REASON_READY_TIMEOUT); got != "READY_TIMEOUT" {
		t.Errorf("got %q", got)
	}
	if api.ReasonText(0) != "" || api.ParseReason("FROM_THE_FUTURE") != 0 {
		t.Error("an unknown reason has a text or a value")
	}
}
