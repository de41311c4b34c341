package shim

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// heldSocket is one of the slot's sockets.
type heldSocket struct {
	socket service.Socket
	file   *os.File
	cookie uint64
	path   string // a unix path the shim created, to remove in the end
}

func (h *heldSocket) state() SocketState {
	return SocketState{Socket: h.socket, Cookie: h.cookie, Accepting: listen.Accepting(h.file)}
}

func hold(socket service.Socket, f *os.File, path string) (*heldSocket, error) {
	cookie, err := listen.Cookie(f)
	if err != nil {
		return nil, err
	}
	return &heldSocket{socket: socket, file: f, cookie: cookie, path: path}, nil
}

func (s *server) held(name string) *heldSocket {
	for _, h := range s.sockets {
		if h.socket.Name == name {
			return h
		}
	}
	return nil
}

// files are the descriptors of held sockets.
func (s *server) files(names []string) []*os.File {
	out := make([]*os.File, len(names))
	for i, name := range names {
		out[i] = s.held(name).file
	}
	return out
}

// open creates what is not held yet, all or nothing, and answers with all that
// was asked for.
func (s *server) open(r openRequest) (any, []*os.File, error) {
	var asked, fresh []*heldSocket
	for _, socket := range r.Sockets {
		h := s.held(socket.Name)
		if h != nil && h.socket.Address != socket.Address {
			release(fresh)
			return nil, nil, fmt.Errorf("socket %s listens on %s already, not on %s: another address needs another slot", socket.Name, h.socket.Address, socket.Address)
		}
		if h == nil {
			var err error
			if h, err = openOne(socket, r.Options[socket.Name]); err != nil {
				release(fresh)
				return nil, nil, fmt.Errorf("socket %s: %w", socket.Name, err)
			}
			fresh = append(fresh, h)
		}
		asked = append(asked, h)
	}
	s.sockets = append(s.sockets, fresh...)
	return s.listeners(asked)
}

func openOne(socket service.Socket, o listen.Options) (*heldSocket, error) {
	f, err := listen.Open(socket, o)
	if err != nil {
		return nil, err
	}
	path := ""
	if socket.Address.Network == service.Unix {
		if path = o.PrivatePath; path == "" {
			path = socket.Address.Path
		}
	}
	h, err := hold(socket, f, path)
	if err != nil {
		f.Close()
	}
	return h, err
}

// listeners answers with states and, beside them, the descriptors.
func (s *server) listeners(list []*heldSocket) (any, []*os.File, error) {
	states := make([]SocketState, len(list))
	files := make([]*os.File, len(list))
	for i, h := range list {
		states[i], files[i] = h.state(), h.file
	}
	return states, files, nil
}

func (s *server) relisten(r relistenRequest) error {
	h := s.held(r.Name)
	if h == nil {
		return fmt.Errorf("%q: %w", r.Name, ErrUnknownSocket)
	}
	return listen.Listen(h.file, r.Backlog)
}

// inherit takes over what a dead shim left: its sockets and its process. Later, a
// process that another inherited one handed over to.
func (s *server) inherit(r inheritRequest, files []*os.File) error {
	if c := s.state.Current; c != nil && c.Inherited && !c.Alive() && r.Process != nil && len(r.Sockets)+len(files) == 0 {
		s.state.Past = append(s.state.Past, *c)
		if err := s.inheritProcess(r); err != nil {
			return err
		}
		s.program = r.Program
		s.emit(Event{Kind: EventStarted, PID: r.Process.PID})
		return nil
	}
	if len(files) != len(r.Sockets) || len(s.sockets) > 0 || s.state.Current != nil {
		closeAll(files)
		return fmt.Errorf("inherit %d sockets with %d descriptors: only a new shim can, with one for each", len(r.Sockets), len(files))
	}
	if r.Process != nil {
		if err := s.inheritProcess(r); err != nil {
			closeAll(files)
			return err
		}
	}
	if r.Program != nil {
		s.program, s.state.Generation = r.Program, r.Program.Generation
	}
	for i, f := range files {
		h, err := hold(r.Sockets[i], f, "")
		if err != nil {
			closeAll(files[i:])
			return err
		}
		s.sockets = append(s.sockets, h)
	}
	return nil
}

// dismiss ends the shim once this was answered.
func (s *server) dismiss(force bool) error {
	if !force && (s.state.Current.Alive() || !s.state.Empty) {
		return fmt.Errorf("dismiss: %w", ErrAlive)
	}
	s.dismissed = true
	if s.respawn != nil {
		s.respawn.Stop()
	}
	s.closeSockets()
	return nil
}

func (s *server) closeSockets() {
	s.discardStage()
	release(s.sockets)
	s.sockets = nil
}

func release(list []*heldSocket) {
	for _, h := range list {
		h.file.Close()
		if h.path != "" {
			unix.Unlink(h.path)
		}
	}
}
