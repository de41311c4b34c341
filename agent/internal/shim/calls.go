package shim

import (
	"context"
	"fmt"
	"os"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

// State asks for a fresh snapshot.
func (c *Client) State(ctx context.Context) (State, error) {
	var s State
	_, err := c.call(ctx, opState, nil, nil, &s)
	return s, err
}

// Open creates the slot's sockets in the shim, so in the slot's cgroup, all or
// none, in order, and returns duplicates. Names it holds already are answered
// from what it holds; the same name with another address is an error. Options
// are by socket name.
func (c *Client) Open(ctx context.Context, sockets []service.Socket, options map[string]listen.Options) ([]Listener, error) {
	return c.listeners(ctx, opOpen, openRequest{Sockets: sockets, Options: options})
}

// Listeners returns duplicates of every socket the shim holds, in the order they
// were opened.
func (c *Client) Listeners(ctx context.Context) ([]Listener, error) {
	return c.listeners(ctx, opListeners, nil)
}

func (c *Client) listeners(ctx context.Context, op string, body any) ([]Listener, error) {
	var states []SocketState
	files, err := c.call(ctx, op, body, nil, &states)
	if err != nil {
		return nil, err
	}
	if len(files) != len(states) {
		closeAll(files)
		return nil, fmt.Errorf("the shim sent %d descriptors for %d sockets", len(files), len(states))
	}
	list := make([]Listener, len(states))
	for i := range states {
		list[i] = Listener{SocketState: states[i], File: files[i]}
	}
	return list, nil
}

// Inheritance is what a replacement shim takes over from one that died.
type Inheritance struct {
	// Sockets and their Files, in slot order. The caller keeps its Files.
	Sockets []service.Socket
	Files   []*os.File
	// Program is what to restart later; its Instance is the running one's number.
	Program *Program
	// Process is the running main process, if there is one; needs Program.
	Process *Process
}

// Inherit gives a replacement shim the sockets and the process of one that died.
func (c *Client) Inherit(ctx context.Context, in Inheritance) error {
	_, err := c.call(ctx, opInherit, inheritRequest{Sockets: in.Sockets, Program: in.Program, Process: in.Process}, in.Files, nil)
	return err
}

// Relisten listens again on a socket, with the backlog; see listen.Listen.
func (c *Client) Relisten(ctx context.Context, name string, backlog int) error {
	_, err := c.call(ctx, opRelisten, relistenRequest{Name: name, Backlog: backlog}, nil, nil)
	return err
}

// Start runs the program and returns once its execve has happened. A program
// that cannot be run is an *ExecError. The current Instance number again returns
// what the first call did; a lower one is ErrStale; another one while the
// program lives is ErrAlive.
func (c *Client) Start(ctx context.Context, p Program) (Instance, error) {
	var i Instance
	_, err := c.call(ctx, opStart, p, nil, &i)
	return i, err
}

// Signal sends a signal to the main process of the current instance, at most
// once per Op.
func (c *Client) Signal(ctx context.Context, r SignalRequest) error {
	_, err := c.call(ctx, opSignal, r, nil, nil)
	return err
}

// Kill kills the program and every descendant, and goes on until none is left
// (EventEmpty); it returns at once. The shim will not restart the program.
func (c *Client) Kill(ctx context.Context, op string) error {
	_, err := c.call(ctx, opKill, killRequest{Op: op}, nil, nil)
	return err
}

// Dismiss ends the shim; its sockets are closed when it returns. While the
// program or a descendant lives it is ErrAlive, unless forced: then they live on
// without a shim.
func (c *Client) Dismiss(ctx context.Context, force bool) error {
	_, err := c.call(ctx, opDismiss, dismissRequest{Force: force}, nil, nil)
	return err
}
