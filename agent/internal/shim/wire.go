package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
)

// A message is cut into packets, since one packet must fit the socket's send
// buffer. Byte 0 of a packet says whether more follow; descriptors ride on the
// packets in order, at most SCM_MAX_FD (253, unix(7)) on each.
const (
	packetBody  = 32 << 10
	packetFiles = 250
	// maxMessage and maxFiles bound what a peer can make us hold.
	maxMessage = 4 << 20
	maxFiles   = 1024

	flagLast = 0
	flagMore = 1
)

// conn carries messages over a SOCK_SEQPACKET socket. One reader, any number of
// senders.
type conn struct {
	file *os.File
	raw  syscall.RawConn
	turn chan struct{} // held while sending
}

// newConn takes ownership of a non-blocking descriptor.
func newConn(fd int) (*conn, error) {
	f := os.NewFile(uintptr(fd), "shim control")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &conn{file: f, raw: raw, turn: make(chan struct{}, 1)}, nil
}

func connect(path string) (*conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return newConn(fd)
}

func (c *conn) close() { c.file.Close() }

// send writes one message. A context that ends in the middle of it breaks the
// connection, since the peer could not tell where the next message begins.
func (c *conn) send(ctx context.Context, m message, files []*os.File) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(body) > maxMessage || len(files) > maxFiles {
		return fmt.Errorf("message of %d bytes with %d descriptors: at most %d and %d", len(body), len(files), maxMessage, maxFiles)
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cut)
		c.file.SetWriteDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !stop() {
			<-cut // or it would set the deadline of whoever sends next
			c.file.SetWriteDeadline(time.Time{})
		}
	}()
	if err := c.sendPackets(body, files); err != nil {
		c.close()
		return err
	}
	return nil
}

func (c *conn) sendPackets(body []byte, files []*os.File) error {
	for {
		part, ride := body[:min(len(body), packetBody)], files[:min(len(files), packetFiles)]
		body, files = body[len(part):], files[len(ride):]
		flag := byte(flagLast)
		if len(body)+len(files) > 0 {
			flag = flagMore
		}
		if err := c.sendPacket(append([]byte{flag}, part...), ride); err != nil {
			return err
		}
		if flag == flagLast {
			return nil
		}
	}
}

func (c *conn) sendPacket(b []byte, files []*os.File) error {
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	var err error
	werr := c.raw.Write(func(fd uintptr) bool {
		err = unix.Sendmsg(int(fd), b, rights, nil, unix.MSG_NOSIGNAL)
		return !errors.Is(err, unix.EAGAIN)
	})
	if werr != nil {
		return werr
	}
	return os.NewSyscallError("sendmsg", err)
}

// receive reads one message; io.EOF is the peer's end.
func (c *conn) receive() (message, []*os.File, error) {
	var a assembly
	for {
		b, files, err := c.receivePacket()
		a.files = append(a.files, files...)
		if err == nil {
			err = a.add(b)
		}
		if err != nil {
			closeAll(a.files)
			return message{}, nil, err
		}
		if !a.complete {
			continue
		}
		m, err := a.message()
		if err != nil {
			closeAll(a.files)
			return message{}, nil, err
		}
		return m, a.files, nil
	}
}

func (c *conn) receivePacket() ([]byte, []*os.File, error) {
	b := make([]byte, packetBody+1)
	oob := make([]byte, unix.CmsgSpace(packetFiles*4))
	var n, oobn, flags int
	var err error
	rerr := c.raw.Read(func(fd uintptr) bool {
		n, oobn, flags, _, err = unix.Recvmsg(int(fd), b, oob, unix.MSG_CMSG_CLOEXEC)
		return !errors.Is(err, unix.EAGAIN)
	})
	if rerr != nil {
		return nil, nil, rerr
	}
	if err != nil {
		return nil, nil, os.NewSyscallError("recvmsg", err)
	}
	files, err := receivedFiles(oob[:oobn])
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = fmt.Errorf("a packet was cut off: out of descriptors, or not this protocol")
	}
	return b[:n], files, err
}

// assembly puts the packets of one message together.
type assembly struct {
	body     []byte
	files    []*os.File
	complete bool
}

func (a *assembly) add(packet []byte) error {
	if len(packet) == 0 || packet[0] > flagMore {
		return fmt.Errorf("not a packet of this protocol")
	}
	a.body = append(a.body, packet[1:]...)
	if len(a.body) > maxMessage || len(a.files) > maxFiles {
		return fmt.Errorf("message too long: at most %d bytes and %d descriptors", maxMessage, maxFiles)
	}
	a.complete = packet[0] == flagLast
	return nil
}

func (a *assembly) message() (message, error) {
	var m message
	if err := json.Unmarshal(a.body, &m); err != nil {
		return message{}, fmt.Errorf("not a message of this protocol: %w", err)
	}
	return m, nil
}

// receivedFiles takes the descriptors out of a control message.
func receivedFiles(oob []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // credentials
		}
		for _, fd := range fds {
			f, ferr := listen.File(fd, "received socket")
			if ferr != nil {
				err = ferr
				continue
			}
			files = append(files, f)
		}
		if err != nil {
			return files, err
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
