package shim

import (
	"encoding/json"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// Program is everything needed to run one instance.
type Program struct {
	// Instance numbers the runs of this shim, rising. Start of the current number
	// again answers with that instance; the shim's own restarts take the next.
	Instance   int    `json:"instance"`
	Generation int    `json:"generation"`
	Path       string `json:"path"`
	// Argv includes argv[0].
	Argv []string `json:"argv"`
	// Env is complete: nothing else is inherited.
	Env []string `json:"env"`
	// PIDEnv names variables that are set to the program's own pid.
	PIDEnv []string `json:"pid_env,omitempty"`
	// ParentPIDEnv names variables that are set to the pid of the program's parent.
	ParentPIDEnv []string `json:"parent_pid_env,omitempty"`
	// Ack has the shim take "worker:ack" of the main process on AckPath for ready.
	Ack bool `json:"ack,omitempty"`
	// Handshake is passed before the sockets.
	Handshake *Handshake `json:"handshake,omitempty"`
	// Dir is the working directory; empty is "/".
	Dir string `json:"dir,omitempty"`
	// User to run as; nil keeps the shim's.
	User       *User `json:"user,omitempty"`
	NoNewPrivs bool  `json:"no_new_privs,omitempty"`
	Umask      int   `json:"umask"`
	Nofile     int   `json:"nofile,omitempty"` // RLIMIT_NOFILE; 0 keeps the shim's
	// Cgroup the program is born in; empty keeps it beside the shim.
	Cgroup string `json:"cgroup,omitempty"`
	// Sockets by name, in descriptor order from 3, or from 5 after a Handshake.
	Sockets []string `json:"sockets,omitempty"`
	// Blocking clears O_NONBLOCK on the sockets instead of setting it.
	Blocking bool `json:"blocking,omitempty"`
	// Log takes stdout and stderr; empty discards them.
	Log     string  `json:"log,omitempty"`
	Restart Restart `json:"restart"`
	// Spec is the service's specification, for whoever finds the shim.
	Spec json.RawMessage `json:"spec,omitempty"`
}

// Handshake is two pipes: the program writes Ready into the first once it is, and
// reads Content from the second up to its end.
type Handshake struct {
	Ready   byte   `json:"ready"`
	Content []byte `json:"content"`
}

// descriptors is how many the program gets after its standard ones.
func (p *Program) descriptors() int {
	if p.Handshake != nil {
		return len(p.Sockets) + 2
	}
	return len(p.Sockets)
}

// Descriptor is the number under which the program gets the socket at an index.
func (p *Program) Descriptor(socket int) int {
	return firstSocket + p.descriptors() - len(p.Sockets) + socket
}

// User is a resolved identity.
type User struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
}

// Restart is what the shim does by itself when the program ends untold while no
// agent is connected. With one connected it does nothing.
type Restart struct {
	service.Restart
	// Budget is how many restarts in a row; 0 means none. An instance that lived
	// longer than MaxBackoff, or an agent that connects, starts the count anew.
	Budget int `json:"budget"`
}
