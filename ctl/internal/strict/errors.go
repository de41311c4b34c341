package strict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one mistake in a file.
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

// Errors is everything that is wrong with a file, in its order.
type Errors []*Error

// maxLines is how many mistakes somebody reads at once.
const maxLines = 50

// Error has one line per mistake, and of many the first.
func (e Errors) Error() string {
	lines := make([]string, 0, maxLines+1)
	for i, err := range e {
		if i == maxLines {
			lines = append(lines, fmt.Sprintf("%s: %d more mistakes", err.File, len(e)-i))
			break
		}
		lines = append(lines, err.Error())
	}
	return strings.Join(lines, "\n")
}

func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return e
}

// Choose words what is allowed instead of a wrong word: the one that was
// probably meant, or else all of them.
func Choose(word string, allowed []string) string {
	if near := Near(word, allowed, 1); len(near) > 0 {
		return fmt.Sprintf("did you mean %q?", near[0])
	}
	return "use one of " + strings.Join(allowed, ", ")
}

// Near are the words among others that were probably meant, at most so many, the
// nearest first.
func Near(word string, others []string, most int) []string {
	type found struct {
		word     string
		distance int
	}
	var near []found
	for _, o := range others {
		if n := edits(word, o); n <= len(word)/3+1 && n < len(o) {
			near = append(near, found{o, n})
		}
	}
	slices.SortStableFunc(near, func(a, b found) int { return cmp.Compare(a.distance, b.distance) })
	words := make([]string, 0, most)
	for _, f := range near[:min(most, len(near))] {
		words = append(words, f.word)
	}
	return words
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
