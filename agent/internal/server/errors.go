package server

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gracefleet/gracefleet/agent/internal/audit"
	"github.com/gracefleet/gracefleet/agent/internal/claim"
	"github.com/gracefleet/gracefleet/agent/internal/fetch"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/store"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/delta"
)

// errStopping ends the streams of an agent that stops.
var errStopping = errors.New("the agent is stopping: the services run on, call again")

// errPolicyChanged ends the streams that began under another policy.
var errPolicyChanged = errors.New("the permissions on this host have changed: call again")

const (
	maxErrorBytes = 4 << 10
	maxViolations = 100
)

// errorTable maps what handlers return; the first row that errors.Is matches
// decides.
var errorTable = []struct {
	is     error
	code   codes.Code
	reason pb.Reason
}{
	{fetch.ErrRefused, codes.FailedPrecondition, pb.Reason_REASON_FETCH_FAILED},
	{fetch.ErrNotThere, codes.NotFound, pb.Reason_REASON_FETCH_FAILED},
	{fetch.ErrUnusable, codes.FailedPrecondition, pb.Reason_REASON_FETCH_FAILED},
	{fetch.ErrPassing, codes.Unavailable, pb.Reason_REASON_FETCH_FAILED},

	{store.ErrDiskFull, codes.ResourceExhausted, pb.Reason_REASON_DISK_FULL},
	{audit.ErrFull, codes.ResourceExhausted, pb.Reason_REASON_DISK_FULL},
	{audit.ErrClosed, codes.Unavailable, pb.Reason_REASON_UNSPECIFIED},
	{store.ErrQuota, codes.ResourceExhausted, pb.Reason_REASON_QUOTA_EXCEEDED},
	{errStopping, codes.Unavailable, pb.Reason_REASON_UNSPECIFIED},
	{errPolicyChanged, codes.Unavailable, pb.Reason_REASON_UNSPECIFIED},
	{supervisor.ErrClosed, codes.Unavailable, pb.Reason_REASON_UNSPECIFIED},

	{supervisor.ErrServiceNotFound, codes.NotFound, pb.Reason_REASON_SERVICE_NOT_FOUND},
	{supervisor.ErrGenerationNotFound, codes.NotFound, pb.Reason_REASON_GENERATION_NOT_FOUND},
	{supervisor.ErrUpgradeNotFound, codes.NotFound, pb.Reason_REASON_UPGRADE_NOT_FOUND},
	{supervisor.ErrUpgradeInProgress, codes.Aborted, pb.Reason_REASON_UPGRADE_IN_PROGRESS},
	{supervisor.ErrNoRollbackTarget, codes.FailedPrecondition, pb.Reason_REASON_NO_ROLLBACK_TARGET},
	{supervisor.ErrWrongState, codes.FailedPrecondition, pb.Reason_REASON_WRONG_STATE},
	// ABORTED: read again, then decide again.
	{supervisor.ErrETagMismatch, codes.Aborted, pb.Reason_REASON_ETAG_MISMATCH},
	{supervisor.ErrGenerationMismatch, codes.Aborted, pb.Reason_REASON_WRONG_STATE},
	{supervisor.ErrRequestIDReused, codes.InvalidArgument, pb.Reason_REASON_REQUEST_ID_REUSED},
	{supervisor.ErrTooManyGenerations, codes.FailedPrecondition, pb.Reason_REASON_TOO_MANY_GENERATIONS},
	{supervisor.ErrAddressOverlap, codes.FailedPrecondition, pb.Reason_REASON_ADDRESS_OVERLAP},
	{supervisor.ErrAddressInUse, codes.FailedPrecondition, pb.Reason_REASON_ADDRESS_IN_USE},
	{supervisor.ErrNotAdoptable, codes.FailedPrecondition, pb.Reason_REASON_NOT_ADOPTABLE},
	{supervisor.ErrArtifactNotFound, codes.NotFound, pb.Reason_REASON_ARTIFACT_NOT_FOUND},
	{supervisor.ErrNotExecutable, codes.FailedPrecondition, pb.Reason_REASON_NOT_EXECUTABLE},
	{supervisor.ErrHostFile, codes.FailedPrecondition, pb.Reason_REASON_HOST_FILE},
	{supervisor.ErrOutOfMemory, codes.ResourceExhausted, pb.Reason_REASON_OUT_OF_MEMORY},
	{supervisor.ErrSignatureRequired, codes.FailedPrecondition, pb.Reason_REASON_SIGNATURE_REQUIRED},
	{supervisor.ErrSignatureRefused, codes.FailedPrecondition, pb.Reason_REASON_SIGNATURE_REFUSED},
	{supervisor.ErrReleaseBelowFloor, codes.FailedPrecondition, pb.Reason_REASON_SIGNATURE_BELOW_FLOOR},
	{supervisor.ErrFrozen, codes.FailedPrecondition, pb.Reason_REASON_FROZEN},
	{claim.ErrClaimed, codes.Aborted, pb.Reason_REASON_ROLLOUT_CLAIMED},
	{claim.ErrDriven, codes.Aborted, pb.Reason_REASON_ROLLOUT_DRIVEN},
	{claim.ErrOvertaken, codes.Aborted, pb.Reason_REASON_ROLLOUT_OVERTAKEN},
	{claim.ErrNotFound, codes.NotFound, pb.Reason_REASON_ROLLOUT_NOT_FOUND},
	{claim.ErrMoving, codes.FailedPrecondition, pb.Reason_REASON_UPGRADE_IN_PROGRESS},
	{supervisor.ErrNotRoot, codes.PermissionDenied, pb.Reason_REASON_PERMISSION},

	// Before what it wraps: not to have the base is no end of an upload.
	{store.ErrBase, codes.FailedPrecondition, pb.Reason_REASON_DELTA_REFUSED},
	{delta.ErrCorrupt, codes.InvalidArgument, pb.Reason_REASON_DELTA_REFUSED},
	{store.ErrBusy, codes.Aborted, pb.Reason_REASON_UPLOAD_BUSY},
	{store.ErrInUse, codes.FailedPrecondition, pb.Reason_REASON_ARTIFACT_IN_USE},
	{store.ErrBadDigest, codes.InvalidArgument, pb.Reason_REASON_INVALID},
	{store.ErrDigestMismatch, codes.InvalidArgument, pb.Reason_REASON_DIGEST_MISMATCH},
	{store.ErrTooLarge, codes.InvalidArgument, pb.Reason_REASON_TOO_LARGE},
	{store.ErrEmpty, codes.InvalidArgument, pb.Reason_REASON_NOT_EXECUTABLE},
	{store.ErrNotExecutable, codes.InvalidArgument, pb.Reason_REASON_NOT_EXECUTABLE},
	{store.ErrWrongArchitecture, codes.InvalidArgument, pb.Reason_REASON_NOT_EXECUTABLE},
	{store.ErrMissingInterpreter, codes.FailedPrecondition, pb.Reason_REASON_NOT_EXECUTABLE},
	{store.ErrIncomplete, codes.FailedPrecondition, pb.Reason_REASON_INVALID},
	{store.ErrNotFound, codes.NotFound, pb.Reason_REASON_ARTIFACT_NOT_FOUND},
}

// toStatus is the error as the client sees it. ctx is the call's.
func toStatus(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	e := classify(ctx, err)
	var detailed interface{ Metadata() map[string]string }
	if e.Metadata == nil && errors.As(err, &detailed) {
		e.Metadata = cleanMap(detailed.Metadata())
	}
	return e
}

func classify(ctx context.Context, err error) *api.Error {
	var ready *api.Error
	if errors.As(err, &ready) {
		copied := *ready
		return &copied
	}
	text := clean(err.Error(), maxErrorBytes)
	var invalid *service.InvalidError
	if errors.As(err, &invalid) {
		return invalidRequest(invalid.Violations)
	}
	for _, row := range errorTable {
		if errors.Is(err, row.is) {
			return &api.Error{Code: row.code, Reason: row.reason, Message: text}
		}
	}
	var problem *supervisor.Problem
	if errors.As(err, &problem) {
		return &api.Error{Code: codes.FailedPrecondition, Reason: toReason(problem.Reason), Message: text}
	}
	if ctx.Err() != nil {
		return ended(ctx, text)
	}
	// gRPC's own, from a stream whose peer is gone.
	if s, ok := status.FromError(err); ok {
		return &api.Error{Code: s.Code(), Message: clean(s.Message(), maxErrorBytes)}
	}
	return &api.Error{Code: codes.Internal, Reason: pb.Reason_REASON_INTERNAL, Message: text}
}

// ended is the error of a call whose context is over.
func ended(ctx context.Context, text string) *api.Error {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errStopping), errors.Is(cause, errPolicyChanged):
		return &api.Error{Code: codes.Unavailable, Message: cause.Error()}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &api.Error{Code: codes.DeadlineExceeded, Message: text}
	default:
		return &api.Error{Code: codes.Canceled, Message: text}
	}
}

// invalidRequest lists every field that is wrong.
func invalidRequest(list []service.Violation) *api.Error {
	all := service.InvalidError{Violations: list}
	e := &api.Error{Code: codes.InvalidArgument, Reason: pb.Reason_REASON_INVALID, Message: clean(all.Error(), maxErrorBytes)}
	for _, v := range list[:min(len(list), maxViolations)] {
		e.Violations = append(e.Violations, api.Violation{Field: clean(v.Field, 256), Reason: clean(v.Reason, 1024)})
	}
	return e
}

// invalid is a request with one wrong field.
func invalid(field, format string, args ...any) error {
	return invalidRequest([]service.Violation{{Field: field, Reason: fmt.Sprintf(format, args...)}})
}

// withMetadata adds details for programs to an error.
type withMetadata struct {
	error
	metadata map[string]string
}

func (e *withMetadata) Unwrap() error { return e.error }

// Metadata returns the details.
func (e *withMetadata) Metadata() map[string]string { return e.metadata }

// clean makes a text fit for protobuf, which takes valid UTF-8 only, and bounds
// its length in bytes.
func clean(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit] + " ..."
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func cleanMap(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[clean(k, 64)] = clean(v, 1024)
	}
	return out
}
