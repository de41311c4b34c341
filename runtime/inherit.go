package gracefleet

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// firstDescriptor is where inherited descriptors begin (sd_listen_fds(3)).
const firstDescriptor = 3

// maxDescriptors bounds what LISTEN_FDS may announce.
const maxDescriptors = 4096

// environment is what a parent says through variables.
type environment struct {
	listenPID, listenFDs, listenFDNames string
	notifySocket                        string
	service, generation                 string
}

// takeEnvironment reads the variables and removes those that must not reach a
// child: it would take descriptors for its own, or report in this program's
// name.
func takeEnvironment() environment {
	take := func(name string) string {
		v := os.Getenv(name)
		_ = os.Unsetenv(name)
		return v
	}
	return environment{
		listenPID:     take("LISTEN_PID"),
		listenFDs:     take("LISTEN_FDS"),
		listenFDNames: take("LISTEN_FDNAMES"),
		notifySocket:  take("NOTIFY_SOCKET"),
		service:       os.Getenv("GRACEFLEET_SERVICE"),
		generation:    os.Getenv("GRACEFLEET_GENERATION"),
	}
}

// descriptors returns the names of the descriptors from 3 up that are meant for
// process pid. None is no error: LISTEN_PID names another process when a parent
// forgot to clean its own environment.
func (e environment) descriptors(pid int) ([]string, error) {
	if e.listenFDs == "" || e.listenPID == "" {
		return nil, nil
	}
	owner, err := strconv.Atoi(e.listenPID)
	if err != nil || owner <= 0 {
		return nil, fmt.Errorf("LISTEN_PID=%q is not a process id", e.listenPID)
	}
	if owner != pid {
		return nil, nil
	}
	n, err := strconv.Atoi(e.listenFDs)
	if err != nil || n < 0 || n > maxDescriptors {
		return nil, fmt.Errorf("LISTEN_FDS=%q is not a number from 0 to %d", e.listenFDs, maxDescriptors)
	}
	if n == 0 {
		return nil, nil
	}
	if e.listenFDNames == "" {
		return make([]string, n), nil
	}
	names := strings.Split(e.listenFDNames, ":")
	if len(names) != n {
		return nil, fmt.Errorf("LISTEN_FDNAMES=%q has %d names for LISTEN_FDS=%d descriptors", e.listenFDNames, len(names), n)
	}
	return names, nil
}

// inheritedSocket is one socket of the parent; exactly one of stream and packet
// is set.
type inheritedSocket struct {
	name    string
	stream  net.Listener
	packet  net.PacketConn
	claimed bool
}

func (i *inheritedSocket) addr() net.Addr {
	if i.packet != nil {
		return i.packet.LocalAddr()
	}
	return i.stream.Addr()
}

func (i *inheritedSocket) String() string {
	a := i.addr()
	if i.name == "" {
		return fmt.Sprintf("%s %s", a.Network(), a)
	}
	return fmt.Sprintf("%q (%s %s)", i.name, a.Network(), a)
}

func (i *inheritedSocket) close() {
	if i.packet != nil {
		i.packet.Close()
		return
	}
	i.stream.Close()
}

// inherit takes over the descriptors from 3 up. On an error none stays open.
func inherit(names []string) ([]*inheritedSocket, error) {
	for fd := range names {
		// All of them first: a child started meanwhile must get none.
		unix.CloseOnExec(firstDescriptor + fd)
	}
	var sockets []*inheritedSocket
	for i, name := range names {
		s, err := inheritOne(firstDescriptor+i, name)
		if err != nil {
			for _, s := range sockets {
				s.close()
			}
			return nil, fmt.Errorf("inherited descriptor %d %q: %w", firstDescriptor+i, name, err)
		}
		sockets = append(sockets, s)
	}
	return sockets, nil
}

func inheritOne(fd int, name string) (*inheritedSocket, error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, fmt.Errorf("not a socket: %w", err)
	}
	// The net package works on a duplicate; closing f leaves the one it made.
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	s := &inheritedSocket{name: name}
	switch kind {
	case unix.SOCK_STREAM:
		if listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && listening == 0 {
			return nil, fmt.Errorf("a stream socket that does not listen")
		}
		s.stream, err = net.FileListener(f)
	case unix.SOCK_DGRAM:
		s.packet, err = net.FilePacketConn(f)
	default:
		err = fmt.Errorf("socket type %d is neither stream nor datagram", kind)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}
