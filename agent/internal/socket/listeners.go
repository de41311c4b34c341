package socket

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// Listener is one listening (for udp: unconnected) socket that the kernel lists.
type Listener struct {
	Cookie  uint64
	Inode   uint64
	UID     uint32
	Address service.Address
	// Cgroup is the id of the cgroup in which it was created, which what it accepts
	// carries; 0 where the kernel does not tell (before 5.8).
	Cgroup uint64
}

// Listeners returns every listening socket of this network namespace that shares
// or overlaps the address, whoever owns it. Equal addresses are members of the
// same group if their owner is the same. V6Only is reported for wildcards only,
// where it makes a difference.
func Listeners(ctx context.Context, a service.Address) ([]Listener, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	list := inetListeners
	if a.Network == service.Unix {
		list = unixListeners
	}
	out, err := list(a)
	if err != nil {
		return nil, fmt.Errorf("list the sockets that listen on %s: %w", a, err)
	}
	return out, nil
}

// TCPListeners returns every listening tcp socket of this network namespace.
func TCPListeners() ([]Listener, error) {
	var out []Listener
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		err := inetDump(inetRequest{family: family, proto: unix.IPPROTO_TCP, states: listenStates}, func(s *inetSock) {
			out = append(out, Listener{Cookie: s.cookie, Inode: s.inode, UID: s.uid, Address: listenAddress(s, service.TCP)})
		})
		if err != nil {
			return nil, fmt.Errorf("list the tcp sockets that listen: %w", err)
		}
	}
	return out, nil
}

func inetListeners(a service.Address) ([]Listener, error) {
	req := inetRequest{proto: unix.IPPROTO_TCP, states: listenStates, port: a.Port}
	if a.Network == service.UDP {
		req.proto, req.states = unix.IPPROTO_UDP, 1<<tcpClose
	}
	var out []Listener
	for _, req.family = range []uint8{unix.AF_INET, unix.AF_INET6} {
		err := inetDump(req, func(s *inetSock) {
			l := Listener{Cookie: s.cookie, Inode: s.inode, UID: s.uid, Address: listenAddress(s, a.Network), Cgroup: s.cgroup}
			if l.Address.Overlaps(a) {
				out = append(out, l)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func listenAddress(s *inetSock, n service.Network) service.Address {
	ip := s.local.Addr()
	a := service.Address{Network: n, IP: ip, Port: s.local.Port(), V6Only: s.v6only && ip.IsUnspecified()}
	if ip.Is4In6() {
		a.IP = ip.Unmap()
	}
	if s.iface == 0 {
		return a
	}
	a.Device = fmt.Sprintf("if%d", s.iface)
	if i, err := net.InterfaceByIndex(int(s.iface)); err == nil {
		a.Device = i.Name
	}
	return a
}

func unixListeners(a service.Address) ([]Listener, error) {
	var out []Listener
	err := unixDump(listenStates, func(s *unixSock) {
		if s.path == a.Path {
			out = append(out, Listener{Cookie: s.cookie, Inode: s.inode, UID: s.uid, Address: a})
		}
	})
	return out, err
}
