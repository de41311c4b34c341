package claim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
)

var noon = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

func ask(rollout, driver string) Ask {
	return Ask{
		Rollout: rollout, SpecHash: "hash of " + rollout, Spec: "sha256:" + rollout, Change: &Change{Kind: Upgrade}, OnOrphan: Hold,
		Driver: driver, Lease: DefaultLease, Actor: "alice", Comment: "a fix", Predecessor: 1, LeaseEnd: noon.Add(time.Minute),
	}
}

func claimedBy(t *testing.T, b Book, a Ask) Book {
	t.Helper()
	b, err := b.Claim(a, noon)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWhoMayClaim(t *testing.T) {
	held := claimedBy(t, Book{}, ask("r1", "ci"))
	free := held.LeaseEnded()
	past, err := held.Release(Driver{"r1", 1}, "succeeded", noon)
	if err != nil {
		t.Fatal(err)
	}
	taking := ask("r1", "eve")
	taking.TakeOver = true
	other := ask("r1", "ci")
	other.SpecHash = "hash of something else"
	for name, c := range map[string]struct {
		book  Book
		ask   Ask
		want  error
		epoch int64
	}{
		"the first":                          {Book{}, ask("r1", "ci"), nil, 1},
		"the same driver, again":             {held, ask("r1", "ci"), nil, 1},
		"another driver":                     {held, ask("r1", "eve"), ErrDriven, 0},
		"another driver, taking over":        {held, taking, nil, 2},
		"another driver, after the lease":    {free, ask("r1", "eve"), nil, 2},
		"the same driver, after the lease":   {free, ask("r1", "ci"), nil, 2},
		"another rollout":                    {held, ask("r2", "ci"), ErrClaimed, 0},
		"another rollout, after the lease":   {free, ask("r2", "ci"), ErrClaimed, 0},
		"the same name for something else":   {held, other, ErrClaimed, 0},
		"one that was given up":              {past, ask("r1", "eve"), nil, 2},
		"its name for something else":        {past, other, ErrClaimed, 0},
		"the first, where the epoch is high": {Book{Epoch: 7}, ask("r1", "ci"), nil, 8},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.book.Claim(c.ask, noon)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil && (got.Held.Epoch != c.epoch || got.Epoch != c.epoch || got.Held.Driver != c.ask.Driver || !got.Held.Leased) {
				t.Errorf("got %+v, want epoch %d", got.Held, c.epoch)
			}
		})
	}
}

func TestLeastEpoch(t *testing.T) {
	a := ask("r1", "ci")
	a.Epoch = 40
	b := claimedBy(t, Book{}, a)
	if b.Held.Epoch != 40 || b.Epoch != 40 {
		t.Errorf("got %d and %d, want 40", b.Held.Epoch, b.Epoch)
	}
	a.Epoch = 3
	if b = claimedBy(t, b, a); b.Held.Epoch != 40 {
		t.Errorf("the epoch fell to %d", b.Held.Epoch)
	}
}

func TestRefusalsNameWhoIsInTheWay(t *testing.T) {
	held := claimedBy(t, Book{}, ask("r1", "ci"))
	_, claimed := held.Claim(ask("r2", "eve"), noon)
	_, driven := held.Claim(ask("r1", "eve"), noon)
	_, overtaken := held.Driven(Driver{"r1", 0})
	since, until := noon.Format(time.RFC3339), noon.Add(time.Minute).Format(time.RFC3339)
	for _, c := range []struct {
		err  error
		want map[string]string
	}{
		{claimed, map[string]string{"rollout": "r1", "spec_hash": "hash of r1", "driver": "ci", "actor": "alice", "time": since}},
		{held.Refused(), map[string]string{"rollout": "r1", "spec_hash": "hash of r1", "driver": "ci", "actor": "alice", "time": since}},
		{driven, map[string]string{"driver": "ci", "time": until}},
		{overtaken, map[string]string{"driver": "ci"}},
	} {
		var detailed interface{ Metadata() map[string]string }
		if !errors.As(c.err, &detailed) || !maps.Equal(detailed.Metadata(), c.want) {
			t.Errorf("%v: got %v, want %v", c.err, detailed, c.want)
		}
	}
	if err := (Book{}).Refused(); err != nil {
		t.Errorf("a service that nobody has claimed: %v", err)
	}
}

func TestDriven(t *testing.T) {
	b := claimedBy(t, Book{Epoch: 4}, ask("r1", "ci"))
	for d, want := range map[Driver]error{
		{"r1", 5}: nil, {"r1", 4}: ErrOvertaken, {"r1", 6}: ErrOvertaken, {"r2", 5}: ErrNotFound, {"", 0}: ErrNotFound,
	} {
		if _, err := b.Driven(d); !errors.Is(err, want) {
			t.Errorf("%v: got %v, want %v", d, err, want)
		}
	}
	if _, err := (Book{}).Driven(Driver{"r1", 5}); !errors.Is(err, ErrNotFound) {
		t.Errorf("nothing is claimed: %v", err)
	}
	// Who comes late, and before anybody else, goes on.
	late, err := b.LeaseEnded().Renew(Driver{"r1", 5})
	if err != nil || !late.Held.Leased || late.Held.Revision != b.Held.Revision+2 {
		t.Errorf("a late renewal: %+v, %v", late.Held, err)
	}
	if again, err := late.Renew(Driver{"r1", 5}); err != nil || again.Held != late.Held {
		t.Errorf("a renewal in time writes: %+v, %v", again.Held, err)
	}
}

func TestRelease(t *testing.T) {
	b := claimedBy(t, Book{}, ask("r1", "ci"))
	for _, p := range []Progress{Upgrading, Soaking, Returning} {
		moves := b.with(func(c *Claim) { c.Progress = p })
		if _, err := moves.Release(Driver{"r1", 1}, "ended", noon); !errors.Is(err, ErrMoving) {
			t.Errorf("released at %d: %v", p, err)
		}
	}
	done := b.Settle(Upgraded, "", "", noon)
	if _, err := done.Release(Driver{"r1", 0}, "ended", noon); !errors.Is(err, ErrOvertaken) {
		t.Errorf("released by a stale driver: %v", err)
	}
	out, err := done.Release(Driver{"r1", 1}, "succeeded", noon.Add(time.Hour))
	if err != nil || out.Held != nil || len(out.Past) != 1 || out.Past[0].Ending != "succeeded" || !out.Past[0].Released() {
		t.Fatalf("got %+v, %v", out, err)
	}
	if again, err := out.Release(Driver{"r1", 1}, "?", noon); err != nil || again.Past[0].Ending != "succeeded" {
		t.Errorf("asked again: %+v, %v", again, err)
	}
	// Who slept through all of that hears who ended it.
	for d, want := range map[Driver]error{{"r1", 0}: ErrOvertaken, {"r1", 1}: ErrNotFound} {
		if _, err := out.Driven(d); !errors.Is(err, want) {
			t.Errorf("%v, when it was given up: got %v, want %v", d, err, want)
		}
	}
	// The same rollout may come back, to undo what it did.
	back := claimedBy(t, out, ask("r1", "eve"))
	if c := back.Held; c.Progress != Upgraded || c.Released() || c.Ending != "" || c.Epoch != 2 || len(back.Past) != 0 {
		t.Errorf("claimed again as %+v", back)
	}
}

func TestPastClaimsAreBounded(t *testing.T) {
	b := Book{}
	for i := range MaxPast + 5 {
		rollout := fmt.Sprint("r", i)
		b = claimedBy(t, b, ask(rollout, "ci"))
		var err error
		if b, err = b.Release(Driver{rollout, b.Epoch}, "", noon); err != nil {
			t.Fatal(err)
		}
	}
	all := b.All()
	if len(all) != MaxPast || all[0].Rollout != "r14" || b.Find("r4") != nil || b.Find("r5") == nil {
		t.Errorf("%d are kept, the first %s", len(all), all[0].Rollout)
	}
	held := claimedBy(t, b, ask("now", "ci"))
	if got := held.All(); got[0].Rollout != "now" || len(got) != MaxPast+1 {
		t.Errorf("the held one is not the first of %d", len(got))
	}
}

func TestControl(t *testing.T) {
	b := claimedBy(t, Book{}, ask("r1", "ci"))
	for i, w := range []Word{
		{Action: Pause, Actor: "bob", Reason: "lunch"}, {Action: Promote, Wave: 3}, {Action: Promote, Wave: 2}, {Action: Resume}, {Action: Pause}, {Action: Abort, Actor: "eve", Reason: "on fire"},
	} {
		var err error
		if b, err = b.Control("r1", w); err != nil || b.Held.Control.Revision != int64(i+1) || b.Held.Control.Paused != (i < 3 || i == 4) {
			t.Fatalf("after %+v: %+v, %v", w, b.Held.Control, err)
		}
	}
	want := Control{PromotedWave: 3, Abort: true, Actor: "eve", Reason: "on fire", Revision: 6}
	if b.Held.Control != want {
		t.Errorf("got %+v, want %+v", b.Held.Control, want)
	}
	if _, err := b.Control("r2", Word{Action: Abort}); !errors.Is(err, ErrNotFound) {
		t.Errorf("another rollout's driver was told: %v", err)
	}
}

// A change that was claimed is not exchanged by whoever claims again.
func TestTheChangeStays(t *testing.T) {
	gate := ask("r1", "ci")
	gate.Change = nil
	b := claimedBy(t, Book{}, gate)
	first, second := ask("r1", "ci"), ask("r1", "ci")
	second.Admin = true // nor is what somebody else has recorded theirs
	first.Change, second.Change = &Change{Artifact: "first"}, &Change{Artifact: "second"}
	b = claimedBy(t, claimedBy(t, b, first), second)
	if b.Held.Change.Artifact != "first" || b.Held.Admin {
		t.Errorf("the change is %+v, by an admin: %v", b.Held.Change, b.Held.Admin)
	}
}

func TestObserve(t *testing.T) {
	up := func(s lifecycle.UpgradeState) *lifecycle.Upgrade {
		return &lifecycle.Upgrade{ID: "u", From: 1, To: 2, State: s, Reason: lifecycle.ReasonReadyTimeout, Message: "as it was"}
	}
	crash := &lifecycle.Upgrade{Kind: lifecycle.KindAutoRollback, State: lifecycle.UpgradeStarting}
	byHand := &lifecycle.Upgrade{Kind: lifecycle.KindRollback, State: lifecycle.UpgradeSucceeded}
	begun := func(p Progress, more ...func(*Claim)) Claim {
		c := Claim{Change: &Change{}, Upgrade: "u", Progress: p}
		for _, m := range more {
			m(&c)
		}
		return c
	}
	undo := func(c *Claim) { c.Undo = true }
	returns := func(c *Claim) { c.Undo, c.Return = true, "back" }
	orphaned := func(c *Claim) { c.Orphaned = true }
	for name, c := range map[string]struct {
		claim  Claim
		facts  Facts
		want   Progress
		reason lifecycle.Reason
	}{
		"without a change":                  {Claim{Progress: Claimed}, Facts{}, Claimed, ""},
		"something is missing":              {Claim{Change: &Change{}, Progress: Claimed}, Facts{Missing: true}, Claimed, ""},
		"all is there":                      {Claim{Change: &Change{}, Progress: Claimed}, Facts{}, Pushed, ""},
		"told to go back before":            {Claim{Progress: Pushed, Undo: true}, Facts{}, RolledBack, lifecycle.ReasonRolledBack},
		"it starts":                         {begun(Pushed), Facts{Upgrade: up(lifecycle.UpgradeStarting)}, Upgrading, ""},
		"a canary":                          {begun(Upgrading), Facts{Upgrade: up(lifecycle.UpgradeCanary)}, Upgrading, ""},
		"it soaks":                          {begun(Upgrading), Facts{Upgrade: up(lifecycle.UpgradeSoaking)}, Soaking, ""},
		"it was promoted":                   {begun(Soaking), Facts{Upgrade: up(lifecycle.UpgradeSucceeded)}, Upgraded, ""},
		"it failed":                         {begun(Upgrading), Facts{Upgrade: up(lifecycle.UpgradeFailed)}, Failed, lifecycle.ReasonReadyTimeout},
		"it failed as it was told to":       {begun(Upgrading, undo), Facts{Upgrade: up(lifecycle.UpgradeFailed)}, Failed, lifecycle.ReasonReadyTimeout},
		"the driver took it back":           {begun(Soaking, undo), Facts{Upgrade: up(lifecycle.UpgradeAborted)}, RolledBack, lifecycle.ReasonRolledBack},
		"nobody drove":                      {begun(Soaking, orphaned), Facts{Upgrade: up(lifecycle.UpgradeAborted)}, Pushed, lifecycle.ReasonOrphaned},
		"an operator aborted it here":       {begun(Soaking), Facts{Upgrade: up(lifecycle.UpgradeAborted)}, Failed, lifecycle.ReasonReadyTimeout},
		"it crashed later":                  {begun(Upgraded), Facts{Upgrade: up(lifecycle.UpgradeSucceeded), Later: crash}, Failed, lifecycle.ReasonCrashLoop},
		"rolled back by hand":               {begun(Upgraded), Facts{Upgrade: up(lifecycle.UpgradeSucceeded), Later: byHand}, RolledBack, lifecycle.ReasonRolledBack},
		"it goes back":                      {begun(Upgraded, returns), Facts{Return: up(lifecycle.UpgradeStarting)}, Returning, lifecycle.ReasonRolledBack},
		"it went back":                      {begun(Returning, returns), Facts{Return: up(lifecycle.UpgradeSucceeded)}, RolledBack, lifecycle.ReasonRolledBack},
		"it could not":                      {begun(Returning, returns), Facts{Return: up(lifecycle.UpgradeFailed)}, Stuck, lifecycle.ReasonReadyTimeout},
		"the history has forgotten it":      {begun(Upgraded), Facts{}, Upgraded, ""},
		"the history has forgotten the way": {begun(Returning, returns), Facts{}, Returning, ""},
		"it has ended, whatever came since": {begun(Failed), Facts{Upgrade: up(lifecycle.UpgradeSoaking)}, Failed, ""},
		"what was said is not taken back":   {begun(Soaking), Facts{Upgrade: up(lifecycle.UpgradeStarting)}, Soaking, ""},
	} {
		t.Run(name, func(t *testing.T) {
			claim := c.claim
			before := claim
			b, moved := Book{Held: &claim}.Observe(c.facts, noon)
			if b.Held.Progress != c.want || b.Held.Reason != c.reason {
				t.Errorf("got %d %q, want %d %q", b.Held.Progress, b.Held.Reason, c.want, c.reason)
			}
			if moved != (b.Held.Revision > before.Revision) {
				t.Errorf("moved %v, revision %d after %d", moved, b.Held.Revision, before.Revision)
			}
			if claim.Progress != before.Progress || claim.Revision != before.Revision {
				t.Error("the book that was looked at has changed")
			}
			if again, moved := b.Observe(c.facts, noon); moved {
				t.Errorf("a second look changes it: %+v", again.Held)
			}
			if ended := []Progress{Upgraded, Failed, RolledBack, Stuck}; before.Progress != c.want && slices.Contains(ended, c.want) == b.Held.EndedAt.IsZero() {
				t.Errorf("ended at %v", b.Held.EndedAt)
			}
		})
	}
}

// What nobody drove may begin once more, as another upgrade.
func TestAnOrphanBeginsAgain(t *testing.T) {
	b := claimedBy(t, Book{}, ask("r1", "ci")).Begun("u1", 1, noon)
	b, _ = b.Observe(Facts{Upgrade: &lifecycle.Upgrade{State: lifecycle.UpgradeSoaking, To: 2}}, noon)
	b, _ = b.Orphan().Observe(Facts{Upgrade: &lifecycle.Upgrade{State: lifecycle.UpgradeAborted, To: 2}}, noon)
	if c := b.Held; c.Progress != Pushed || c.Upgrade != "" || c.Generation != 0 || c.Orphaned {
		t.Fatalf("orphaned as %+v", c)
	}
	b, _ = b.Begun("u2", 1, noon).Observe(Facts{Upgrade: &lifecycle.Upgrade{State: lifecycle.UpgradeStarting, To: 3}}, noon)
	if c := b.Held; c.Progress != Upgrading || c.Upgrade != "u2" || c.Generation != 3 || c.Reason != "" {
		t.Errorf("begun again as %+v", c)
	}
}

func TestSettleTakesNothingBack(t *testing.T) {
	b := claimedBy(t, Book{}, ask("r1", "ci")).Settle(RolledBack, "", "", noon)
	if again := b.Settle(Failed, "WRONG_STATE", "late", noon); again.Held != b.Held {
		t.Errorf("became %+v", again.Held)
	}
}
