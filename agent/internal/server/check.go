package server

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/supervisor"
	"github.com/gracefleet/gracefleet/internal/statement"
)

const (
	maxRequestID = 128
	maxReason    = 1024
	maxText      = 256
	maxLabels    = 64
)

// checker collects what is wrong with a request.
type checker struct{ violations []service.Violation }

func (c *checker) add(field, reason string) {
	c.violations = append(c.violations, service.Violation{Field: field, Reason: reason})
}

func (c *checker) that(ok bool, field, reason string) {
	if !ok {
		c.add(field, reason)
	}
}

func (c *checker) failed(field string, err error) {
	if err != nil {
		c.add(field, err.Error())
	}
}

func (c *checker) err() error {
	if len(c.violations) == 0 {
		return nil
	}
	return &service.InvalidError{Violations: c.violations}
}

// name checks a service's name.
func (c *checker) name(field, name string) { c.failed(field, service.CheckName(name)) }

// text checks an optional short text on one line.
func (c *checker) text(field, s string, limit int) {
	c.that(len(s) <= limit, field, "too long")
	c.that(!strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }), field, "contains a control character")
}

// caller checks and returns who asks, why, and under which id.
func (c *checker) caller(ctx context.Context, requestID, reason string) supervisor.Caller {
	unprintable := func(r rune) bool { return r <= ' ' || r > '~' }
	c.that(len(requestID) <= maxRequestID && !strings.ContainsFunc(requestID, unprintable), "request_id", "at most 128 printable ASCII characters without spaces")
	c.text("reason", reason, maxReason)
	who, _ := callerOf(ctx)
	return supervisor.Caller{Actor: who.Name, Comment: reason, RequestID: requestID, Root: who.almighty(uint32(os.Geteuid()))}
}

// signing checks what a request brings for a host that wants signed artifacts.
func (c *checker) signing(r interface {
	GetSignature() []byte
	GetBreakGlass() bool
	GetReason() string
},
) supervisor.Signing {
	c.that(len(r.GetSignature()) <= statement.MaxFile, "signature", fmt.Sprintf("more than %d bytes", statement.MaxFile))
	c.that(!r.GetBreakGlass() || strings.TrimSpace(r.GetReason()) != "", "reason", "is missing: who breaks the glass says why")
	return supervisor.Signing{Signature: r.GetSignature(), BreakGlass: r.GetBreakGlass()}
}

// duration reads an optional duration; ok says that it was there. Bounds that
// depend on its meaning are checked with the specification.
func (c *checker) duration(field string, d *durationpb.Duration) (_ time.Duration, ok bool) {
	if d == nil {
		return 0, false
	}
	c.failed(field, d.CheckValid())
	return d.AsDuration(), true
}

// durationOr is the duration, or a default when it was not there.
func (c *checker) durationOr(field string, d *durationpb.Duration, fallback time.Duration) time.Duration {
	if given, ok := c.duration(field, d); ok {
		return given
	}
	return fallback
}

// positive is a duration for which zero has no meaning; 0 when it was not there.
func (c *checker) positive(field string, d *durationpb.Duration) time.Duration {
	given, ok := c.duration(field, d)
	c.that(!ok || given > 0, field, "must be more than 0")
	return given
}
