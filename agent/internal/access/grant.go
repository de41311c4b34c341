package access

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/internal/identity"
)

// Grant is some permissions on some services.
type Grant struct {
	May      []Permission
	Services []string // globs; none means all
}

// Grants are what a caller has on this host.
type Grants []Grant

// Everything is for root.
func Everything() Grants { return Grants{{May: []Permission{Admin}}} }

// Grants are what roles come to on this host. A role that is not defined, or holds
// elsewhere, comes to nothing.
func (p *Policy) Grants(roles ...string) Grants {
	var out Grants
	for _, name := range roles {
		r, ok := p.role(name)
		if ok && name != identity.AgentRole && p.here(r) {
			out = append(out, Grant{May: r.May, Services: r.Services})
		}
	}
	return out
}

func (g Grant) permits(p Permission) bool {
	return slices.Contains(g.May, p) || slices.Contains(g.May, Admin)
}

func (g Grant) covers(name string) bool {
	return len(g.Services) == 0 || service.Matches(g.Services, name)
}

// Allow says whether a permission is granted for a service.
func (gs Grants) Allow(p Permission, service string) bool {
	return slices.ContainsFunc(gs, func(g Grant) bool { return g.permits(p) && g.covers(service) })
}

// AllowSomewhere says whether a permission is granted for any service.
func (gs Grants) AllowSomewhere(p Permission) bool {
	return slices.ContainsFunc(gs, func(g Grant) bool { return g.permits(p) })
}

// AllowEverywhere says whether a permission is granted for all services.
func (gs Grants) AllowEverywhere(p Permission) bool {
	return slices.ContainsFunc(gs, func(g Grant) bool { return g.permits(p) && len(g.Services) == 0 })
}

// String says what is granted.
func (gs Grants) String() string {
	if len(gs) == 0 {
		return "nothing"
	}
	parts := make([]string, len(gs))
	for i, g := range gs {
		may := make([]string, len(g.May))
		for j, p := range g.May {
			may[j] = string(p)
		}
		on := "every service"
		if len(g.Services) > 0 {
			on = strings.Join(g.Services, ", ")
		}
		parts[i] = fmt.Sprintf("%s on %s", strings.Join(may, ", "), on)
	}
	return strings.Join(parts, "; ")
}
