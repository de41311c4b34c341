package inventory

import (
	"slices"

	"github.com/gracefleet/gracefleet/internal/label"
)

// fits says whether a host has what a condition demands, of its labels or its name.
func (t term) fits(h Host) bool {
	fits := slices.ContainsFunc(h.values(t.key), func(value string) bool {
		return slices.ContainsFunc(t.values, func(pattern string) bool { return match(pattern, value) })
	})
	return fits != t.not
}

// values of a key of selectors; none where the host has no such label.
func (h Host) values(key string) []string {
	switch key {
	case label.Name:
		return []string{h.Name}
	case label.Group:
		return h.Groups
	}
	value, ok := h.Labels[key]
	if !ok {
		return nil
	}
	return []string{value}
}

// match says whether a pattern stands for the whole text: * is any number of
// characters, ? is one. It takes time in proportion to the product of the lengths at most.
func match(pattern, text string) bool {
	p, star, retry := 0, -1, 0
	for i := 0; i < len(text); {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, retry = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[i]):
			p, i = p+1, i+1
		case star >= 0: // the last * takes one more
			retry++
			p, i = star+1, retry
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
