package socket

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// destroyedBuffer holds several thousand events; the kernel caps it at
// net.core.rmem_max.
const destroyedBuffer = 4 << 20

// destroyed is the stream of tcp sockets that the kernel destroyed, on some
// local ports. It covers all processes of the network namespace, forked children
// included, and needs no privilege.
type destroyed struct {
	conn   *netlink.Conn
	events chan uint64   // cookies
	lost   chan struct{} // events were lost: list anew
	ended  chan error    // one error, when the stream broke
}

// openDestroyed binds the stream. List the sockets after it, never before, or
// those destroyed in between are missed.
func openDestroyed(ports []uint16) (*destroyed, error) {
	c, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
	if err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", err)
	}
	if err := subscribe(c, ports); err != nil {
		c.Close()
		return nil, fmt.Errorf("subscribe to destroyed sockets: %w", err)
	}
	return &destroyed{conn: c, events: make(chan uint64, 256), lost: make(chan struct{}, 1), ended: make(chan error, 1)}, nil
}

func subscribe(c *netlink.Conn, ports []uint16) error {
	filter, err := bpf.Assemble(onPorts(ports))
	if err != nil {
		return err
	}
	if err := c.SetBPF(filter); err != nil {
		return err
	}
	// A smaller buffer than wished is no reason to fail.
	_ = c.SetReadBuffer(destroyedBuffer)
	if err := c.JoinGroup(unix.SKNLGRP_INET_TCP_DESTROY); err != nil {
		return err
	}
	return c.JoinGroup(unix.SKNLGRP_INET6_TCP_DESTROY)
}

// onPorts lets only messages about sockets on our ports through: the kernel
// sends one for every tcp socket of the host, and both ends of each loopback
// connection.
func onPorts(ports []uint16) []bpf.Instruction {
	const localPort = 16 + 4 // netlink header, start of inet_diag_sockid
	out := []bpf.Instruction{bpf.LoadAbsolute{Off: localPort, Size: 2}}
	for _, p := range ports {
		out = append(out,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(p), SkipTrue: 1},
			bpf.RetConstant{Val: ^uint32(0)})
	}
	return append(out, bpf.RetConstant{Val: 0})
}

// run receives until ctx ends.
func (d *destroyed) run(ctx context.Context) {
	defer d.conn.Close()
	stop := context.AfterFunc(ctx, func() { d.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for ctx.Err() == nil {
		messages, err := d.conn.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			select {
			case d.lost <- struct{}{}:
			default:
			}
			continue
		}
		if err != nil {
			d.ended <- err
			return
		}
		for _, m := range messages {
			if !d.pass(ctx, m) {
				return
			}
		}
	}
}

func (d *destroyed) pass(ctx context.Context, m netlink.Message) bool {
	s, err := decodeInet(m.Data)
	if err != nil {
		return true // not about a socket
	}
	select {
	case d.events <- s.cookie:
		return true
	case <-ctx.Done():
		return false
	}
}
