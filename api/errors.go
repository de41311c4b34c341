package api

import (
	"errors"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	gracefleetv1 "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// Domain is the google.rpc.ErrorInfo.domain of an agent's errors.
const Domain = "gracefleet.v1"

// MetadataCommittedBytes is the metadata key under which an upload that failed
// says how many bytes the agent holds: the offset to go on from.
const MetadataCommittedBytes = "committed_bytes"

const reasonPrefix = "REASON_"

// Violation is one rule that a field of a request breaks.
type Violation struct {
	// Field is the key as in the service file, or the request's field.
	Field  string
	Reason string
}

// Error is an agent's refusal or failure, the same on both sides of a
// connection. The agent answers with it; FromStatus rebuilds it.
type Error struct {
	Code    codes.Code
	Reason  gracefleetv1.Reason // REASON_UNSPECIFIED when the agent gave none
	Message string
	// Metadata holds details for programs, such as MetadataCommittedBytes.
	Metadata   map[string]string
	Violations []Violation
	// RetryAfter is how long to wait before asking again; nothing was done. Zero
	// when that would be of no use.
	RetryAfter time.Duration

	cause error
}

// Error is the message: it says what failed, on what, why and what to do.
func (e *Error) Error() string { return e.Message }

// Unwrap is the error that FromStatus was given.
func (e *Error) Unwrap() error { return e.cause }

// GRPCStatus is the error as gRPC carries it.
func (e *Error) GRPCStatus() *status.Status {
	plain := status.New(e.Code, e.Message)
	var details []protoadapt.MessageV1
	if e.Reason != gracefleetv1.Reason_REASON_UNSPECIFIED || len(e.Metadata) > 0 {
		details = append(details, &errdetails.ErrorInfo{Reason: ReasonText(e.Reason), Domain: Domain, Metadata: e.Metadata})
	}
	if len(e.Violations) > 0 {
		bad := &errdetails.BadRequest{}
		for _, v := range e.Violations {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: v.Field, Description: v.Reason})
		}
		details = append(details, bad)
	}
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	// Details are refused on OK only, which is no error.
	full, err := plain.WithDetails(details...)
	if err != nil {
		return plain
	}
	return full
}

// FromStatus reads what an agent answered. Errors that no agent made, such as a
// refused connection or a cancelled context, get their code and message only;
// nil stays nil.
func FromStatus(err error) *Error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	e := &Error{Code: s.Code(), Message: s.Message(), cause: err}
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == Domain {
				e.Reason, e.Metadata = ParseReason(d.GetReason()), d.GetMetadata()
			}
		case *errdetails.RetryInfo:
			e.RetryAfter = max(d.GetRetryDelay().AsDuration(), 0)
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				e.Violations = append(e.Violations, Violation{Field: v.GetField(), Reason: v.GetDescription()})
			}
		}
	}
	return e
}

// ReasonOf is the reason an agent gave, REASON_UNSPECIFIED when it gave none.
func ReasonOf(err error) gracefleetv1.Reason {
	if e := FromStatus(err); e != nil {
		return e.Reason
	}
	return gracefleetv1.Reason_REASON_UNSPECIFIED
}

// ReasonText is a reason without its prefix, such as "READY_TIMEOUT", and empty
// for none.
func ReasonText(r gracefleetv1.Reason) string {
	if r == gracefleetv1.Reason_REASON_UNSPECIFIED {
		return ""
	}
	return strings.TrimPrefix(r.String(), reasonPrefix)
}

// ParseReason reads what ReasonText writes. A reason that only a newer agent
// knows is REASON_UNSPECIFIED.
func ParseReason(text string) gracefleetv1.Reason {
	return gracefleetv1.Reason(gracefleetv1.Reason_value[reasonPrefix+text])
}
