package gracefleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
)

// ErrUndeclared is returned by Listen and ListenPacket under graced for a
// socket that the service file does not declare: two generations live at once,
// and a port they both bind themselves would collide.
var ErrUndeclared = errors.New("not among the sockets of the service")

// Listen returns the stream socket with this name, else the one with this
// address, that the parent holds. When no parent holds sockets, or systemd does
// but not this one, it binds the address itself. network is "tcp", "tcp4",
// "tcp6" or "unix"; name may be empty.
//
// The listener belongs to the drain: then Accept goes on until its queue is
// empty and blocks from there on, until Close or the end of the drain, which it
// answers with [net.ErrClosed]. The path of an inherited unix socket is never
// removed. A program that accepts by itself does so in one goroutine a listener,
// and calls Track for a connection before the next Accept.
func (s *Service) Listen(name, network, address string) (net.Listener, error) {
	in, err := s.claim(name, network, address)
	if err != nil {
		return nil, err
	}
	if in != nil {
		return s.addListener(in.stream, false)
	}
	ln, err := new(net.ListenConfig).Listen(context.Background(), network, address)
	if err != nil {
		return nil, fmt.Errorf("socket %q: %w", name, err)
	}
	return s.addListener(ln, true)
}

// ListenPacket is Listen for "udp", "udp4", "udp6" and "unixgram". The socket
// is the program's own to read; once Draining is closed it should answer what
// it has read and stop.
func (s *Service) ListenPacket(name, network, address string) (net.PacketConn, error) {
	in, err := s.claim(name, network, address)
	if err != nil {
		return nil, err
	}
	if in != nil {
		return in.packet, nil
	}
	pc, err := new(net.ListenConfig).ListenPacket(context.Background(), network, address)
	if err != nil {
		return nil, fmt.Errorf("socket %q: %w", name, err)
	}
	return pc, nil
}

// claim finds an inherited socket; nil means that the program binds itself.
func (s *Service) claim(name, network, address string) (*inheritedSocket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.find(name, network, address)
	if in != nil {
		in.claimed = true
		return in, nil
	}
	if s.parent.kind != graced {
		return nil, nil
	}
	return nil, fmt.Errorf("socket %q (%s %s): %w, which are %s: declare it under sockets: in the service file",
		name, network, address, ErrUndeclared, s.socketList())
}

// find prefers the name, and among several of one name (systemd gives all
// sockets of a unit the same) the one with the address.
func (s *Service) find(name, network, address string) *inheritedSocket {
	var byName, byAddress *inheritedSocket
	for _, in := range s.inherited {
		if in.claimed || !sameNetwork(in.addr().Network(), network) {
			continue
		}
		named := name != "" && in.name == name
		switch at := sameAddress(in.addr(), network, address); {
		case named && at:
			return in
		case named && byName == nil:
			byName = in
		case at && byAddress == nil:
			byAddress = in
		}
	}
	if byName != nil {
		return byName
	}
	return byAddress
}

func (s *Service) socketList() string {
	if len(s.inherited) == 0 {
		return "none"
	}
	list := make([]string, len(s.inherited))
	for i, in := range s.inherited {
		list[i] = in.String()
	}
	return strings.Join(list, ", ")
}

// unclaimed lists the inherited sockets that nobody asked for.
func (s *Service) unclaimed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, in := range s.inherited {
		if !in.claimed {
			list = append(list, in.String())
		}
	}
	return list
}

// sameNetwork compares a socket's network ("tcp", never "tcp4") with a wanted
// one.
func sameNetwork(have, want string) bool {
	return have == strings.TrimRight(want, "46")
}

// sameAddress compares as a program means it: every spelling of the wildcard is
// the same, and a port may be a service's name.
func sameAddress(have net.Addr, network, address string) bool {
	switch have := have.(type) {
	case *net.TCPAddr:
		want, err := net.ResolveTCPAddr(network, address)
		return err == nil && sameIP(have.IP, want.IP) && have.Port == want.Port
	case *net.UDPAddr:
		want, err := net.ResolveUDPAddr(network, address)
		return err == nil && sameIP(have.IP, want.IP) && have.Port == want.Port
	case *net.UnixAddr:
		return have.Name == address
	}
	return false
}

func sameIP(a, b net.IP) bool {
	wildcard := func(ip net.IP) bool { return len(ip) == 0 || ip.IsUnspecified() }
	return a.Equal(b) || wildcard(a) && wildcard(b)
}
