package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// sessionQueue is how much an agent may leave unread.
	sessionQueue = 512
	// farewell bounds how long a superseded agent is written to.
	farewell = time.Second
)

// session is one agent's connection, seen from the shim. out is written and
// closed under server.mu only.
type session struct {
	conn   *conn
	out    chan outgoing
	closed bool
	sent   chan struct{} // the writer has ended
}

type outgoing struct {
	message
	files []*os.File
}

// accept takes connections until the shim ends.
func (s *server) accept(control *os.File) {
	raw, err := control.SyscallConn()
	if err != nil {
		fmt.Fprintln(os.Stderr, "graced-shim: control socket:", err)
		return
	}
	for {
		var fd int
		var err error
		if rerr := raw.Read(func(l uintptr) bool {
			fd, _, err = unix.Accept4(int(l), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return err != unix.EAGAIN
		}); rerr != nil {
			return
		}
		if err != nil {
			if err != unix.ECONNABORTED && err != unix.EINTR {
				fmt.Fprintln(os.Stderr, "graced-shim: accept:", err)
				time.Sleep(100 * time.Millisecond) // out of descriptors: no event tells when not
			}
			continue
		}
		s.admit(fd)
	}
}

// admit lets root and the shim's own user in.
func (s *server) admit(fd int) {
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	cn, cerr := newConn(fd)
	if cerr != nil {
		return
	}
	if err != nil || (peer.Uid != 0 && peer.Uid != uint32(os.Geteuid())) {
		ctx, cancel := context.WithTimeout(context.Background(), farewell)
		defer cancel()
		_ = cn.send(ctx, message{Op: opHello, Error: remote(ErrForbidden)}, nil)
		cn.close()
		return
	}
	s.attach(cn)
}

// attach makes a connection the one agent, in place of any before it.
func (s *server) attach(cn *conn) {
	sess := &session{conn: cn, out: make(chan outgoing, sessionQueue), sent: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dismissed { // on its way out: as good as gone
		cn.close()
		return
	}
	if old := s.agent; old != nil {
		s.emit(Event{Kind: EventSuperseded})
		old.conn.file.SetWriteDeadline(time.Now().Add(farewell))
		old.finish()
	}
	s.agent, s.streak = sess, 0
	s.idle.Stop()
	if s.respawn != nil {
		s.respawn.Stop()
	}
	body, err := json.Marshal(Hello{Version: Version, Ops: knownOps, State: s.snapshot()})
	m := message{Op: opHello, Body: body}
	if err != nil {
		m = message{Op: opHello, Error: remote(err)}
	}
	sess.push(m, nil)
	go sess.write()
	go s.serve(sess)
}

// detach forgets a connection that ended.
func (s *server) detach(sess *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sess.finish()
	if s.agent != sess {
		return
	}
	s.agent = nil
	s.idle.Reset(s.in.Idle)
	s.scheduleRespawn()
}

// serve answers one session's requests, in order.
func (s *server) serve(sess *session) {
	defer s.detach(sess)
	for {
		m, files, err := sess.conn.receive()
		if err != nil {
			sess.conn.close()
			return
		}
		body, out, err := s.handle(m, files)
		answer := message{ID: m.ID}
		if err == nil {
			answer.Body, err = json.Marshal(body)
		}
		if err != nil {
			answer.Body, answer.Error, out = nil, remote(err), nil
		}
		if s.reply(sess, answer, out) {
			return
		}
	}
}

// reply queues an answer; it says whether that was the last one of the shim.
func (s *server) reply(sess *session, answer message, files []*os.File) bool {
	s.mu.Lock()
	sess.push(answer, files)
	last := s.dismissed
	if last {
		sess.finish()
	}
	s.mu.Unlock()
	if last {
		<-sess.sent
		s.end()
	}
	return last
}

// push queues a message. An agent that does not read is cut off: it finds all it
// missed in the state when it connects again.
func (c *session) push(m message, files []*os.File) {
	if c.closed {
		return
	}
	select {
	case c.out <- outgoing{m, files}:
	default:
		c.conn.close()
		c.finish()
	}
}

// finish lets the writer send what is queued and end.
func (c *session) finish() {
	if !c.closed {
		c.closed = true
		close(c.out)
	}
}

func (c *session) write() {
	defer close(c.sent)
	defer c.conn.close()
	var failed error
	for m := range c.out {
		if failed != nil {
			continue
		}
		if failed = c.conn.send(context.Background(), m.message, m.files); failed != nil && !errors.Is(failed, os.ErrClosed) {
			c.conn.close()
		}
	}
}

// handle does one request.
func (s *server) handle(m message, files []*os.File) (any, []*os.File, error) {
	if m.Op != opInherit {
		closeAll(files)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m.Op {
	case opState:
		return encoded(s.snapshot())
	case opOpen:
		r, err := decode[openRequest](m)
		if err != nil {
			return nil, nil, err
		}
		return s.open(r)
	case opListeners:
		return s.listeners(s.sockets)
	case opInherit:
		r, err := decode[inheritRequest](m)
		if err != nil {
			closeAll(files)
			return nil, nil, err
		}
		return nil, nil, s.inherit(r, files)
	case opRelisten:
		r, err := decode[relistenRequest](m)
		if err != nil {
			return nil, nil, err
		}
		return nil, nil, s.relisten(r)
	case opStart:
		r, err := decode[Program](m)
		if err != nil {
			return nil, nil, err
		}
		return s.startByAgent(r)
	case opSignal:
		r, err := decode[SignalRequest](m)
		if err != nil {
			return nil, nil, err
		}
		return nil, nil, s.signal(r)
	case opKill:
		r, err := decode[killRequest](m)
		if err != nil {
			return nil, nil, err
		}
		return nil, nil, s.kill(r.Op)
	case opDismiss:
		r, err := decode[dismissRequest](m)
		if err != nil {
			return nil, nil, err
		}
		return nil, nil, s.dismiss(r.Force)
	default:
		return nil, nil, fmt.Errorf("%q: %w", m.Op, ErrUnknownOp)
	}
}

// encoded marshals while the lock is held, since a state shares memory.
func encoded(v any) (any, []*os.File, error) {
	b, err := json.Marshal(v)
	return json.RawMessage(b), nil, err
}

func decode[T any](m message) (T, error) {
	var v T
	if err := json.Unmarshal(m.Body, &v); err != nil {
		return v, fmt.Errorf("body of %s: %w", m.Op, err)
	}
	return v, nil
}
