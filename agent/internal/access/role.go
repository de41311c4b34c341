package access

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/internal/identity"
)

// Role says what those who have it may do, and where.
type Role struct {
	May []Permission `yaml:"may"`
	// Services are globs of service names (path.Match); none means all.
	Services []string `yaml:"services"`
	// Hosts are selectors of labels, such as "env=prod,zone=b", of which one must
	// hold for this host; none means every host.
	Hosts []string `yaml:"hosts"`
}

// Policy is one host's: what its administrator has written, over the built-in
// roles. It is not changed once it is in use.
type Policy struct {
	Labels map[string]string
	// Roles replace built-in ones of the same name.
	Roles map[string]Role
	// Groups of the host's users, by name, and their roles.
	Groups map[string]string
	// Certificates that say nothing of roles themselves.
	Certificates []Mapping
	// TrustDomain whose identities count.
	TrustDomain string
}

// BuiltinRoles are those that need not be defined: one for each permission, and
// operator.
func BuiltinRoles() map[string]Role {
	out := map[string]Role{"operator": {May: []Permission{Read, Logs, Push, Upgrade, Rollback, Stop}}}
	for _, p := range Permissions() {
		out[string(p)] = Role{May: []Permission{p}}
	}
	return out
}

// Validate says what is wrong with a policy, all of it.
func (p *Policy) Validate() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(p.Roles)) {
		errs = append(errs, validateRole(name, p.Roles[name]))
	}
	for _, group := range slices.Sorted(maps.Keys(p.Groups)) {
		errs = append(errs, p.defined("groups."+group, p.Groups[group]))
	}
	for i, m := range p.Certificates {
		key := fmt.Sprintf("certificates[%d]", i)
		errs = append(errs, p.defined(key, m.Role))
		if m.CommonName == "" && m.Unit == "" {
			errs = append(errs, fmt.Errorf("%s: say a common_name, a unit, or both: without, it is every certificate", key))
		}
	}
	for _, label := range slices.Sorted(maps.Keys(p.Labels)) {
		if label == "" || strings.ContainsAny(label+p.Labels[label], "=, \t\n") {
			errs = append(errs, fmt.Errorf("labels.%s: %q: labels and their values have no space, comma or =", label, p.Labels[label]))
		}
	}
	if p.TrustDomain != "" && !identity.ValidTrustDomain(p.TrustDomain) {
		errs = append(errs, fmt.Errorf("trust_domain: %q is none: use a name such as example.org", p.TrustDomain))
	}
	return errors.Join(errs...)
}

func (p *Policy) defined(key, role string) error {
	if _, ok := p.role(role); !ok {
		return fmt.Errorf("%s: role %q is not defined: define it in roles, or use one of %s", key, role, strings.Join(builtinNames(), ", "))
	}
	return nil
}

func builtinNames() []string { return slices.Sorted(maps.Keys(BuiltinRoles())) }

func validateRole(name string, r Role) error {
	var errs []error
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("roles.%s: "+format, append([]any{name}, args...)...))
	}
	if !identity.ValidName(name) {
		fail("not a name: use 1 to 63 of a-z, 0-9, and . _ - between them")
	}
	if name == identity.AgentRole {
		fail("is what agents are: it cannot be granted anything")
	}
	if len(r.May) == 0 {
		fail("may: is missing: use some of %v", Permissions())
	}
	for _, may := range r.May {
		if !known(may) {
			fail("may: %q is no permission: use some of %v", may, Permissions())
		}
	}
	for _, glob := range r.Services {
		if err := service.CheckGlob(glob); err != nil {
			fail("services: %w", err)
		}
	}
	for _, selector := range r.Hosts {
		if _, err := parseSelector(selector); err != nil {
			fail("hosts: %w", err)
		}
	}
	return errors.Join(errs...)
}

func (p *Policy) role(name string) (Role, bool) {
	if r, ok := p.Roles[name]; ok {
		return r, true
	}
	r, ok := BuiltinRoles()[name]
	return r, ok
}

// here says whether a role holds on this host.
func (p *Policy) here(r Role) bool {
	if len(r.Hosts) == 0 {
		return true
	}
	return slices.ContainsFunc(r.Hosts, func(selector string) bool {
		want, err := parseSelector(selector)
		for label, value := range want {
			if have, ok := p.Labels[label]; !ok || have != value {
				return false
			}
		}
		return err == nil
	})
}

// parseSelector reads "label=value,label=value".
func parseSelector(s string) (map[string]string, error) {
	out := map[string]string{}
	for part := range strings.SplitSeq(s, ",") {
		label, value, ok := strings.Cut(part, "=")
		if !ok || label == "" || strings.ContainsAny(value, "= \t\n") {
			return nil, fmt.Errorf("%q selects nothing: write label=value, several with commas", s)
		}
		out[label] = value
	}
	return out, nil
}
