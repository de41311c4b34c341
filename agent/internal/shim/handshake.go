package shim

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// pipes are both sides of a Handshake; the zero value is none.
type pipes struct {
	ours   *os.File // where the program says that it is ready
	theirs []*os.File
}

// shake makes the pipes. What the program reads is in its pipe already, so nobody
// has to write later: a pipe holds 64 KiB (pipe(7)).
func shake(h *Handshake) (pipes, error) {
	if h == nil {
		return pipes{}, nil
	}
	ours, written, err := pipe()
	if err != nil {
		return pipes{}, err
	}
	p := pipes{ours: ours, theirs: []*os.File{written}}
	var content [2]int
	if err := unix.Pipe2(content[:], unix.O_CLOEXEC); err != nil {
		p.closeOurs()
		closeAll(p.theirs)
		return pipes{}, err
	}
	p.theirs = append(p.theirs, os.NewFile(uintptr(content[0]), "handshake"))
	_, err = unix.Write(content[1], h.Content)
	unix.Close(content[1])
	if err != nil {
		p.closeOurs()
		closeAll(p.theirs)
		return pipes{}, err
	}
	return p, nil
}

// pipe has a polled end to read from and a blocking one to write to.
func pipe() (read, write *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "handshake"), os.NewFile(uintptr(fds[1]), "handshake"), nil
}

func (p pipes) closeOurs() {
	if p.ours != nil {
		p.ours.Close()
	}
}

// awaitHandshake waits for the program's byte, or for its end.
func (s *server) awaitHandshake(f *os.File, ready byte, instance int) {
	defer f.Close()
	var b [1]byte
	if n, err := f.Read(b[:]); n != 1 || err != nil || b[0] != ready {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.state.Current; c != nil && c.Number == instance {
		s.becameReady(c)
	}
}

// listenForAck binds the socket on which einhorn's workers acknowledge, once. The
// caller holds mu.
func (s *server) listenForAck() error {
	if s.acks {
		return nil
	}
	path := AckPath(s.in.Directory)
	os.Remove(path)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	if err == nil {
		err = unix.Chmod(path, 0o666)
	}
	if err == nil {
		err = unix.Listen(fd, 16)
	}
	if err != nil {
		unix.Close(fd)
		return os.NewSyscallError("listen on "+path, err)
	}
	s.acks = true
	go s.receiveAcks(os.NewFile(uintptr(fd), path))
	return nil
}

const (
	ackLimit = 5 * time.Second
	ackWord  = "worker:ack"
	maxAck   = 4 << 10
)

func (s *server) receiveAcks(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	for {
		var fd int
		var aerr error
		if err := raw.Read(func(l uintptr) bool {
			fd, _, aerr = unix.Accept4(int(l), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return !errors.Is(aerr, syscall.EAGAIN)
		}); err != nil {
			return
		}
		if aerr == nil {
			go s.receiveAck(fd)
		}
	}
}

// receiveAck takes one message of the main process; nobody else is listened to.
// How it is written differs among einhorn's clients.
func (s *server) receiveAck(fd int) {
	f := os.NewFile(uintptr(fd), "ack")
	defer f.Close()
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || !s.isMain(int(peer.Pid)) {
		return
	}
	f.SetReadDeadline(time.Now().Add(ackLimit))
	if !saysAck(f) || !s.isMain(int(peer.Pid)) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.becameReady(s.state.Current)
}

// isMain says whether a process is the program's main process.
func (s *server) isMain(pid int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.state.Current
	return c.Alive() && c.Process.PID == pid
}

func saysAck(f *os.File) bool {
	var said []byte
	b := make([]byte, maxAck)
	for len(said) < maxAck {
		n, err := f.Read(b)
		said = append(said, b[:n]...)
		if bytes.Contains(said, []byte(ackWord)) {
			return true
		}
		if err != nil {
			return false
		}
	}
	return false
}
