package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/steer"
)

// ProbeDialer connects to the candidate over the private path: the connections
// match the probe rule of the steering program, or go to the private unix path.
// It may be used concurrently.
type ProbeDialer struct {
	address service.Address
	private string

	mu   sync.Mutex
	held []heldPort
}

// heldPort is a bound socket: nobody else can connect from its port.
type heldPort struct {
	f    *os.File
	port uint16
}

// NewProbeDialer makes a dialer for an address; private is the slot's own path
// of a unix socket, and empty otherwise. Close it.
func NewProbeDialer(a service.Address, private string) (*ProbeDialer, error) {
	switch {
	case a.Network == service.UDP:
		return nil, fmt.Errorf("probe %s: udp has no private path, since a probe would be a datagram to the program", a)
	case a.Network == service.Unix && private == "":
		return nil, fmt.Errorf("probe %s: the private path is not known", a)
	case a.Device != "" && a.Device != "lo":
		return nil, fmt.Errorf("probe %s: a socket bound to device %s cannot be reached over loopback; use notify or exec", a, a.Device)
	}
	return &ProbeDialer{address: a, private: private}, nil
}

// Prepare binds n source ports for the next n calls of Dial and returns all
// ports that are held; put them in steer.Weights.ProbePorts and attach the
// program before dialing. Only IPv6 sockets need that; for others it does
// nothing.
func (d *ProbeDialer) Prepare(n int) ([]uint16, error) {
	if !d.byPort() {
		return nil, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for range n {
		h, err := holdPort()
		if err != nil {
			return nil, fmt.Errorf("probe %s: hold a source port: %w", d.address, err)
		}
		d.held = append(d.held, h)
	}
	ports := make([]uint16, len(d.held))
	for i, h := range d.held {
		ports[i] = h.port
	}
	return ports, nil
}

// Dial opens one connection.
func (d *ProbeDialer) Dial(ctx context.Context) (net.Conn, error) {
	c, err := d.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("probe %s: %w", d.address, err)
	}
	return c, nil
}

// Close releases the ports that were not used.
func (d *ProbeDialer) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var err error
	for _, h := range d.held {
		err = errors.Join(err, h.f.Close())
	}
	d.held = nil
	return err
}

// byPort says whether the probe rule goes by source port (see steer.Program).
func (d *ProbeDialer) byPort() bool {
	return d.address.Network == service.TCP && d.address.IP.Is6() && !d.address.DualStack()
}

func (d *ProbeDialer) dial(ctx context.Context) (net.Conn, error) {
	if d.address.Network == service.Unix {
		return (&net.Dialer{}).DialContext(ctx, "unix", d.private)
	}
	if d.byPort() {
		return d.dialHeld(ctx)
	}
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(steer.ProbeSource, 0)), Control: bindLate}
	return dialer.DialContext(ctx, "tcp4", d.target().String())
}

// target is where a local client connects to.
func (d *ProbeDialer) target() netip.AddrPort {
	ip := d.address.IP
	switch {
	case d.address.DualStack() || ip == netip.IPv4Unspecified():
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case ip.IsUnspecified():
		ip = netip.IPv6Loopback()
	}
	return netip.AddrPortFrom(ip, d.address.Port)
}

// bindLate leaves the choice of the source port to connect(2), which can reuse
// one towards another destination.
func bindLate(_, _ string, c syscall.RawConn) error {
	var inner error
	err := c.Control(func(fd uintptr) {
		inner = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	return errors.Join(err, inner)
}

func holdPort() (heldPort, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return heldPort{}, err
	}
	f := os.NewFile(uintptr(fd), "probe")
	if err := unix.Bind(fd, &unix.SockaddrInet6{}); err != nil {
		return heldPort{}, errors.Join(err, f.Close())
	}
	port, err := localPort(f)
	if err != nil {
		return heldPort{}, errors.Join(err, f.Close())
	}
	return heldPort{f: f, port: port}, nil
}

func (d *ProbeDialer) takeHeld() (heldPort, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.held) == 0 {
		return heldPort{}, errors.New("no source port is held: call Prepare and attach the program first")
	}
	h := d.held[0]
	d.held = d.held[1:]
	return h, nil
}

func (d *ProbeDialer) dialHeld(ctx context.Context) (net.Conn, error) {
	h, err := d.takeHeld()
	if err != nil {
		return nil, err
	}
	defer h.f.Close()
	to := d.target()
	sa := &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	if err := connect(ctx, h.f, sa); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", to, err)
	}
	return net.FileConn(h.f)
}

// connect completes a non-blocking connect.
func connect(ctx context.Context, f *os.File, to unix.Sockaddr) error {
	err := listen.Control(f, func(fd int) error { return unix.Connect(fd, to) })
	if err == nil || !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	return poll(ctx, func() (bool, error) {
		var info *unix.TCPInfo
		err := listen.Control(f, func(fd int) (err error) {
			if n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || n != 0 {
				return errors.Join(err, unix.Errno(n))
			}
			info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			return err
		})
		return err == nil && info.State == tcpEstablished, err
	})
}
