package lifecycle

import "strconv"

// nameOf is the name of a stored number; one of a newer agent's record has none.
func nameOf(n int, names ...string) string {
	if n < len(names) {
		return names[n]
	}
	return strconv.Itoa(n)
}
