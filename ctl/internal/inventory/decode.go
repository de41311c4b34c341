package inventory

import (
	"fmt"
	"maps"
	"slices"

	"github.com/gracefleet/gracefleet/ctl/internal/strict"
	"github.com/gracefleet/gracefleet/internal/identity"
	"github.com/gracefleet/gracefleet/internal/label"
)

// Parse reads the inventory called name, YAML or JSON. Its error is a strict.Errors
// with every mistake.
func Parse(name string, data []byte) (*Inventory, error) {
	d := &decoder{groups: map[string]group{}}
	err := strict.Decode(name, data, MaxBytes, d.file)
	if err != nil {
		return nil, err
	}
	hosts := make([]Host, len(d.hosts))
	for i, e := range d.hosts {
		hosts[i] = e.host
	}
	return New(hosts), nil
}

// decoder reads the keys of one inventory.
type decoder struct {
	*strict.Decoder
	groups map[string]group
	hosts  []entry
}

// group is what hosts inherit.
type group struct {
	labels, vars map[string]string
}

// entry is a host as it was written, with its places.
type entry struct {
	host   Host
	groups []strict.Value
	at     strict.Value
	seen   map[string]strict.Value
}

func (d *decoder) file(s *strict.Decoder, v strict.Value) {
	d.Decoder = s
	seen := d.Object(v, []strict.Field{{"hosts", d.readHosts}, {"groups", d.readGroups}})
	d.Required(v, seen, "hosts")
	// Groups may come after the hosts that are in them.
	for i := range d.hosts {
		d.inherit(&d.hosts[i])
	}
	d.differ()
}

func (d *decoder) readGroups(v strict.Value) {
	d.Entries(v, func(name string, at, val strict.Value) {
		switch {
		case !nameForm.MatchString(name):
			d.Fail(at, "%q is not a name: use letters, digits, and . _ - between them", name)
			return
		case len(d.groups) == maxGroups:
			d.Fail(at, "more than %d groups", maxGroups)
			return
		}
		var g group
		d.Object(val, []strict.Field{
			{"labels", d.pairsOf(&g.labels, d.label)},
			{"vars", d.pairsOf(&g.vars, d.variable)},
		})
		d.groups[name] = g
	})
}

func (d *decoder) readHosts(v strict.Value) {
	count := 0
	d.List(v, func(v strict.Value) {
		if count++; count > MaxHosts {
			if count == MaxHosts+1 {
				d.Fail(v, "more than %d hosts", MaxHosts)
			}
			return
		}
		e := entry{at: v}
		h := &e.host
		e.seen = d.Object(v, []strict.Field{
			{"name", strict.ParsedOf(d.Decoder, &h.Name, parseName)},
			{"address", strict.ParsedOf(d.Decoder, &h.Address, ParseAddress)},
			{"agent_id", strict.ParsedOf(d.Decoder, &h.AgentID, parseIdentity)},
			{"groups", d.groupsOf(&e)},
			{"labels", d.pairsOf(&h.Labels, d.label)},
			{"vars", d.pairsOf(&h.Vars, d.variable)},
		})
		d.Required(v, e.seen, "name")
		d.defaultAddress(&e)
		d.hosts = append(d.hosts, e)
	})
}

func parseName(text string) (string, error) {
	if !nameForm.MatchString(text) {
		return "", fmt.Errorf("%q is not a name: use 1 to 253 letters and digits, and . _ - between them", text)
	}
	return text, nil
}

// defaultAddress is the host's name.
func (d *decoder) defaultAddress(e *entry) {
	if _, given := e.seen["address"]; given || e.host.Name == "" {
		return
	}
	address, err := ParseAddress(e.host.Name)
	if err != nil {
		d.Fail(e.at, "the key address is missing, and the name cannot be looked up: %v", err)
		return
	}
	e.host.Address = address
}

func parseIdentity(text string) (string, error) {
	id, err := identity.Parse(text)
	if err != nil || !id.Agent() {
		return "", fmt.Errorf("%q is not an agent's identity: want spiffe://TRUST-DOMAIN/gracefleet/agent/NAME", text)
	}
	return text, nil
}

func (d *decoder) groupsOf(e *entry) func(strict.Value) {
	return func(v strict.Value) {
		d.List(v, func(each strict.Value) {
			s, ok := d.Text(each)
			switch {
			case !ok:
			case slices.Contains(e.host.Groups, s):
				d.Fail(each, "%q is in the list already", s)
			case len(e.host.Groups) == maxPairs:
				d.Fail(each, "more than %d groups of one host", maxPairs)
			default:
				e.host.Groups = append(e.host.Groups, s)
				e.groups = append(e.groups, each)
			}
		})
	}
}

// pairsOf reads names and texts into p; check reports what must not be one.
func (d *decoder) pairsOf(p *map[string]string, check func(key, value string, at, val strict.Value) bool) func(strict.Value) {
	return func(v strict.Value) {
		*p = map[string]string{}
		d.Entries(v, func(key string, at, val strict.Value) {
			s, ok := d.Text(val)
			switch {
			case !ok || !check(key, s, at, val):
			case len(*p) == maxPairs:
				d.Fail(at, "more than %d in one place", maxPairs)
			default:
				(*p)[key] = s
			}
		})
	}
}

func (d *decoder) label(key, value string, at, val strict.Value) bool {
	switch {
	case label.Reserved(key):
		d.Fail(at, "every host has a %s by itself: call the label otherwise", key)
	case !label.ValidKey(key):
		d.Fail(at, "%q is not a label: use 1 to 63 letters and digits, and . _ - / between them", key)
	case !label.ValidValue(value):
		d.Fail(val, "%q is not a label's value: use up to 128 letters, digits and . _ - : / @ +, so that selectors can say it; vars take any text", value)
	default:
		return true
	}
	return false
}

func (d *decoder) variable(key, value string, at, val strict.Value) bool {
	switch {
	case !varForm.MatchString(key):
		d.Fail(at, "%q is not a variable: use 1 to 63 letters, digits, _ and -, the first a letter or _", key)
	case len(value) > maxVar:
		d.Fail(val, "text of %d bytes: at most %d", len(value), maxVar)
	default:
		return true
	}
	return false
}

// inherit gives a host what its groups have: of two groups the later one counts, and
// before all of them the host itself.
func (d *decoder) inherit(e *entry) {
	labels, vars := map[string]string{}, map[string]string{}
	for i, name := range e.host.Groups {
		g, ok := d.groups[name]
		if !ok {
			d.Fail(e.groups[i], "unknown group %q: %s", name, d.otherGroups(name))
			continue
		}
		maps.Copy(labels, g.labels)
		maps.Copy(vars, g.vars)
	}
	maps.Copy(labels, e.host.Labels)
	maps.Copy(vars, e.host.Vars)
	if len(labels) > maxPairs || len(vars) > maxPairs {
		d.Fail(e.at, "%d labels and %d vars with those of its groups: at most %d each", len(labels), len(vars), maxPairs)
	}
	e.host.Labels, e.host.Vars = labels, vars
}

func (d *decoder) otherGroups(name string) string {
	if len(d.groups) == 0 {
		return "the key groups is missing"
	}
	return strict.Choose(name, slices.Sorted(maps.Keys(d.groups)))
}

// differ reports hosts that cannot be told apart, or would be reached twice.
func (d *decoder) differ() {
	for _, by := range []struct {
		key string
		of  func(Host) string
		why string
	}{
		{"name", func(h Host) string { return h.Name }, "names tell hosts apart"},
		{"address", func(h Host) string { return h.Address }, "an agent is on one host"},
		{"agent_id", func(h Host) string { return h.AgentID }, "an identity is one agent's"},
	} {
		first := map[string]int{}
		for i, e := range d.hosts {
			text := by.of(e.host)
			if text == "" {
				continue
			}
			if n, ok := first[text]; ok {
				d.Fail(placeOf(e, by.key), "hosts[%d] has %q too: %s", n, text, by.why)
				continue
			}
			first[text] = i
		}
	}
}

// placeOf is where a key of a host is, or else the host.
func placeOf(e entry, key string) strict.Value {
	if v, ok := e.seen[key]; ok {
		return v
	}
	return e.at
}
