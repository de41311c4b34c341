package ctl

import (
	"fmt"
	"strings"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// result is what came of a command that changes what runs.
type result struct {
	code    int
	outcome string // of the command
	host    string // of the host, in a report's words
	service string
	upgrade *pb.Upgrade
	forced  int32
	text    string   // in one line
	body    []string // what belongs to it
	details []string // what else to know, and what to do
}

// conclude reports a result and ends the command with its code.
func (s *session) conclude(r result) error {
	if s.structured() {
		s.finished = true
		if err := s.record("result", time.Now(), r.object(s.host)); err != nil {
			return err
		}
	} else {
		for _, line := range append([]string{r.text}, r.body...) {
			s.say("%s", line)
		}
		for _, line := range r.details {
			s.note("%s", line)
		}
	}
	if r.code == ExitDone {
		return nil
	}
	return &exitError{code: r.code}
}

func (r result) object(host string) object {
	return object{
		{"exitCode", r.code},
		{"outcome", r.outcome},
		{"id", r.upgrade.GetId()},
		{"hosts", []object{{
			{"host", host},
			{"outcome", r.host},
			{"service", r.service},
			{"fromGeneration", r.upgrade.GetFromGeneration()},
			{"toGeneration", r.upgrade.GetToGeneration()},
			{"artifact", r.upgrade.GetArtifact()},
			{"reason", reasonWord(r.upgrade.GetReason())},
			{"forcedConnections", r.forced},
		}}},
	}
}

func reasonWord(r pb.Reason) string {
	if r == pb.Reason_REASON_UNSPECIFIED {
		return ""
	}
	return word(r)
}

// recordError makes the result of a stream that ended with an error.
func (s *session) recordError(code int, err error) {
	if !s.stream || !s.structured() || s.finished {
		return
	}
	o := object{{"exitCode", code}, {"outcome", "failed"}, {"id", ""}, {"hosts", []object{}}} // none was asked
	if s.host != "" {
		o = result{code: code, outcome: "failed", host: "failed"}.object(s.host)
	}
	_ = s.record("result", time.Now(), append(o, member{"error", words(err)}))
}

// begun is the result of not waiting.
func begun(up *pb.Upgrade) result {
	return result{
		outcome: "started", host: "in-progress", service: up.GetService(), upgrade: up,
		text:    fmt.Sprintf("%s: %s %s started", up.GetService(), upgradeName(up), up.GetId()),
		details: ways(up.GetService()),
	}
}

// leave is the result of an interrupted wait.
func leave(st *pb.ServiceStatus, up *pb.Upgrade) result {
	text := fmt.Sprintf("%s: %s is %s and goes on without this command", up.GetService(), upgradeName(up), word(up.GetState()))
	if terminal := over(st, up, "promoted"); terminal {
		text = fmt.Sprintf("%s: %s is %s%s", up.GetService(), upgradeName(up), word(up.GetState()), draining(st, up))
	}
	return result{
		code: ExitDetached, outcome: "detached", host: "in-progress", service: up.GetService(), upgrade: up,
		text: text, details: ways(up.GetService()),
	}
}

func ways(service string) []string {
	return []string{
		"next: gracectl status " + service + " -w",
		"      gracectl promote " + service,
		"      gracectl abort " + service,
	}
}

// outcome is the result of an upgrade that is over.
func outcome(st *pb.ServiceStatus, up *pb.Upgrade, aborting bool) result {
	r := result{service: up.GetService(), upgrade: up, forced: generation(st, up.GetFromGeneration()).GetDrain().GetForcedConnections()}
	switch up.GetState() {
	case pb.Upgrade_STATE_SUCCEEDED:
		r.outcome, r.host = "succeeded", "upgraded"
		if up.GetKind() == pb.Upgrade_KIND_ROLLBACK {
			r.host = "rolled-back"
		}
		r.text = success(st, up)
	case pb.Upgrade_STATE_ABORTED:
		r.outcome, r.host = "aborted", "rolled-back"
		r.text = fmt.Sprintf("%s: %s aborted, %s", up.GetService(), upgradeName(up), remaining(st, up))
		if !aborting {
			r.code = ExitRolledBack
			r.details = []string{"aborted by " + up.GetActor() + ": " + visible(up.GetMessage())}
		}
	default:
		r.fail(st, up)
	}
	return r
}

// remaining says what serves after an upgrade that came to nothing. Without overlap
// the old program has ended by then, and another generation runs it again.
func remaining(st *pb.ServiceStatus, up *pb.Upgrade) string {
	switch generation(st, up.GetFromGeneration()).GetState() {
	case pb.Generation_STATE_DRAINING, pb.Generation_STATE_STOPPED:
		return fmt.Sprintf("the program of generation %d is started again", up.GetFromGeneration())
	}
	return fmt.Sprintf("generation %d is active", up.GetFromGeneration())
}

// fail fills in the result of a generation that was turned away.
func (r *result) fail(st *pb.ServiceStatus, up *pb.Upgrade) {
	r.code, r.outcome, r.host = ExitRolledBack, "failed", "rolled-back"
	still := "; " + remaining(st, up)
	if up.GetFromGeneration() == 0 {
		r.code, r.host, still = ExitError, "failed", "; nothing was running before"
	}
	r.text = fmt.Sprintf("%s: %s failed: %s (%s)%s", up.GetService(), upgradeName(up), visible(up.GetMessage()), word(up.GetReason()), still)
	if exit := exitText(generation(st, up.GetToGeneration()).GetExit()); exit != "" {
		r.details = append(r.details, fmt.Sprintf("generation %d %s", up.GetToGeneration(), exit))
	}
	if up.GetErrno() != 0 {
		r.details = append(r.details, fmt.Sprintf("errno %d", up.GetErrno()))
	}
	if len(up.GetLastLines()) > 0 {
		r.details = append(r.details, fmt.Sprintf("last lines of generation %d:", up.GetToGeneration()))
	}
	for _, line := range up.GetLastLines() {
		r.details = append(r.details, "  | "+visible(line))
	}
	r.details = append(r.details,
		fmt.Sprintf("next: gracectl logs %s --generation %d", up.GetService(), up.GetToGeneration()),
		fmt.Sprintf("      correct it and run the same command again; gracectl history %s", up.GetService()))
}

// success words a promoted upgrade.
func success(st *pb.ServiceStatus, up *pb.Upgrade) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: generation %d is active", up.GetService(), up.GetToGeneration())
	if up.GetFromGeneration() != 0 {
		fmt.Fprintf(&b, " (was %d)", up.GetFromGeneration())
	}
	fmt.Fprintf(&b, ", %s succeeded", kindText(up))
	if up.GetEndTime() != nil {
		fmt.Fprintf(&b, " in %s", span(up.GetEndTime().AsTime().Sub(up.GetCreateTime().AsTime())))
	}
	b.WriteString(draining(st, up))
	return b.String()
}

// draining says what is left of the old generation.
func draining(st *pb.ServiceStatus, up *pb.Upgrade) string {
	g := generation(st, up.GetFromGeneration())
	switch {
	case g.GetState() == pb.Generation_STATE_STANDBY:
		return fmt.Sprintf("; generation %d on standby", g.GetNumber())
	case g.GetState() != pb.Generation_STATE_DRAINING:
		return ""
	case g.OpenConnections == nil:
		return fmt.Sprintf("; generation %d draining", g.GetNumber())
	}
	return fmt.Sprintf("; generation %d draining, %s left", g.GetNumber(), count(g.GetOpenConnections(), "connection"))
}

// exitText words how a program ended; "" when it has not.
func exitText(e *pb.Exit) string {
	switch {
	case e == nil:
		return ""
	case e.GetUnknown():
		return "ended, its exit status is not known"
	case e.GetSignal() != 0:
		return fmt.Sprintf("was ended by signal %d", e.GetSignal())
	}
	return fmt.Sprintf("exited with status %d", e.GetCode())
}
