package host

import (
	"fmt"
	"maps"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"

	"github.com/gracefleet/gracefleet/agent/internal/shim"
)

// identity is who a program runs as; uid -1 is the agent's own user.
type identity struct {
	uid, gid int
	groups   []uint32
	name     string
	home     string
}

// identify looks a user up in the host's database. An agent that is not root can
// only run programs as itself.
func identify(name string) (identity, error) {
	own := identity{uid: -1, gid: -1}
	if name == "" {
		if u, err := user.Current(); err == nil {
			own.name, own.home = u.Username, u.HomeDir
		}
		return own, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return identity{}, fmt.Errorf("user %q: this host has no such user: create it, or declare another", name)
	}
	id := identity{name: u.Username, home: u.HomeDir}
	if id.uid, err = strconv.Atoi(u.Uid); err != nil {
		return identity{}, fmt.Errorf("user %q has uid %q", name, u.Uid)
	}
	if id.gid, err = strconv.Atoi(u.Gid); err != nil {
		return identity{}, fmt.Errorf("user %q has gid %q", name, u.Gid)
	}
	if os.Geteuid() != 0 {
		if id.uid != os.Geteuid() {
			return identity{}, fmt.Errorf("user %q: only an agent that runs as root can start programs as another user", name)
		}
		id.uid, id.gid = -1, -1
		return id, nil
	}
	id.groups = groupsOf(u)
	return id, nil
}

func groupsOf(u *user.User) []uint32 {
	ids, err := u.GroupIds()
	if err != nil {
		return nil // the primary group is set in any case
	}
	var out []uint32
	for _, s := range ids {
		if n, err := strconv.ParseUint(s, 10, 32); err == nil {
			out = append(out, uint32(n))
		}
	}
	return out
}

func (id identity) root() bool {
	return id.uid == 0 || (id.uid < 0 && os.Geteuid() == 0)
}

func (id identity) shimUser() *shim.User {
	if id.uid < 0 {
		return nil
	}
	return &shim.User{UID: uint32(id.uid), GID: uint32(id.gid), Groups: id.groups}
}

func (id identity) credential() *syscall.Credential {
	if id.uid < 0 {
		return nil
	}
	return &syscall.Credential{Uid: uint32(id.uid), Gid: uint32(id.gid), Groups: id.groups}
}

func (id identity) env() []string {
	if id.name == "" {
		return nil
	}
	return []string{"USER=" + id.name, "LOGNAME=" + id.name, "HOME=" + id.home}
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
