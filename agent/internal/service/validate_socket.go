package service

import (
	"fmt"
	"strings"
)

// maxDevice is IFNAMSIZ less the final NUL (netdevice(7)).
const maxDevice = 15

func (c *checker) sockets(list []Socket) {
	c.that(len(list) <= MaxSockets, "sockets", "%d sockets: at most %d", len(list), MaxSockets)
	for i, s := range list[:min(len(list), MaxSockets)] {
		field := fmt.Sprintf("sockets[%d]", i)
		c.socket(field, s)
		for j, other := range list[:i] {
			c.that(s.Name != other.Name, field+".name", "%q is already the name of sockets[%d]", s.Name, j)
			c.that(!s.Address.Overlaps(other.Address), field+".listen", "%s overlaps %s of sockets[%d]", s.Address, other.Address, j)
		}
	}
}

func (c *checker) socket(field string, s Socket) {
	a := s.Address
	inet := a.Network != Unix
	c.failed(field+".name", CheckName(s.Name))
	c.address(field+".listen", a)
	c.number(field+".backlog", s.Backlog, 0, 1<<20)
	c.that(s.Stream() || s.Backlog == 0, field+".backlog", "%s has no queue of connections", a)
	c.that(inet || a.Device == "", field+".device", "a unix socket has no network device")
	c.that(inet || !s.FreeBind, field+".freebind", "a unix socket has no address that the host could lack")
	c.that(!a.V6Only || a.IP.Is6(), field+".v6only", "%s is not an IPv6 address", a)
	c.failed(field+".device", checkDevice(a.Device))
	if s.Mode != nil {
		c.that(!inet, field+".mode", "only a unix socket has a mode")
		c.that(*s.Mode <= 0o777, field+".mode", "%#o is not a permission from 0 to 0777", *s.Mode)
	}
}

// address repeats what ParseAddress asks for, since an Address can also come
// from elsewhere.
func (c *checker) address(field string, a Address) {
	parsed, err := ParseAddress(a.String())
	if err != nil {
		c.failed(field, err)
		return
	}
	parsed.V6Only, parsed.Device = a.V6Only, a.Device
	c.that(parsed == a, field, "%s is not an address in its plain form", a)
	c.that(!hasControl(a.Path), field, "path %q contains a control character", a.Path)
}

func checkDevice(name string) error {
	switch {
	case len(name) > maxDevice:
		return fmt.Errorf("name of %d bytes: the kernel takes at most %d", len(name), maxDevice)
	case name == "." || name == ".." || hasControl(name) || strings.ContainsAny(name, "/: "):
		return fmt.Errorf("%q is not a network device's name", name)
	}
	return nil
}
