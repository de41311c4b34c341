package lifecycle

import (
	"cmp"
	"slices"
)

// Past is what the history says of one generation.
type Past struct {
	Number int
	// RollbackOf is the generation it restored; 0 when it is an original.
	RollbackOf int
	// Good generations were promoted and not rolled back from.
	Good     bool
	Artifact string
	Version  string
}

// Query is what a rollback asks for; the zero Query is one step back.
type Query struct {
	Number   int
	Back     int
	Artifact string
	Version  string
}

// RollbackTarget is the good generation that a rollback from the active one
// returns to. A rollback stands where its source stood: after 8 went back to 7
// as 9, one step back from 9 is what came before 7. ok is false when there is
// none; active is true when the answer is what already runs.
func RollbackTarget(history []Past, current int, q Query) (number int, active, ok bool) {
	byNumber := make(map[int]Past, len(history))
	for _, p := range history {
		byNumber[p.Number] = p
	}
	origin := func(n int) int {
		for byNumber[n].RollbackOf != 0 {
			n = byNumber[n].RollbackOf
		}
		return n
	}
	here := origin(current)
	if q.Number != 0 {
		p, known := byNumber[q.Number]
		n := origin(q.Number)
		return n, n == here, known && (p.Good || byNumber[n].Good)
	}
	good := slices.DeleteFunc(slices.Clone(history), func(p Past) bool { return !p.Good || p.RollbackOf != 0 })
	slices.SortFunc(good, func(a, b Past) int { return cmp.Compare(b.Number, a.Number) })
	back := max(q.Back, 1)
	for _, p := range good {
		switch {
		case q.Artifact != "" || q.Version != "":
			if (q.Artifact == "" || p.Artifact == q.Artifact) && (q.Version == "" || p.Version == q.Version) {
				return p.Number, p.Number == here, true
			}
		case p.Number < here:
			if back--; back == 0 {
				return p.Number, false, true
			}
		}
	}
	return 0, false, false
}
