package service

import (
	"fmt"
	"path"
	"regexp"
	"slices"
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

// CheckGlob says whether a text is a pattern of names, as path.Match has them.
func CheckGlob(glob string) error {
	if _, err := path.Match(glob, ""); err != nil || glob == "" {
		return fmt.Errorf("%q is no pattern: use a name, or * and ? in one", glob)
	}
	return nil
}

// Matches says whether a name is meant by one of the globs.
func Matches(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(glob string) bool {
		ok, err := path.Match(glob, name)
		return ok && err == nil
	})
}

// lazily compiles an expression at its first use: processes that check nothing,
// such as a shim, start in a third less time.
func lazily(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
