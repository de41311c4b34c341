package inventory

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gracefleet/gracefleet/ctl/internal/strict"
	"github.com/gracefleet/gracefleet/internal/label"
)

// Choice is what somebody asks for.
type Choice struct {
	// Hosts that any of these selectors means; none means all.
	Hosts []Selector
	// Limit leaves of them those that any of its selectors means; none leaves all.
	Limit []Selector
	// Sets is asked for sets; without it they are errors.
	Sets Sets
}

// Sets returns the names of the hosts that @WORD:ARGUMENT stands for.
type Sets func(word, argument string) ([]string, error)

// Choose returns the hosts that are asked for, by name. Nothing is an error, and so is a
// selector, or a name in one, that fits no host: it is misspelt more often than
// meant. The error says what there is instead.
func (i *Inventory) Choose(c Choice) ([]Host, error) {
	if len(i.Hosts) == 0 {
		return nil, errors.New("the inventory has no hosts")
	}
	hosts := i.Hosts
	for _, selectors := range [][]Selector{c.Hosts, c.Limit} {
		if len(selectors) == 0 {
			continue
		}
		meant, err := i.anyOf(selectors, c.Sets)
		if err != nil {
			return nil, err
		}
		hosts = slices.DeleteFunc(slices.Clone(hosts), func(h Host) bool { return !meant[h.Name] })
	}
	if len(hosts) == 0 {
		return nil, fmt.Errorf("the limit %s leaves none of the hosts of %s", texts(c.Limit), texts(c.Hosts))
	}
	return hosts, nil
}

// anyOf are the names of the hosts that any of the selectors means.
func (i *Inventory) anyOf(selectors []Selector, sets Sets) (map[string]bool, error) {
	all := map[string]bool{}
	for _, s := range selectors {
		names, err := i.meant(s, sets)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			all[name] = true
		}
	}
	return all, nil
}

// meant are the names of the hosts that a selector means.
func (i *Inventory) meant(s Selector, sets Sets) ([]string, error) {
	picked, err := i.picked(s.picks, sets)
	if err != nil {
		return nil, err
	}
	for _, t := range s.conditions {
		if _, err := i.named(t); t.key == label.Name && err != nil {
			return nil, err // an exception that excepts nobody
		}
	}
	var names []string
	for _, h := range i.Hosts {
		fits := !slices.ContainsFunc(s.conditions, func(t term) bool { return !t.fits(h) })
		if fits && (len(s.picks) == 0 || picked[h.Name]) {
			names = append(names, h.Name)
		}
	}
	if len(names) == 0 {
		return nil, i.nothing(s)
	}
	return names, nil
}

// picked are the names that names and sets stand for.
func (i *Inventory) picked(picks []term, sets Sets) (map[string]bool, error) {
	picked := map[string]bool{}
	for _, t := range picks {
		names, err := i.named(t)
		if t.set {
			names, err = i.set(t, sets)
		}
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			picked[name] = true
		}
	}
	return picked, nil
}

// named are the hosts' names that a term has; each of its patterns fits one.
func (i *Inventory) named(t term) ([]string, error) {
	if t.key != label.Name {
		return nil, nil
	}
	var names []string
	for _, pattern := range t.values {
		before := len(names)
		for _, h := range i.Hosts {
			if match(pattern, h.Name) {
				names = append(names, h.Name)
			}
		}
		if len(names) == before {
			return nil, fmt.Errorf("no host is called %s: %s", pattern, instead(pattern, i.names()))
		}
	}
	return names, nil
}

// set asks for the names of a set. A host that has left the inventory is not left out
// silently.
func (i *Inventory) set(t term, sets Sets) ([]string, error) {
	if sets == nil {
		return nil, fmt.Errorf("%s: nothing here knows such sets: name the hosts", t)
	}
	names, err := sets(t.key, t.values[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	all := i.names()
	for _, name := range names {
		if _, ok := slices.BinarySearch(all, name); !ok {
			return nil, fmt.Errorf("%s has the host %s, which the inventory has no longer: name the others instead", t, name)
		}
	}
	return names, nil
}

// nothing says why a selector fits no host.
func (i *Inventory) nothing(s Selector) error {
	for _, t := range s.conditions {
		if slices.ContainsFunc(i.Hosts, t.fits) {
			continue
		}
		values := map[string]bool{}
		for _, h := range i.Hosts {
			for _, v := range h.values(t.key) {
				values[v] = true
			}
		}
		switch {
		case t.not:
			return fmt.Errorf("no host fits %s: all have it", t)
		case len(values) == 0:
			return fmt.Errorf("no host fits %s: none has the label %s: %s", t, t.key, instead(t.key, i.keys()))
		}
		return fmt.Errorf("no host fits %s: %s", t, instead(strings.Join(t.values, ","), slices.Sorted(maps.Keys(values))))
	}
	return fmt.Errorf("no host fits all of %s: each part alone has some", s)
}

// keys are what hosts can be selected by.
func (i *Inventory) keys() []string {
	keys := map[string]bool{label.Name: true, label.Group: true}
	for _, h := range i.Hosts {
		for k := range h.Labels {
			keys[k] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

// instead names what was probably meant, or else some of what there is.
func instead(word string, others []string) string {
	const few = 3
	if near := strict.Near(word, others, few); len(near) > 0 {
		return "did you mean " + strings.Join(near, ", ") + "?"
	}
	if len(others) > few {
		return fmt.Sprintf("there are %s and %d more", strings.Join(others[:few], ", "), len(others)-few)
	}
	return "there is " + strings.Join(others, ", ")
}

func texts(selectors []Selector) string {
	if len(selectors) == 0 {
		return "the inventory"
	}
	all := make([]string, len(selectors))
	for i, s := range selectors {
		all[i] = s.String()
	}
	return strings.Join(all, " or ")
}
