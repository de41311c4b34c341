package service

import "strings"

// Violation is one rule that a field breaks.
type Violation struct {
	// Field is the key in the service file, such as "sockets[0].listen".
	Field  string
	Reason string
}

// InvalidError lists everything that is wrong with a specification, at once.
type InvalidError struct {
	Violations []Violation
}

func (e *InvalidError) Error() string {
	parts := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		parts[i] = v.Field + ": " + v.Reason
	}
	return strings.Join(parts, "; ")
}
