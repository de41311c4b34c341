package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
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
	// drain is the signal by which it ends.
	drain syscall.Signal
	// drained is called when it has ended; nil for most.
	drained func()
}

func main() {
	name := flag.String("protocol", "", "whose way to use")
	address := flag.String("address", "127.0.0.1:8080", "address that the program is configured with")
	beego()
	flag.Parse()
	p, ok := protocols[*name]
	if !ok {
		log.Fatalf("protocol %q?", *name)
	}
	fd, err := p.find(*address)
	if err != nil {
		log.Fatalf("%s: %v", *name, err)
	}
	ln, err := net.FileListener(os.NewFile(fd, "listener"))
	if err != nil {
		log.Fatalf("%s: descriptor %d: %v", *name, fd, err)
	}
	if err := p.serve(ln); err != nil {
		log.Fatalf("%s: %v", *name, err)
	}
}

func (p protocol) serve(ln net.Listener) error {
	told := make(chan os.Signal, 1)
	signal.Notify(told, p.drain)
	srv := &http.Server{Handler: routes()}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	if p.serving != nil {
		if err := p.serving(); err != nil {
			return err
		}
	}
	select {
	case err := <-served:
		return err
	case <-told:
	}
	limit, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if p.drained != nil {
		p.drained()
	}
	return srv.Shutdown(limit)
}

func routes() http.Handler {
	who := func(w http.ResponseWriter, r *http.Request) {
		gen := os.Getenv("GRACEFLEET_GENERATION")
		w.Header().Set("X-Generation", gen)
		fmt.Fprintf(w, "gen=%s version=%s pid=%d\n", gen, version, os.Getpid())
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
