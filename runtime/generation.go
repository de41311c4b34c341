package gracefleet

import (
	"fmt"
	"strconv"
)

// supervisor is the kind of parent a program was started by.
type supervisor int

const (
	standalone supervisor = iota // a shell, a container, anything that leaves nothing
	systemd                      // or whoever speaks its protocols
	graced
)

// parent is who started the program, and as what.
type parent struct {
	kind       supervisor
	generation int
}

// parent tells the three apart. GRACEFLEET_* alone proves nothing: a program
// that a supervised one starts inherits them, but neither sockets nor a way to
// report.
func (e environment) parent(sockets bool) (parent, error) {
	if !sockets && e.notifySocket == "" {
		return parent{kind: standalone}, nil
	}
	if e.service == "" {
		return parent{kind: systemd}, nil
	}
	n, err := strconv.Atoi(e.generation)
	if err != nil || n < 1 {
		return parent{}, fmt.Errorf("GRACEFLEET_GENERATION=%q is not a generation's number", e.generation)
	}
	return parent{kind: graced, generation: n}, nil
}
