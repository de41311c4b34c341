package listen

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// stepGuard is the one step that a caller may want to leave out.
const stepGuard = "guard"

// Error says which step of opening a socket failed. It unwraps to the errno:
// errors.Is(err, syscall.EADDRINUSE).
type Error struct {
	Step    string          `json:"step"`
	Address service.Address `json:"address"`
	Errno   syscall.Errno   `json:"errno"`
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s %s: %v", e.Step, e.Address, e.Errno)
	if hint := e.hint(); hint != "" {
		s += ": " + hint
	}
	return s
}

func (e *Error) Unwrap() error { return e.Errno }

func (e *Error) hint() string {
	switch {
	case e.Errno == syscall.EADDRINUSE:
		return "another program holds the address"
	case e.Errno == syscall.EADDRNOTAVAIL:
		return "the host does not have this address; declare freebind for a floating one"
	case e.Errno == syscall.EACCES && e.Address.Network != service.Unix:
		return "ports below net.ipv4.ip_unprivileged_port_start need root or CAP_NET_BIND_SERVICE"
	case e.Errno == syscall.EPERM && e.Step == stepGuard:
		return "this kernel lets only CAP_NET_ADMIN keep users off a new address; run the agent as root"
	case e.Errno == syscall.EACCES:
		return "the directory does not allow it"
	case e.Errno == syscall.ENOENT:
		return "the directory does not exist"
	case e.Errno == syscall.ENODEV:
		return "there is no such network device"
	}
	return ""
}

func fail(step string, a service.Address, err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return fmt.Errorf("%s %s: %w", step, a, err)
	}
	return &Error{Step: step, Address: a, Errno: errno}
}
