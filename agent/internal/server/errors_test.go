package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/store"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// Every error of the domain, wrapped as it comes, over a real connection.
func TestErrorTable(t *testing.T) {
	h := newHost(t)
	for _, row := range errorTable {
		if row.code == codes.Unavailable {
			continue // repeated by the client; see TestErrorsThatMeanTryAgain
		}
		t.Run(row.is.Error(), func(t *testing.T) {
			h.supervisor.err = fmt.Errorf("service web: %w: do this", row.is)
			_, err := h.services().GetService(limited(t), &pb.GetServiceRequest{Name: "web"})
			if e := wantError(t, err, row.code, row.reason); e.Message != h.supervisor.err.Error() {
				t.Errorf("message %q", e.Message)
			}
		})
	}
}

func TestErrorsThatMeanTryAgain(t *testing.T) {
	for _, err := range []error{errStopping, fmt.Errorf("x: %w", supervisor.ErrClosed)} {
		wantError(t, toStatus(t.Context(), err), codes.Unavailable, 0)
	}
}

func TestFullDiskDecides(t *testing.T) {
	err := errors.Join(supervisor.ErrWrongState, fmt.Errorf("record: %w", store.ErrDiskFull))
	wantError(t, toStatus(t.Context(), err), codes.ResourceExhausted, pb.Reason_REASON_DISK_FULL)
}

func TestUnknownErrorsAreInternal(t *testing.T) {
	h := newHost(t)
	h.supervisor.err = errors.New("bad \xff byte")
	_, err := h.services().GetService(limited(t), &pb.GetServiceRequest{Name: "web"})
	if e := wantError(t, err, codes.Internal, pb.Reason_REASON_INTERNAL); e.Message != "bad \uFFFD byte" {
		t.Errorf("message %q", e.Message)
	}
}

func TestPanicsAreInternal(t *testing.T) {
	h := newHost(t)
	h.supervisor.panics = true
	_, err := h.services().GetService(limited(t), &pb.GetServiceRequest{Name: "web"})
	wantError(t, err, codes.Internal, pb.Reason_REASON_INTERNAL)
	stream, err := h.services().WatchService(limited(t), &pb.WatchServiceRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	wantError(t, err, codes.Internal, pb.Reason_REASON_INTERNAL)

	h.supervisor.mu.Lock()
	h.supervisor.panics = false
	h.supervisor.mu.Unlock()
	if _, err := h.services().GetService(limited(t), &pb.GetServiceRequest{Name: "web"}); err != nil {
		t.Fatalf("the server is gone: %v", err)
	}
}

func TestProblemsCarryTheirReason(t *testing.T) {
	err := fmt.Errorf("upgrade: %w", &supervisor.Problem{Reason: lifecycle.ReasonStranger, Err: errors.New("pid 7")})
	wantError(t, toStatus(t.Context(), err), codes.FailedPrecondition, pb.Reason_REASON_STRANGER)
}

func TestContextErrors(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancelLate()
	stopped, stop := context.WithCancelCause(t.Context())
	stop(errStopping)
	for _, c := range []struct {
		ctx  context.Context
		want codes.Code
	}{{canceled, codes.Canceled}, {late, codes.DeadlineExceeded}, {stopped, codes.Unavailable}, {t.Context(), codes.Internal}} {
		err := toStatus(c.ctx, fmt.Errorf("watch: %w", context.Canceled))
		if status.Code(err) != c.want {
			t.Errorf("got %v, want %v", err, c.want)
		}
	}
}

func TestDetailsOfTheSupervisor(t *testing.T) {
	err := fmt.Errorf("upgrade: %w", &withMetadata{supervisor.ErrUpgradeInProgress, map[string]string{"upgrade": "u1"}})
	e := wantError(t, toStatus(t.Context(), err), codes.Aborted, pb.Reason_REASON_UPGRADE_IN_PROGRESS)
	if e.Metadata["upgrade"] != "u1" {
		t.Errorf("metadata %v", e.Metadata)
	}
}

// An error must fit into the headers that a client accepts.
func TestErrorsAreBounded(t *testing.T) {
	h := newHost(t)
	bad := &service.InvalidError{}
	for i := range 10_000 {
		bad.Violations = append(bad.Violations, service.Violation{Field: fmt.Sprint("f", i), Reason: strings.Repeat("é", 5000)})
	}
	h.supervisor.err = bad
	_, err := h.services().GetService(limited(t), &pb.GetServiceRequest{Name: "web"})
	e := wantError(t, err, codes.InvalidArgument, pb.Reason_REASON_INVALID)
	if len(e.Violations) != maxViolations || len(e.Message) > maxErrorBytes+16 {
		t.Errorf("%d violations, %d bytes of message", len(e.Violations), len(e.Message))
	}
}

func TestEveryReasonOfAnUpgradeIsInTheContract(t *testing.T) {
	for _, r := range []lifecycle.Reason{
		lifecycle.ReasonReadyTimeout, lifecycle.ReasonExitedEarly, lifecycle.ReasonExecFailed, lifecycle.ReasonAddressInUse,
		lifecycle.ReasonNotExecutable, lifecycle.ReasonDiskFull, lifecycle.ReasonInternal, lifecycle.ReasonCandidateDied,
		lifecycle.ReasonListenerLost, lifecycle.ReasonNotAccepting, lifecycle.ReasonCheckFailed, lifecycle.ReasonReportedFailure,
		lifecycle.ReasonStranger, lifecycle.ReasonStepTimeout, lifecycle.ReasonAborted, lifecycle.ReasonCrashLoop,
		lifecycle.ReasonHostRebooted, lifecycle.ReasonServiceStopped, lifecycle.ReasonRolledBack,
		lifecycle.ReasonHostFile, lifecycle.ReasonOrphaned,
	} {
		if api.ReasonText(toReason(r)) != string(r) {
			t.Errorf("%s became %v", r, toReason(r))
		}
	}
}
