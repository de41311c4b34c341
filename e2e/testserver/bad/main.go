package main

import (
	"flag"
	"fmt"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// version is set at link time: -ldflags "-X main.version=v2".
var version = "dev"

// listenerFD is where the inherited socket is. inherited keeps it from being
// closed by the garbage collector.
const listenerFD = 3

var with = flag.String("with", "", "address of own-port, path of lock-file and unlink-unix")

var inherited = os.NewFile(listenerFD, "listener")

func main() {
	log.SetFlags(log.Lmicroseconds)
	mode := flag.String("mode", "", "one of "+strings.Join(slices.Sorted(maps.Keys(modes)), ", ")+
		"; crash-after takes a duration: crash-after=2s")
	delay := flag.Duration("after", 0, "from ready to the habits that begin then")
	flag.Parse()
	if role := os.Getenv(childEnv); role != "" {
		runChild(role)
		return
	}
	name, arg, _ := strings.Cut(*mode, "=")
	m, ok := modes[name]
	if !ok {
		log.Fatalf("unknown -mode %q", *mode)
	}
	if arg != "" {
		d, err := time.ParseDuration(arg)
		check(err)
		*delay = d
	}

	s := &server{}
	if m.first != nil {
		m.first(s)
	}
	var err error
	s.ln, err = net.FileListener(inherited)
	check(err)
	if !m.deaf {
		go s.serve(s.ln)
	}
	if !m.neverReady {
		check(notify("READY=1"))
	}
	if m.then != nil {
		time.Sleep(*delay)
		m.then(s)
	}
	for {
		time.Sleep(time.Hour) // an empty select would count as a deadlock
	}
}

// server is the part of the program that behaves.
type server struct {
	ln       net.Listener
	check500 bool
}

func (s *server) serve(ln net.Listener) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", who)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		if s.check500 {
			http.Error(w, "asked to by -mode", http.StatusInternalServerError)
			return
		}
		who(w, r)
	})
	log.Print(http.Serve(ln, mux))
}

func who(w http.ResponseWriter, r *http.Request) {
	gen := os.Getenv("GRACEFLEET_GENERATION")
	w.Header().Set("X-Generation", gen)
	fmt.Fprintf(w, "gen=%s version=%s pid=%d\n", gen, version, os.Getpid())
}

// notify tells the parent, if there is one that listens.
func notify(message string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	c, err := net.Dial("unixgram", path)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(message))
	return err
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
