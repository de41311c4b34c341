package listen

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// defaultMode of a unix socket's path: what 0666 becomes under umask 0117.
const defaultMode = 0o660

// Options of one Open.
type Options struct {
	// PrivatePath is where a unix socket binds in place of its public path.
	PrivatePath string `json:"private_path,omitempty"`
	// Guard drops every packet that does not come from the private probe source,
	// from before the socket listens until Unguard. It is ignored for unix. Some
	// kernels let only CAP_NET_ADMIN filter TCP (seen on 6.18): then Open fails
	// with EPERM.
	Guard bool `json:"guard,omitempty"`
	// Owner is the user whose group the socket is to join; nil for one's own. Only
	// root can join another's. It is ignored for unix.
	Owner *int `json:"owner,omitempty"`
}

// Open creates the socket, binds it and, unless it is UDP, listens. It is
// non-blocking, closed on exec, and not watched by Go's poller. A socket that
// cannot be had is an *Error, which unwraps to the errno.
func Open(s service.Socket, o Options) (*os.File, error) {
	if s.Address.Network == service.Unix {
		return openUnix(s, o)
	}
	return openInet(s, o)
}

func openInet(s service.Socket, o Options) (*os.File, error) {
	a := s.Address
	family := unix.AF_INET
	if a.IP.Is6() {
		family = unix.AF_INET6
	}
	kind := unix.SOCK_STREAM
	if a.Network == service.UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fail("create", a, err)
	}
	if step, err := prepareInet(fd, s, o); err != nil {
		unix.Close(fd)
		return nil, fail(step, a, err)
	}
	return File(fd, a.String())
}

// prepareInet sets options, binds and listens; on failure it names the step.
func prepareInet(fd int, s service.Socket, o Options) (step string, err error) {
	a := s.Address
	type option struct {
		name       string
		level, opt int
		value      int
		set        bool
	}
	v6only := 0
	if a.IP.Is6() && !a.DualStack() {
		v6only = 1
	}
	for _, p := range []option{
		{"set SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1, a.Network == service.TCP},
		{"set SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, true},
		{"set IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only, a.IP.Is6()},
		// IP_FREEBIND serves IPv6 sockets too (ip(7)).
		{"set IP_FREEBIND", unix.IPPROTO_IP, unix.IP_FREEBIND, 1, s.FreeBind},
	} {
		if !p.set {
			continue
		}
		if err := unix.SetsockoptInt(fd, p.level, p.opt, p.value); err != nil {
			return p.name, err
		}
	}
	if a.Device != "" {
		if err := unix.BindToDevice(fd, a.Device); err != nil {
			return "bind to device " + a.Device, err
		}
	}
	if o.Owner != nil {
		if err := chown(fd, *o.Owner); err != nil {
			return "change the owner of", err
		}
	}
	if o.Guard {
		if err := guard(fd); err != nil {
			return stepGuard, err
		}
	}
	sa, err := sockaddr(a)
	if err != nil {
		return "bind", err
	}
	if err := unix.Bind(fd, sa); err != nil {
		return "bind", err
	}
	if a.Network == service.UDP {
		return "", nil
	}
	return "listen on", unix.Listen(fd, backlog(s))
}

// chown gives a socket to a user: the kernel keeps the owner by which groups are
// told apart in step with that of the inode (sockfs_setattr).
func chown(fd, uid int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || int(st.Uid) == uid {
		return err
	}
	return unix.Fchown(fd, uid, -1)
}

// Own gives a socket to a user. All members of a group have to have one owner.
func Own(f *os.File, uid int) error {
	return os.NewSyscallError("fchown", Control(f, func(fd int) error { return chown(fd, uid) }))
}

func sockaddr(a service.Address) (unix.Sockaddr, error) {
	if a.IP.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port), Addr: a.IP.As4()}, nil
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port), Addr: a.IP.As16()}
	if zone := a.IP.Zone(); zone != "" {
		index, err := interfaceIndex(zone)
		if err != nil {
			return nil, err
		}
		sa.ZoneId = index
	}
	return sa, nil
}

// interfaceIndex is netdevice(7)'s SIOCGIFINDEX: package net would triple the
// memory of a process that needs nothing else of it.
func interfaceIndex(name string) (uint32, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req); err != nil {
		return 0, err
	}
	return req.Uint32(), nil
}

func openUnix(s service.Socket, o Options) (*os.File, error) {
	path := s.Address.Path
	if o.PrivatePath != "" {
		path = o.PrivatePath
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fail("create", s.Address, err)
	}
	if step, err := prepareUnix(fd, path, s); err != nil {
		unix.Close(fd)
		return nil, fail(step, s.Address, err)
	}
	return File(fd, path)
}

func prepareUnix(fd int, path string, s service.Socket) (step string, err error) {
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return "bind " + path + " for", err
	}
	mode := uint32(defaultMode)
	if s.Mode != nil {
		mode = *s.Mode
	}
	// Nobody can connect before listen, so the mode is in force in time.
	if err := chmodSocket(path, mode); err != nil {
		return "set the mode of " + path + " for", err
	}
	return "listen on", unix.Listen(fd, backlog(s))
}

// chmodSocket sets the mode of a socket. Its directory may belong to the service's
// user: whatever else they put there meanwhile, such as a link, stays as it is.
func chmodSocket(path string, mode uint32) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return unix.ENOTSOCK
	}
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode)
}

func backlog(s service.Socket) int {
	if s.Backlog > 0 {
		return s.Backlog
	}
	return service.DefaultBacklog
}
