package lifecycle

import "slices"

// Durable says whether the change from a to b must be written before anyone
// acts on it. What the running processes know themselves (their instance,
// whether they run) need not be.
func Durable(a, b State) bool {
	if a.Halted != b.Halted || a.Promoted != b.Promoted || a.LastNumber != b.LastNumber || a.LastSlot != b.LastSlot {
		return true
	}
	if durableUpgrade(a.Upgrade) != durableUpgrade(b.Upgrade) {
		return true
	}
	return !slices.EqualFunc(a.Generations, b.Generations, func(x, y Generation) bool {
		return x.Number == y.Number && x.Slot == y.Slot && x.State == y.State && x.Phase == y.Phase && x.Program == y.Program
	})
}

type upgradeKey struct {
	id    string
	state UpgradeState
	step  int
	hold  bool
	soaks bool
}

func durableUpgrade(u *Upgrade) upgradeKey {
	if u == nil {
		return upgradeKey{}
	}
	return upgradeKey{u.ID, u.State, u.Step, u.HoldDone, u.Plan.HoldSoak}
}

// GivesBack says whether b takes new connections from a generation that has yet
// to prove itself and returns them to one that is proven and serves: that is
// done first and written down after.
func GivesBack(a, b State) bool {
	if !a.Upgrading() || b.Upgrading() || b.Upgrade == nil || b.Upgrade.ID != a.Upgrade.ID {
		return false
	}
	from := b.Generation(b.Upgrade.From)
	return b.Upgrade.State != UpgradeSucceeded && from != nil && from.serves()
}
