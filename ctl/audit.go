package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/internal/chain"
)

func newAudit(s *session) *cobra.Command {
	cmd := newAuditList(s)
	cmd.Use, cmd.Short = "audit", "Show the agent's record of who did what, and who was refused"
	cmd.AddCommand(newAuditList(s), newAuditVerify(s))
	return cmd
}

// auditFilter is which lines of the record are shown.
type auditFilter struct {
	service, actor, since string
	denied, follow, raw   bool
	lines                 int32
	from                  time.Time
}

func newAuditList(s *session) *cobra.Command {
	f := &auditFilter{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show lines of the record",
		Long: "Shows who changed what on this host, as it was recorded before it was done, and who\n" +
			"was refused. Each line carries the hash of the one before: gracectl audit verify.",
		Example: example("gracectl audit", "gracectl audit list --service web --since 24h", "gracectl audit list --denied -f",
			"gracectl audit list -n 0 --raw > audit.jsonl"),
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&f.service, "service", "", "lines about one service")
	flags.StringVar(&f.actor, "actor", "", "lines about one caller, such as operator/alice")
	flags.BoolVar(&f.denied, "denied", false, "only what was refused")
	flags.StringVar(&f.since, "since", "", "lines since a time (2006-01-02T15:04:05Z) or for a duration (10m)")
	flags.Int32VarP(&f.lines, "lines", "n", 50, "last so many lines; 0 for all")
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on with what is recorded next")
	flags.BoolVar(&f.raw, "raw", false, "lines as they were written, which audit verify can read")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		var err error
		if f.lines < 0 {
			return usage("-n %d is negative", f.lines)
		}
		f.from, err = sinceTime(f.since, time.Now())
		return err
	}
	s.withRecords(cmd, func(ctx context.Context, c *client, _ []string) error { return s.auditList(ctx, c, f) })
	return cmd
}

// auditLine is a line of the record, as it was written and as it reads.
type auditLine struct {
	raw   []byte
	entry chain.Entry
}

func (f *auditFilter) wants(l auditLine) bool {
	e := l.entry
	return (f.actor == "" || e.Actor == f.actor) && (!f.denied || e.Decision == chain.Denied) && !e.Time.Before(f.from)
}

func (s *session) auditList(ctx context.Context, c *client, f *auditFilter) error {
	request := &pb.ReadAuditRequest{Service: f.service}
	if f.service == "" && f.actor == "" && !f.denied {
		request.Last = f.lines // else they are not the last ones of those that are wanted
	}
	var seen int64
	var held []auditLine // until it is known which are the last
	err := c.readAudit(ctx, request, func(first *pb.ReadAuditResponse) {
		seen = first.GetHead().GetSequence()
		for _, d := range first.GetDamages() {
			s.note("warning: %s", visible(d))
		}
	}, func(l auditLine) error {
		seen = max(seen, l.entry.Seq)
		if f.wants(l) {
			held = append(held, l)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		return err
	}
	if f.lines > 0 && len(held) > int(f.lines) {
		held = held[len(held)-int(f.lines):]
	}
	if err := s.showAudit(held, f); err != nil {
		return err
	}
	if f.follow {
		if err := s.auditFollow(ctx, c, f, seen); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return s.ended()
}

// auditFollow shows lines after one as they are written.
func (s *session) auditFollow(ctx context.Context, c *client, f *auditFilter, after int64) error {
	request := &pb.ReadAuditRequest{Service: f.service, After: after, Follow: true}
	return c.readAudit(ctx, request, func(*pb.ReadAuditResponse) {}, func(l auditLine) error {
		if !f.wants(l) {
			return nil
		}
		return s.showAudit([]auditLine{l}, f)
	})
}

// readAudit calls begin with the head of an answer, and fn with each of its lines.
func (c *client) readAudit(ctx context.Context, r *pb.ReadAuditRequest, begin func(*pb.ReadAuditResponse), fn func(auditLine) error) error {
	stream, err := c.audit.ReadAudit(ctx, r)
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if first {
			begin(m)
		}
		for _, raw := range m.GetLines() {
			e, _ := chain.Decode(raw) // of a damaged line there is the text
			if err := fn(auditLine{raw, e}); err != nil {
				return err
			}
		}
	}
}

func (s *session) showAudit(lines []auditLine, f *auditFilter) error {
	switch {
	case f.raw:
		for _, l := range lines {
			if _, err := s.stdio.Out.Write(append(l.raw, '\n')); err != nil {
				return err
			}
		}
		return nil
	case s.structured():
		for _, l := range lines {
			if err := s.record("audit", l.entry.Time, auditObject(l)); err != nil {
				return err
			}
		}
		return nil
	case f.follow:
		for _, l := range lines {
			s.say("%s", auditText(l))
		}
		return nil
	case len(lines) == 0:
		s.note("no such lines")
		return nil
	}
	return s.printTable(auditTable(lines))
}

func auditObject(l auditLine) object {
	e := l.entry
	if e.Seq == 0 {
		return object{{"damaged", string(l.raw)}}
	}
	detail := object{}
	for _, key := range slices.Sorted(maps.Keys(e.Detail)) {
		detail = append(detail, member{key, e.Detail[key]})
	}
	return object{
		{"line", e.Seq},
		{"actor", e.Actor},
		{"role", e.Role},
		{"from", e.From},
		{"method", e.Method},
		{"service", e.Service},
		{"decision", string(e.Decision)},
		{"why", e.Why},
		{"reason", e.Reason},
		{"requestId", e.RequestID},
		{"detail", detail},
		{"hash", chain.Hash(l.raw)},
		{"prev", e.Prev},
	}
}

func auditTable(lines []auditLine) *table {
	t := &table{head: []string{"LINE", "TIME", "WHO", "FROM", "WHAT", "SERVICE", "DECISION", "WHY"}}
	for _, l := range lines {
		e := l.entry
		if e.Seq == 0 {
			t.add(cell{"?", ""}, cell{}, cell{}, cell{}, cell{"damaged line", colorBad}, cell{}, cell{}, cell{visible(string(l.raw)), ""})
			continue
		}
		var shade color
		if e.Decision == chain.Denied {
			shade = colorBad
		}
		t.add(cell{fmt.Sprint(e.Seq), ""}, cell{e.Time.Local().Format(time.DateTime), ""}, cell{orDash(visible(e.Actor)), ""}, cell{visible(e.From), ""},
			cell{visible(methodName(e.Method)), ""}, cell{orDash(visible(e.Service)), ""}, cell{string(e.Decision), shade}, cell{visible(auditWhy(e)), ""})
	}
	return t
}

// auditText is a line of the record in one line for people.
func auditText(l auditLine) string {
	e := l.entry
	if e.Seq == 0 {
		return "damaged line: " + visible(string(l.raw))
	}
	text := fmt.Sprintf("%s %s: %s %s", e.Time.Local().Format(time.DateTime), e.Decision, cmp.Or(e.Actor, e.From), methodName(e.Method))
	if e.Service != "" {
		text += " " + e.Service
	}
	return withMessage(visible(text), auditWhy(e))
}

// auditWhy is the reason of a refusal, else that of the caller.
func auditWhy(e chain.Entry) string {
	if e.Why != "" {
		return e.Why
	}
	return e.Reason
}

// methodName is a gRPC method without its service.
func methodName(full string) string { return full[strings.LastIndex(full, "/")+1:] }
