package handover

import (
	"strconv"
	"strings"
)

// FirstFD is where descriptors for a program begin, after its standard ones.
const FirstFD = 3

// Socket is a listening socket as a program is told of it.
type Socket struct {
	Name    string
	Network string // tcp, udp or unix
	Host    string // IP address; empty for a unix socket
	Port    int
	Path    string // of a unix socket
	FD      int
}

// Address is host:port, or the path of a unix socket.
func (s Socket) Address() string {
	if s.Path != "" {
		return s.Path
	}
	host := s.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(s.Port)
}

// short is the address as programs usually write it: a wildcard has no host.
func (s Socket) short() string {
	if s.Path == "" && (s.Host == "0.0.0.0" || s.Host == "::") {
		return ":" + strconv.Itoa(s.Port)
	}
	return s.Address()
}

// Announcement is how one program learns about its descriptors.
type Announcement struct {
	// Env is added to the program's environment, as KEY=VALUE.
	Env []string
	// PIDEnv and ParentPIDEnv are variables that hold the program's own pid, and
	// its parent's.
	PIDEnv, ParentPIDEnv []string
	// Args stand before the program's own.
	Args []string
	// AckEnv is a variable that holds the path of a socket on which the program
	// says that it is ready.
	AckEnv string
	// Names is what tableflip reads from its second descriptor; its first is where
	// it writes that it is ready. The sockets follow them.
	Names [][]string
}

// Announce says what a program of a dialect needs to find its descriptors. The
// sockets are in descriptor order; their FD is set by Number.
func (d Dialect) Announce(sockets []Socket, generation int) Announcement {
	if len(sockets) == 0 || d.announce == nil {
		return Announcement{}
	}
	return d.announce(sockets, generation)
}

// Number gives each socket its descriptor.
func (d Dialect) Number(sockets []Socket) []Socket {
	out := make([]Socket, len(sockets))
	for i, s := range sockets {
		s.FD = FirstFD + d.leading + i
		out[i] = s
	}
	return out
}

// each makes one text of every socket.
func each(sockets []Socket, sep string, f func(Socket) string) string {
	parts := make([]string, len(sockets))
	for i, s := range sockets {
		parts[i] = f(s)
	}
	return strings.Join(parts, sep)
}

func count(sockets []Socket) string { return strconv.Itoa(len(sockets)) }

func fd(s Socket) string { return strconv.Itoa(s.FD) }
