package ctl

import (
	"fmt"
	"strings"
	"time"

	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
)

// kindText names what an upgrade is for.
func kindText(up *pb.Upgrade) string {
	switch up.GetKind() {
	case pb.Upgrade_KIND_CREATE, pb.Upgrade_KIND_START:
		return "start"
	case pb.Upgrade_KIND_ROLLBACK:
		return "rollback"
	case pb.Upgrade_KIND_AUTO_ROLLBACK:
		return "automatic rollback"
	case pb.Upgrade_KIND_RESTART:
		return "restart"
	case pb.Upgrade_KIND_ADOPT:
		return "adoption"
	}
	return "upgrade"
}

// upgradeName names an upgrade, such as "upgrade 7 -> 8".
func upgradeName(up *pb.Upgrade) string {
	if up.GetFromGeneration() == 0 {
		return fmt.Sprintf("%s of generation %d", kindText(up), up.GetToGeneration())
	}
	return fmt.Sprintf("%s %d -> %d", kindText(up), up.GetFromGeneration(), up.GetToGeneration())
}

// stepText is the current canary step, such as "2 of 3: 10%".
func stepText(up *pb.Upgrade) string {
	step, all := int(up.GetStep()), up.GetSteps()
	if step < 1 || step > len(all) {
		return fmt.Sprintf("%d of %d", step, len(all))
	}
	text := fmt.Sprintf("%d of %d: %s", step, len(all), percent(all[step-1].GetWeight()))
	if saw := up.GetStepConnections(); len(saw) >= step {
		text += ", saw " + count(saw[step-1], "connection")
	}
	return text
}

// inProgress says whether an upgrade is not over.
func inProgress(up *pb.Upgrade) bool {
	switch up.GetState() {
	case pb.Upgrade_STATE_STARTING, pb.Upgrade_STATE_CANARY, pb.Upgrade_STATE_SOAKING:
		return true
	}
	return false
}

// upgradeText is an upgrade in one line for status; "" when there is nothing
// to say about it.
func upgradeText(up *pb.Upgrade, now time.Time) string {
	switch up.GetState() {
	case pb.Upgrade_STATE_UNSPECIFIED, pb.Upgrade_STATE_SUCCEEDED:
		return ""
	case pb.Upgrade_STATE_FAILED, pb.Upgrade_STATE_ABORTED:
		text := fmt.Sprintf("last %s: %s", upgradeName(up), word(up.GetState()))
		if up.GetMessage() != "" {
			text += ": " + visible(up.GetMessage())
		}
		return text
	}
	parts := []string{word(up.GetState())}
	if up.GetState() == pb.Upgrade_STATE_CANARY {
		parts = append(parts, "step "+stepText(up))
	}
	if up.GetWaiting() {
		parts = append(parts, fmt.Sprintf("waits for: gracectl promote %s --step", up.GetService()))
	} else if left := until(up.GetPhaseEndTime(), now); left != "" {
		parts = append(parts, left+" left")
	}
	return upgradeName(up) + ": " + strings.Join(parts, ", ")
}

// deadline says when a draining generation is ended; "" when it is not.
func deadline(g *pb.Generation, now time.Time) string {
	d := g.GetDrain()
	if d.GetDeadline() == nil {
		return ""
	}
	what := "killed"
	if d.GetPhase() == pb.DrainStatus_PHASE_PATIENT || d.GetPhase() == pb.DrainStatus_PHASE_QUIESCING {
		what = "told to end"
	}
	return fmt.Sprintf(", %s in %s", what, until(d.GetDeadline(), now))
}

// statusLines is a service as it stands, for people.
func statusLines(st *pb.ServiceStatus, now time.Time, colors bool) []string {
	service := st.GetService()
	head := cell{word(service.GetState()), stateColor(word(service.GetState()))}
	out := []string{joinCells([]cell{{service.GetName(), ""}, head}, []int{len(service.GetName()), 0}, colors)}
	if text := upgradeText(st.GetUpgrade(), now); text != "" {
		out = append(out, text)
	}
	for _, change := range service.GetPending() {
		out = append(out, "pending "+changeText(change))
	}
	warnings := service.GetWarnings()
	if inProgress(st.GetUpgrade()) {
		warnings = append(warnings[:len(warnings):len(warnings)], st.GetUpgrade().GetWarnings()...)
	}
	for _, w := range warnings {
		out = append(out, "warning: "+visible(w))
	}
	if file := service.GetPidFile(); file != "" && service.GetActiveGeneration() != 0 {
		out = append(out, "pid file "+visible(file))
	}
	if service.GetRequiresSignature() {
		out = append(out, signedText(service.GetReleaseFloor()))
	}
	if len(st.GetGenerations()) == 0 {
		return out
	}
	return append(out, generationTable(st.GetGenerations(), now).lines(colors)...)
}

// signedText says what a service runs alone.
func signedText(floor int64) string {
	if floor == 0 {
		return "signed artifacts alone"
	}
	return fmt.Sprintf("signed artifacts alone, from release %d on", floor)
}

// releaseText is a release and its signer; "" for an artifact that is no release.
func releaseText(release int64, key string) string {
	if release == 0 {
		return ""
	}
	return fmt.Sprintf("release %d, key %s", release, key)
}

func generationTable(all []*pb.Generation, now time.Time) *table {
	t := &table{head: []string{"GENERATION", "STATE", "WEIGHT", "CONNECTIONS", "ARTIFACT", "VERSION", "PID", "RESTARTS", "AGE", "NOTE"}}
	for _, g := range all {
		state := word(g.GetState())
		t.add(cell{fmt.Sprint(g.GetNumber()), ""}, cell{state, stateColor(state)}, cell{percent(g.GetWeight()), ""},
			cell{maybe(g.OpenConnections), ""}, cell{short(g.GetArtifact()), ""}, cell{orDash(g.GetVersion()), ""},
			cell{pid(g.GetPid()), ""}, cell{fmt.Sprint(g.GetRestarts()), ""}, cell{ago(g.GetCreateTime(), now), ""},
			cell{generationNote(g, now), ""})
	}
	return t
}

func pid(n int32) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return visible(text)
}

// generationNote is what else is known of a generation.
func generationNote(g *pb.Generation, now time.Time) string {
	var parts []string
	if drain := strings.TrimPrefix(deadline(g, now), ", "); drain != "" && g.GetState() == pb.Generation_STATE_DRAINING {
		parts = append(parts, drain)
	}
	if forced := g.GetDrain().GetForcedConnections(); forced > 0 {
		parts = append(parts, count(forced, "connection")+" cut")
	}
	if release := releaseText(g.GetRelease(), g.GetSigningKey()); release != "" {
		parts = append(parts, release)
	}
	if g.GetExternal() {
		parts = append(parts, "adopted "+programText(g.GetProgram()))
	}
	if g.GetRollbackOf() != 0 {
		parts = append(parts, fmt.Sprintf("restores generation %d", g.GetRollbackOf()))
	}
	if g.GetReason() != pb.Reason_REASON_UNSPECIFIED {
		parts = append(parts, word(g.GetReason()))
	}
	if exit := exitText(g.GetExit()); exit != "" && !alive(g) {
		parts = append(parts, exit)
	}
	if g.GetStatus() != "" {
		parts = append(parts, `"`+visible(g.GetStatus())+`"`)
	}
	return strings.Join(parts, "; ")
}

// changeText is one difference between two specifications.
func changeText(c *pb.FieldChange) string {
	when := "with the next generation"
	if c.GetImmediate() {
		when = "at once"
	}
	return fmt.Sprintf("%s: %s -> %s (%s)", c.GetField(), orUnset(c.GetFrom()), orUnset(c.GetTo()), when)
}

// changeTexts is a line per difference.
func changeTexts(all []*pb.FieldChange) []string {
	var out []string
	for _, c := range all {
		out = append(out, "  "+changeText(c))
	}
	return out
}

func orUnset(text string) string {
	if text == "" {
		return "unset"
	}
	return visible(text)
}
