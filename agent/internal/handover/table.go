package handover

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// ListenFDs is systemd's socket activation, sd_listen_fds(3): the default.
const ListenFDs = "listen_fds"

// Announcement is how one program learns about its descriptors.
type Announcement struct {
	// Env is added to the program's environment.
	Env []string
	// PIDEnv are variables that hold the program's own pid.
	PIDEnv []string
}

// row makes the announcement for sockets of these names.
type row func(names []string) Announcement

var table = map[string]row{
	ListenFDs: func(names []string) Announcement {
		if len(names) == 0 {
			return Announcement{}
		}
		return Announcement{
			Env:    []string{"LISTEN_FDS=" + strconv.Itoa(len(names)), "LISTEN_FDNAMES=" + strings.Join(names, ":")},
			PIDEnv: []string{"LISTEN_PID"},
		}
	},
}

// Announce says what a program of a dialect needs to find its descriptors.
func Announce(dialect string, names []string) (Announcement, error) {
	r, ok := table[dialect]
	if !ok {
		return Announcement{}, fmt.Errorf("handover dialect %q is not known: %s", dialect, strings.Join(Dialects(), ", "))
	}
	return r(names), nil
}

// Dialects lists what the table knows.
func Dialects() []string { return slices.Sorted(maps.Keys(table)) }
