package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

// version is set at link time: -ldflags "-X main.version=v2".
var version = "dev"

// protocol is one library's way.
type protocol struct {
	// find returns the inherited descriptor for an address, or an error.
	find func(address string) (fd uintptr, err error)
	// serving is called once the program serves; nil says nothing to anybody.
	serving func() error
	// early programs say so before they serve, and do not heed signals until then.
	early bool
	// drain is the signal by which it ends.
	drain syscall.Signal
	// drained is called when it has ended; nil for most.
	drained func()
	// wait ends the service; nil is http.Server.Shutdown.
	wait func(*service) error
	// again is the signal by which it starts itself anew; 0 for most. Where
	// restart says true, the new process took over.
	again   syscall.Signal
	restart func([]net.Listener) (over bool, err error)
}

var (
	name    = flag.String("protocol", "", "whose way to use")
	begin   = flag.Duration("begin", 0, "how long it takes from saying that it serves to serving (endless)")
	timeout = flag.Duration("timeout", 10*time.Second, "for connections to end in a drain")
	addrs   addresses
)

// addresses are those that the program is configured with.
type addresses []string

func (a *addresses) String() string { return fmt.Sprint(*a) }

func (a *addresses) Set(s string) error {
	*a = append(*a, s)
	return nil
}

func main() {
	flag.Var(&addrs, "address", "address that the program is configured with; may be repeated")
	beego()
	flag.Parse()
	p, ok := protocols[*name]
	if !ok {
		log.Fatalf("protocol %q?", *name)
	}
	var listeners []net.Listener
	for _, address := range addrs {
		ln, err := p.listen(address)
		if err != nil {
			log.Fatalf("%s: %v", *name, err)
		}
		listeners = append(listeners, ln)
	}
	if err := p.serve(listeners); err != nil {
		log.Fatalf("%s: %v", *name, err)
	}
}

// errNotInherited has the program listen by itself, which is what libraries make
// of an address that they were not given.
var errNotInherited = errors.New("not inherited")

func (p protocol) listen(address string) (net.Listener, error) {
	fd, err := p.find(address)
	if errors.Is(err, errNotInherited) {
		return net.Listen(network(address), address)
	}
	if err != nil {
		return nil, err
	}
	ln, err := net.FileListener(os.NewFile(fd, "listener"))
	if err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	return ln, nil
}

func network(address string) string {
	if strings.HasPrefix(address, "/") {
		return "unix"
	}
	return "tcp"
}

// service is what a program runs.
type service struct {
	servers   []*http.Server
	listeners []net.Listener
	open      sync.WaitGroup // connections
}

func (p protocol) serve(listeners []net.Listener) error {
	told := make(chan os.Signal, 1)
	signals := []os.Signal{p.drain}
	if p.again != 0 {
		signals = append(signals, p.again)
	}
	signal.Notify(told, signals...)
	if p.early {
		if err := p.tell(); err != nil {
			return err
		}
		unheeded(told, *begin)
	}
	s := &service{listeners: listeners}
	served := s.start()
	if !p.early {
		if err := p.tell(); err != nil {
			return err
		}
	}
	replaced, err := p.await(s, served, told)
	if err != nil {
		return err
	}
	// A second signal is deadly.
	signal.Stop(told)
	// What this takes away would be the successor's.
	if p.drained != nil && !replaced {
		p.drained()
	}
	if p.wait != nil {
		return p.wait(s)
	}
	return s.shutdown()
}

func (p protocol) tell() error {
	if p.serving == nil {
		return nil
	}
	return p.serving()
}

// unheeded takes signals for a while, and forgets them.
func unheeded(told <-chan os.Signal, d time.Duration) {
	log.Print("not yet running")
	over := time.NewTimer(d)
	defer over.Stop()
	for {
		select {
		case sig := <-told:
			log.Printf("%v is ignored", sig)
		case <-over.C:
			return
		}
	}
}

// await returns when it is time to end; replaced says that a new process took over.
func (p protocol) await(s *service, served <-chan error, told <-chan os.Signal) (replaced bool, err error) {
	for {
		select {
		case err := <-served:
			return false, err
		case sig := <-told:
			if sig == p.drain {
				return false, nil
			}
			if over, err := p.restart(s.listeners); err != nil {
				log.Printf("restart: %v", err)
			} else if over {
				return true, nil
			}
		}
	}
}

// start has each address served by a server of its own.
func (s *service) start() <-chan error {
	served := make(chan error, len(s.listeners))
	for i, ln := range s.listeners {
		srv := &http.Server{Handler: routes(addrs[i]), ConnState: s.count}
		s.servers = append(s.servers, srv)
		go func() { served <- srv.Serve(ln) }()
	}
	return served
}

func (s *service) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.open.Done()
	}
}

func (s *service) shutdown() error {
	limit, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	var errs []error
	for _, srv := range s.servers {
		errs = append(errs, srv.Shutdown(limit))
	}
	return errors.Join(errs...)
}

func routes(address string) http.Handler {
	who := func(w http.ResponseWriter, r *http.Request) {
		gen := os.Getenv("GRACEFLEET_GENERATION")
		w.Header().Set("X-Generation", gen)
		fmt.Fprintf(w, "gen=%s version=%s pid=%d address=%s\n", gen, version, os.Getpid(), address)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", who)
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.FormValue("d"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		time.Sleep(d)
		who(w, r)
	})
	return mux
}
