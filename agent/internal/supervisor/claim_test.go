package supervisor

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/gracefleet/gracefleet/agent/internal/claim"
	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// What a host could never do is refused before anything is claimed.
func TestChangesAreJudgedAtTheClaim(t *testing.T) {
	h := newSignedHost(t)
	old, next := artifact("a"), artifact("b")
	other := service.Spec{Name: "web", Artifact: old, Command: []string{"{artifact}", "-x"}}.WithDefaults()
	upgrade := func(c claim.Change) claim.Change {
		c.Kind = claim.Upgrade
		return c
	}
	for name, c := range map[string]struct {
		change    claim.Change
		halted    bool
		unchanged bool
		want      error
	}{
		"what runs":                {change: upgrade(claim.Change{Artifact: old}), unchanged: true},
		"what is recorded":         {change: upgrade(claim.Change{}), unchanged: true},
		"a restart":                {change: claim.Change{Kind: claim.Restart}},
		"without a signature":      {change: upgrade(claim.Change{Artifact: next}), want: ErrSignatureRequired},
		"another's signature":      {change: upgrade(claim.Change{Artifact: next, Signature: []byte("x")}), want: ErrSignatureRefused},
		"a program of their own":   {change: upgrade(claim.Change{Spec: &other}), want: ErrNotRoot},
		"a stopped service":        {change: upgrade(claim.Change{}), halted: true, want: ErrWrongState},
		"back where nothing was":   {change: claim.Change{Kind: claim.RollBack}, want: ErrNoRollbackTarget},
		"back to where it is":      {change: claim.Change{Kind: claim.RollBack, Artifact: old}, unchanged: true},
		"back to what never was":   {change: claim.Change{Kind: claim.RollBack, Version: "v9"}, want: ErrNoRollbackTarget},
		"back to another artifact": {change: claim.Change{Kind: claim.RollBack, Artifact: next}, want: ErrNoRollbackTarget},
	} {
		t.Run(name, func(t *testing.T) {
			o := &owner{name: "web", sup: h.Supervisor, rec: running(old)}
			spec := o.rec.Spec
			spec.Sockets = []service.Socket{{Name: "http", Address: service.Address{Network: service.TCP, IP: netip.MustParseAddr("127.0.0.1"), Port: 80}}}
			spec = spec.WithDefaults()
			o.rec.Spec, o.rec.Generations[0].Spec, o.rec.State.Halted = spec, &spec, c.halted
			unchanged, err := o.vetChange(&c.change, Caller{Actor: "ci"})
			if !errors.Is(err, c.want) || unchanged != c.unchanged {
				t.Errorf("got %v, %v; want %v, %v", unchanged, err, c.unchanged, c.want)
			}
		})
	}
}

// A claim's artifact, files and predecessor are kept as long as it is held.
func TestWhatAClaimNeedsIsKept(t *testing.T) {
	rec := running(artifact("a"))
	rec.Spec.KeepGenerations = 0
	rec.Generations = append(rec.Generations, pastGeneration{Number: 2, Good: true, Spec: &service.Spec{Artifact: artifact("b")}})
	spec := service.Spec{Artifact: artifact("c"), Files: map[string]string{"x": artifact("d")}}
	rec.Rollouts.Held = &claim.Claim{Predecessor: 2, Change: &claim.Change{Artifact: artifact("e"), Spec: &spec}}
	if kept := rec.keptNumbers(); !kept[2] {
		t.Errorf("kept are %v", kept)
	}
	used := rec.artifacts()
	for _, digit := range []string{"a", "b", "c", "d", "e"} {
		if !used[artifact(digit)] {
			t.Errorf("%s may be collected", artifact(digit))
		}
	}
	rec.Rollouts.Held = nil
	if used := rec.artifacts(); used[artifact("e")] || rec.keptNumbers()[2] {
		t.Errorf("used by nobody: %v", used)
	}
}

// Refusals that asking again would not change are told from those that may pass.
func TestFinalRefusals(t *testing.T) {
	for _, c := range []struct {
		err  error
		want lifecycle.Reason
	}{
		{fmt.Errorf("web: %w", ErrOutOfMemory), "OUT_OF_MEMORY"},
		{&belowFloor{}, "SIGNATURE_BELOW_FLOOR"},
		{&service.InvalidError{}, "INVALID"},
		{&Problem{Reason: lifecycle.ReasonStranger, Err: errors.New("pid 7")}, lifecycle.ReasonStranger},
		{ErrUpgradeInProgress, ""},
		{ErrArtifactNotFound, ""},
		{&frozenError{}, ""},
		{ErrClosed, ""},
		{errors.New("the disk"), ""},
	} {
		if got := final(c.err); got != c.want {
			t.Errorf("%v: got %q, want %q", c.err, got, c.want)
		}
	}
}
