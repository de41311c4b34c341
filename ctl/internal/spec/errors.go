package spec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one mistake in a service file.
type Error struct {
	File string
	// Line and Column count from 1.
	Line, Column int
	// Key is the key's path, such as "sockets[0].listen"; empty for the file
	// as a whole.
	Key    string
	Reason string
}

// Error is "file:line:col: key: reason", as compilers write it.
func (e *Error) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Reason)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", e.File, e.Line, e.Column, e.Key, e.Reason)
}

// Errors is everything that is wrong with a service file, in its order.
type Errors []*Error

// Error has one line per mistake.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return e
}

// choose words what is allowed instead of a wrong word: the one that was
// probably meant, or else all of them.
func choose(word string, allowed []string) string {
	best, distance := "", len(word)/3+1
	for _, a := range allowed {
		if n := edits(word, a); n <= distance && n < len(a) {
			best, distance = a, n-1
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "use one of " + strings.Join(allowed, ", ")
}

// edits counts the insertions, deletions and replacements between two words.
func edits(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, above+1, row[j]+1)
			diagonal = above
		}
	}
	return row[len(b)]
}
