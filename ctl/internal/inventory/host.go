package inventory

import (
	"cmp"
	"regexp"
	"slices"
)

// Bounds of an inventory, wherever it comes from.
const (
	MaxBytes  = 4 << 20 // of its text
	MaxHosts  = 10_000
	maxGroups = 1000
	maxPairs  = 64 // labels, variables or groups of one host or group
	maxVar    = 4096
)

// Host is one host of a fleet, with what it inherits from its groups.
type Host struct {
	// Name is unique in the inventory; reports call the host so.
	Name string
	// Address is HOST:PORT, or unix:PATH.
	Address string
	// AgentID is the identity that the agent's certificate must carry. When it is
	// empty, the certificate must be for the address's host.
	AgentID string
	// Groups, in the order in which they were given.
	Groups []string
	Labels map[string]string
	Vars   map[string]string
}

// Inventory is the hosts of a fleet, by name.
type Inventory struct {
	Hosts []Host
}

// New makes an inventory of hosts whose names differ, and puts them in order.
func New(hosts []Host) *Inventory {
	slices.SortFunc(hosts, func(a, b Host) int { return cmp.Compare(a.Name, b.Name) })
	return &Inventory{Hosts: hosts}
}

// names of the hosts, in order.
func (i *Inventory) names() []string {
	all := make([]string, len(i.Hosts))
	for n, h := range i.Hosts {
		all[n] = h.Name
	}
	return all
}

// What names and values may be, so that a selector can say each of them.
var (
	nameForm = regexp.MustCompile(`\A[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\z`)
	varForm  = regexp.MustCompile(`\A[A-Za-z_][A-Za-z0-9_-]{0,62}\z`)
)

// ValidName says whether a text can be a host's name.
func ValidName(text string) bool { return nameForm.MatchString(text) }
