package inventory

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gracefleet/gracefleet/internal/label"
)

// maxExpanded bounds in bytes what a text with placeholders may become.
const maxExpanded = 1 << 20

// Expand puts what the inventory says of the host into a text: {host.name},
// {host.address}, without the agent's port, {host.labels.KEY} and {host.vars.NAME}.
// Other braces stay as they are, also in what was put in. What the host does not have
// is an error.
func (h Host) Expand(text string) (string, error) {
	const begin = "{host."
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, begin)
		out.WriteString(before)
		if !found {
			break
		}
		word, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", fmt.Errorf("%s... has no closing brace", begin)
		}
		value, err := h.value(word)
		if err != nil {
			return "", fmt.Errorf("%s%s} on host %s: %w", begin, word, h.Name, err)
		}
		out.WriteString(value)
		if out.Len() > maxExpanded {
			return "", fmt.Errorf("a text of more than %d bytes on host %s", maxExpanded, h.Name)
		}
		text = after
	}
	return out.String(), nil
}

// value is what a word after "host." stands for.
func (h Host) value(word string) (string, error) {
	kind, name, _ := strings.Cut(word, ".")
	pairs := h.Vars
	switch {
	case word == label.Name:
		return h.Name, nil
	case word == "address":
		return h.bracketed(), nil
	case kind == "labels":
		pairs = h.Labels
	case kind != "vars":
		return "", fmt.Errorf("want {host.name}, {host.address}, {host.vars.NAME} or {host.labels.KEY}")
	}
	value, ok := pairs[name]
	switch {
	case ok:
		return value, nil
	case len(pairs) == 0:
		return "", fmt.Errorf("it has no %s", kind)
	}
	return "", fmt.Errorf("it has no such one: %s", instead(name, slices.Sorted(maps.Keys(pairs))))
}

// Place is the address without the agent's port, and without the brackets of IPv6; a
// socket's as it is.
func (h Host) Place() string {
	if place, ok := strings.CutPrefix(h.bracketed(), "["); ok {
		return strings.TrimSuffix(place, "]")
	}
	return h.bracketed()
}

// bracketed is the place such that a port may follow.
func (h Host) bracketed() string {
	if end := strings.LastIndexByte(h.Address, ':'); end > 0 && !strings.HasPrefix(h.Address, "unix:") {
		return h.Address[:end]
	}
	return h.Address
}
