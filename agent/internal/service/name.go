package service

import (
	"fmt"
	"regexp"
	"sync"
)

// MaxName bounds a service's or socket's name.
const MaxName = 63

var nameForm = lazily(`\A[a-z0-9]([a-z0-9._-]*[a-z0-9])?\z`)

// CheckName says whether a name is fit for a service or a socket: it becomes a
// file name, a cgroup and part of an environment variable.
func CheckName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("a name is required")
	case len(s) > MaxName:
		return fmt.Errorf("name of %d characters: at most %d", len(s), MaxName)
	case !nameForm().MatchString(s):
		return fmt.Errorf("name %q: use a-z, 0-9, and . _ - between them", s)
	}
	return nil
}

// lazily compiles an expression at its first use: processes that check nothing,
// such as a shim, start in a third less time.
func lazily(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
