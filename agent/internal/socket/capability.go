package socket

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Capability is one thing that a host's kernel may or may not offer.
type Capability struct {
	Name      string
	Available bool
	Detail    string // why it is not available, as the kernel said it
	Fallback  string // what takes its place
}

// capabilities is the table of probes, in the order they are shown.
var capabilities = []struct {
	name     string
	try      func() error
	fallback string
}{
	{"reuseport-steering-tcp", func() error { return trySteering(unix.SOCK_STREAM) }, "none: tcp sockets need Linux 4.6 or later"},
	{"reuseport-steering-udp", func() error { return trySteering(unix.SOCK_DGRAM) }, "none: udp sockets need Linux 4.5 or later"},
	{"sock-diag", trySockDiag, "none: queues and connections cannot be counted, and unlimited patience is refused"},
	{"cgroup-filter", tryCgroupFilter, "connections are counted by the descriptors of the program's processes"},
	{"destroy-events", tryDestroyed, "connections are counted by periodic lists, at most 1 % of one processor"},
	{"pidfd", tryPidfd, "a process is known by its pid, start time and the boot's id"},
	{"pidfd-getfd", tryPidfdGetfd, "sockets are lost if a slot's shim is killed"},
	{"collapse-range", tryCollapseRange, "logs are rotated by copying the end of the file"},
}

// Capabilities tries each feature on throw-away sockets, files and this process.
// Those left when ctx ends are reported as not tried.
func Capabilities(ctx context.Context) []Capability {
	out := make([]Capability, 0, len(capabilities))
	for _, c := range capabilities {
		err := ctx.Err()
		if err == nil {
			err = c.try()
		}
		row := Capability{Name: c.name, Available: err == nil, Fallback: c.fallback}
		if err != nil {
			row.Detail = err.Error()
		}
		out = append(out, row)
	}
	return out
}

func trySteering(kind int) error {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "scratch socket")
	defer f.Close()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	if kind == unix.SOCK_STREAM {
		if err := unix.Listen(fd, 1); err != nil {
			return err
		}
	}
	prog, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return err
	}
	return Attach(f, prog)
}

func trySockDiag() error {
	return inetDump(inetRequest{family: unix.AF_INET, proto: unix.IPPROTO_TCP, states: listenStates}, func(*inetSock) {})
}

// tryCgroupFilter asks for a cgroup that nothing is in.
func tryCgroupFilter() error {
	return inetDump(inetRequest{family: unix.AF_INET, proto: unix.IPPROTO_TCP, states: listenStates, cgroup: ^uint64(0)}, func(*inetSock) {})
}

func tryDestroyed() error {
	d, err := openDestroyed([]uint16{1})
	if err != nil {
		return err
	}
	return d.conn.Close()
}

func tryPidfd() error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func tryPidfdGetfd() error {
	pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, pidfd, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// tryCollapseRange works on a file of two blocks in the temporary directory,
// which may be of another kind than the one that logs are on.
func tryCollapseRange() error {
	f, err := os.CreateTemp("", "collapse-*")
	if err != nil {
		return err
	}
	defer f.Close()
	defer os.Remove(f.Name())
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return err
	}
	block := st.Bsize
	if err := f.Truncate(2 * block); err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_COLLAPSE_RANGE, 0, block)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("the filesystem of %s does not support it: %w", filepath.Dir(f.Name()), err)
	}
	return err
}
