package shim

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// server is the shim process: the memory of one generation. mu guards all of it;
// the goroutines are accept, notify, signals, reap and two per session.
type server struct {
	in    Intent
	quit  chan struct{} // closed once the shim may end
	ended sync.Once

	mu       sync.Mutex
	state    State // all but Sockets, which are read from the held ones
	sockets  []*heldSocket
	program  *Program
	agent    *session
	notifyFD int
	acks     bool // the socket for acknowledgements is there

	pidfd     int         // of an inherited main process, else -1
	stage     *stage      // forked ahead, for the first program
	streak    int         // restarts in a row by the shim itself
	respawn   *time.Timer // pending restart
	idle      *time.Timer
	dismissed bool
}

// Run is the shim process of a directory. It returns when it was dismissed, or
// when nobody wanted anything of it for the idle limit.
func Run(dir string) error {
	in, err := ReadIntent(dir)
	if err != nil {
		return err
	}
	if listening, err := unix.GetsockoptInt(controlFD, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listening != 1 {
		return fmt.Errorf("descriptor %d is not a control socket: a shim is started by graced", controlFD)
	}
	unix.CloseOnExec(controlFD)
	unix.Umask(0o022)
	// Descendants that lose their parent become ours, so they are reaped, and an
	// empty child list means that nothing of the program is left.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", err)
	}
	s := &server{in: in, quit: make(chan struct{}), pidfd: -1}
	s.state = State{
		PID: os.Getpid(), BootID: bootID(), StateID: in.StateID,
		Service: in.Service, Slot: in.Slot, Generation: in.Generation,
		SlotCgroup: in.SlotCgroup, Empty: true,
	}
	s.idle = time.AfterFunc(in.Idle, s.idled)
	return s.run()
}

func (s *server) run() error {
	signals := absorb() // first: nothing may end the shim from here on
	notify, err := s.bindNotify()
	if err != nil {
		return err
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	if err := unix.SetNonblock(controlFD, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	control := os.NewFile(uintptr(controlFD), ControlPath(s.in.Directory))

	go s.receiveNotifications(notify)
	go s.receiveSignals(signals)
	go s.reapChildren(children)
	go s.accept(control)
	if s.in.Stage != nil {
		s.stageAhead(*s.in.Stage)
	}
	<-s.quit
	// After this nobody takes a dead socket for a shim.
	os.Remove(ControlPath(s.in.Directory))
	os.Remove(NotifyPath(s.in.Directory))
	os.Remove(AckPath(s.in.Directory))
	return nil
}

// idled ends a shim that nobody commands and that never ran anything.
func (s *server) idled() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agent == nil && s.state.Current == nil && !s.dismissed {
		s.dismissed = true
		s.closeSockets()
		s.end()
	}
}

// end lets run return.
func (s *server) end() { s.ended.Do(func() { close(s.quit) }) }

// emit numbers an event, and tells the agent if there is one. The caller holds
// mu and has changed the state already.
func (s *server) emit(e Event) {
	s.state.Seq++
	e.Seq = s.state.Seq
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if e.Instance == 0 && s.state.Current != nil {
		e.Instance = s.state.Current.Number
	}
	if s.agent != nil {
		s.agent.push(message{Event: &e}, nil)
	}
}

// snapshot copies the state; the caller holds mu and marshals before letting go.
func (s *server) snapshot() State {
	st := s.state
	for _, h := range s.sockets {
		st.Sockets = append(st.Sockets, h.state())
	}
	return st
}
