package claim

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/gracefleet/gracefleet/agent/internal/lifecycle"
)

// takenBack are the reports that the contract lets an agent take back, each with how.
var takenBack = map[[2]Progress]string{
	{Upgrading, Pushed}:    "the policy for orphans",
	{Soaking, Pushed}:      "the policy for orphans",
	{Upgraded, Failed}:     "a crash loop",
	{Upgraded, RolledBack}: "an operator, or the driver by a weight",
}

// rank orders the stages that a host goes through.
var rank = map[Progress]int{
	Claimed: 1, Pushed: 2, Upgrading: 3, Soaking: 4, Upgraded: 5,
	Returning: 6, Unchanged: 7, Failed: 7, RolledBack: 7, Stuck: 7,
}

// Whatever drivers, operators and upgrades do, in whatever order: epochs only rise, who
// was overtaken changes nothing, and what was reported stands.
func TestBook(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &walker{facts: Facts{Missing: true}}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			before := w.book
			w.step(t)
			w.check(t, before)
		}
	})
}

type walker struct {
	book  Book
	facts Facts
}

func (w *walker) driver(t *rapid.T) Driver {
	return Driver{
		Rollout: rapid.SampledFrom([]string{"r1", "r2"}).Draw(t, "rollout"),
		Epoch:   rapid.Int64Range(max(0, w.book.Epoch-2), w.book.Epoch+1).Draw(t, "epoch"),
	}
}

func (w *walker) step(t *rapid.T) {
	d := w.driver(t)
	held := w.book.Held
	stale := held == nil || held.Rollout != d.Rollout || held.Epoch != d.Epoch
	drivers := map[string]func(){
		"renew":   func() { w.book, _ = w.book.Renew(d) },
		"release": func() { w.book, _ = w.book.Release(d, "ended", noon) },
	}
	name := rapid.SampledFrom([]string{"claim", "renew", "release", "lease ended", "begin", "undo", "orphan", "facts", "control", "settle"}).Draw(t, "step")
	if rapid.Bool().Draw(t, "forward") {
		name = w.forward() // else few walks would get far
	}
	switch act := drivers[name]; {
	case act != nil:
		was := w.book
		act()
		if stale && !reflect.DeepEqual(was, w.book) {
			t.Fatalf("%s by %v, who is not the driver, has changed %+v to %+v", name, d, was, w.book)
		}
	case name == "claim":
		a := ask(d.Rollout, rapid.SampledFrom([]string{"ci", "eve"}).Draw(t, "driver"))
		a.TakeOver, a.Epoch = rapid.Bool().Draw(t, "take over"), d.Epoch
		w.book, _ = w.book.Claim(a, noon)
	case held == nil:
	case name == "lease ended":
		w.book = w.book.LeaseEnded()
	case name == "control":
		w.book, _ = w.book.Control(d.Rollout, Word{Action: Action(rapid.IntRange(1, 4).Draw(t, "action")), Wave: 1})
	case name == "settle":
		p := rapid.SampledFrom([]Progress{Unchanged, Failed, RolledBack, Stuck}).Draw(t, "settled")
		if held.Progress.Waiting() || p == Stuck || p == RolledBack {
			w.book = w.book.Settle(p, "WHY", "why", noon)
		}
	case name == "begin" && held.Progress == Pushed, name == "begin" && held.Progress == Upgraded && held.Undo && held.Return == "":
		w.book = w.book.Begun("u", 1, noon)
		w.facts = Facts{Upgrade: w.facts.Upgrade}
		if held.Undo {
			w.facts.Return = &lifecycle.Upgrade{State: lifecycle.UpgradeStarting, To: 3}
		} else {
			w.facts.Upgrade = &lifecycle.Upgrade{State: lifecycle.UpgradeStarting, To: 2}
		}
		w.observe()
	case name == "undo" && !held.Progress.Over():
		w.book = w.book.Undo()
	case name == "orphan" && held.Upgrade != "" && w.facts.Upgrade != nil && !w.facts.Upgrade.State.Ended() && !held.Leased:
		w.book = w.book.Orphan()
		w.facts.Upgrade = &lifecycle.Upgrade{State: lifecycle.UpgradeAborted, To: 2}
		w.observe()
	case name == "facts":
		w.move(t)
		w.observe()
	}
}

// forward is what moves a rollout on.
func (w *walker) forward() string {
	switch c := w.book.Held; {
	case c == nil:
		return "claim"
	case c.Progress == Pushed:
		return "begin"
	}
	return "facts"
}

// move has upgrades go on as they do, or be told of in no order at all.
func (w *walker) move(t *rapid.T) {
	w.facts.Missing = false
	first := lifecycle.UpgradeStarting
	wild := rapid.Bool().Draw(t, "wild")
	for _, u := range []**lifecycle.Upgrade{&w.facts.Upgrade, &w.facts.Return} {
		if *u == nil || (*u).State.Ended() && !wild {
			continue
		}
		if !wild {
			first = (*u).State
		}
		next := lifecycle.UpgradeState(rapid.IntRange(int(first), int(lifecycle.UpgradeAborted)).Draw(t, "state"))
		*u = &lifecycle.Upgrade{State: next, To: (*u).To, Reason: "WHY"}
	}
	if u := w.facts.Upgrade; u != nil && u.State == lifecycle.UpgradeSucceeded && rapid.Bool().Draw(t, "back") {
		kind := rapid.SampledFrom([]lifecycle.Kind{lifecycle.KindRollback, lifecycle.KindAutoRollback}).Draw(t, "kind")
		w.facts.Later = &lifecycle.Upgrade{Kind: kind, State: lifecycle.UpgradeSucceeded}
	}
}

func (w *walker) observe() { w.book, _ = w.book.Observe(w.facts, noon) }

func (w *walker) check(t *rapid.T, before Book) {
	if w.book.Epoch < before.Epoch {
		t.Fatalf("the epoch fell from %d to %d", before.Epoch, w.book.Epoch)
	}
	if len(w.book.Past) > MaxPast {
		t.Fatalf("%d past claims are kept", len(w.book.Past))
	}
	now, was := w.book.Held, before.Held
	if now == nil {
		return
	}
	if now.Epoch > w.book.Epoch {
		t.Fatalf("the lease's epoch is %d, the book's %d", now.Epoch, w.book.Epoch)
	}
	if was == nil || was.Rollout != now.Rollout {
		if known := before.Find(now.Rollout); known != nil && (known.Progress != now.Progress || now.Epoch <= known.Epoch) {
			t.Fatalf("taken again: %+v, and was %+v", now, known)
		}
		w.facts = Facts{Missing: true} // of another claim
		return
	}
	if !reflect.DeepEqual(was, now) && now.Revision <= was.Revision {
		t.Fatalf("the revision does not rise from %d: %+v became %+v", was.Revision, was, now)
	}
	back := rank[now.Progress] < rank[was.Progress] || was.Progress == Upgraded
	if now.Progress != was.Progress && back && takenBack[[2]Progress{was.Progress, now.Progress}] == "" && now.Progress != Returning && now.Progress != Stuck {
		t.Fatalf("%d was reported, and is taken back to %d", was.Progress, now.Progress)
	}
	if was.Progress.Over() && now.Progress != was.Progress {
		t.Fatalf("%d had ended, and became %d", was.Progress, now.Progress)
	}
	if !was.Orphaned && now.Progress == Pushed && was.Progress.Moving() && now.Reason != lifecycle.ReasonOrphaned {
		t.Fatalf("taken back without a reason: %+v", now)
	}
}
