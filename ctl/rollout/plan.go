package rollout

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxHosts is how many hosts a rollout can have. Long names fill a Spec earlier.
const maxHosts = 20000

// maxName is the longest name of a host, in bytes; DNS has the same.
const maxName = 253

// Host is one host that a rollout is meant for.
type Host struct {
	Name   string
	Labels map[string]string
	// Release is which of the rollout's releases the host gets.
	Release int
}

// Canary says which hosts go first. The zero Canary is none.
type Canary struct {
	// Amount is how many, the first in order.
	Amount Amount
	// Hosts are the ones themselves, of which all must be targets; then Amount does
	// not count.
	Hosts []string
}

// Shape is what an operator says about the order of hosts.
type Shape struct {
	Canary Canary
	Waves  Waves
	// Spread is a label: hosts of two of its values are never upgraded at the same
	// time. Empty when that does not matter.
	Spread string
}

// Target is a host in its place.
type Target struct {
	Name string `json:"name"`
	// Zone is the host's value of the label by which the rollout is spread.
	Zone string `json:"zone,omitempty"`
	// Release is an index of Spec.Releases.
	Release int `json:"release,omitempty"`
}

// Plan is the order in which hosts are reached. It follows from the hosts' names
// and labels and from what was asked alone: never from what hosts run or whether
// they answer, so that the same command has the same plan at any time.
type Plan struct {
	// Targets are all hosts, in order.
	Targets []Target `json:"targets"`
	// Waves says how many targets each wave has, in order.
	Waves []int `json:"waves"`
	// Canary says that the first wave is the canary.
	Canary bool `json:"canary,omitempty"`
}

// Arrange plans a rollout: the canary first, then by zone where that is asked for,
// then by name. The order of hosts as given does not matter.
func Arrange(hosts []Host, shape Shape) (Plan, error) {
	switch {
	case len(hosts) == 0:
		return Plan{}, errors.New("no host is meant: a rollout needs one at least")
	case len(hosts) > maxHosts:
		return Plan{}, fmt.Errorf("%d hosts are more than a rollout can have: at most %d", len(hosts), maxHosts)
	}
	if err := shape.Waves.validate(); err != nil {
		return Plan{}, err
	}
	targets := make([]Target, len(hosts))
	var unlabelled []string
	for i, h := range hosts {
		targets[i] = Target{Name: h.Name, Release: h.Release}
		if err := checkName(h.Name); err != nil {
			return Plan{}, err
		}
		if shape.Spread == "" {
			continue
		}
		if targets[i].Zone = h.Labels[shape.Spread]; targets[i].Zone == "" {
			unlabelled = append(unlabelled, h.Name)
		}
	}
	if len(unlabelled) > 0 {
		return Plan{}, fmt.Errorf("spread by %s: %s no such label", quote(shape.Spread), have(unlabelled))
	}
	slices.SortFunc(targets, func(a, b Target) int {
		return cmp.Or(strings.Compare(a.Zone, b.Zone), strings.Compare(a.Name, b.Name))
	})
	if err := distinct(targets); err != nil {
		return Plan{}, err
	}
	canary, err := shape.Canary.first(targets)
	if err != nil {
		return Plan{}, err
	}
	return Plan{Targets: targets, Waves: shape.Waves.sizes(len(targets), canary), Canary: canary > 0}, nil
}

// first brings the canary to the front and says how many hosts it has.
func (c Canary) first(targets []Target) (int, error) {
	if len(c.Hosts) == 0 {
		return c.Amount.Reaches(len(targets)), nil
	}
	chosen := make(map[string]bool, len(c.Hosts))
	for _, name := range c.Hosts {
		chosen[name] = true
	}
	size := len(chosen)
	rest := make([]Target, 0, len(targets))
	front := targets[:0]
	for _, t := range targets {
		if !chosen[t.Name] {
			rest = append(rest, t)
			continue
		}
		front = append(front, t)
		delete(chosen, t.Name)
	}
	if len(chosen) > 0 {
		return 0, fmt.Errorf("canary: %s no place among the targets", have(slices.Sorted(maps.Keys(chosen))))
	}
	copy(targets[size:], rest)
	return size, nil
}

// have says of some names that they have something: the first ones, and how many
// more.
func have(names []string) string {
	const shown = 3
	slices.Sort(names)
	for i, n := range names[:min(shown, len(names))] {
		names[i] = quote(n)
	}
	switch {
	case len(names) == 1:
		return names[0] + " has"
	case len(names) <= shown:
		return strings.Join(names, ", ") + " have"
	}
	return fmt.Sprintf("%s and %d more have", strings.Join(names[:shown], ", "), len(names)-shown)
}

func distinct(targets []Target) error {
	seen := make(map[string]bool, len(targets))
	for _, t := range targets {
		if seen[t.Name] {
			return fmt.Errorf("host %s is meant twice", t.Name)
		}
		seen[t.Name] = true
	}
	return nil
}

func checkName(name string) error {
	if name == "" || len(name) > maxName || !printable(name) || strings.ContainsAny(name, " ,") {
		return fmt.Errorf("host name %s: want 1 to %d bytes without blanks and commas", quote(name), maxName)
	}
	return nil
}

// printable says that text is UTF-8 and does nothing to a terminal.
func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// Wave is which wave the target with an index belongs to, both from 0.
func (p Plan) Wave(index int) int {
	for w, size := range p.Waves {
		if index < size {
			return w
		}
		index -= size
	}
	return len(p.Waves)
}

func (p Plan) validate() error {
	if len(p.Targets) == 0 || len(p.Targets) > maxHosts {
		return fmt.Errorf("%d hosts: want 1 to %d", len(p.Targets), maxHosts)
	}
	for _, t := range p.Targets {
		if err := checkName(t.Name); err != nil {
			return err
		}
		if len(t.Zone) > maxName || !printable(t.Zone) {
			return fmt.Errorf("host %s: zone %s: want at most %d bytes", t.Name, quote(t.Zone), maxName)
		}
	}
	left := len(p.Targets)
	for _, size := range p.Waves {
		if size < 1 || size > left {
			return fmt.Errorf("a wave of %d hosts where %d are left", size, left)
		}
		left -= size
	}
	if left > 0 {
		return fmt.Errorf("%d hosts are in no wave", left)
	}
	return distinct(p.Targets)
}
