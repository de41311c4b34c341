// Command runtime is a service on the gracefleet library. It says who it is,
// and misbehaves on request.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	gracefleet "github.com/gracefleet/gracefleet/runtime"
)

// version is set at link time: -ldflags "-X main.version=v2".
var version = "dev"

func main() {
	log.SetFlags(log.Lmicroseconds)
	name := flag.String("socket", "http", "name of the socket to serve")
	listen := flag.String("listen", "127.0.0.1:8080", "address to serve when no parent holds the socket")
	lameDuck := flag.Duration("lame-duck", 0, "how long idle connections are left in a drain; 0: the library's default")
	drainTimeout := flag.Duration("drain-timeout", 0, "limit of a drain; 0: the library's default")
	failStatus := flag.Int("fail-status", 0, "answer every request but /healthz with this status")
	failHealth := flag.Bool("fail-health", false, "answer /healthz with 503")
	failAfter := flag.Duration("fail-after", 0, "call Fail this long after being ready")
	crashAfter := flag.Duration("crash-after", 0, "exit with 3 this long after being ready")
	lock := flag.String("lock", "", "file that one copy of the program can hold; another one ends")
	refuse := flag.String("refuse", "", "file with versions of this program that give up at once on this host")
	startAfter := flag.Duration("start-after", 0, "do nothing at all before this")
	readyAfter := flag.Duration("ready-after", 0, "be ready only after this")
	flag.Parse()
	time.Sleep(*startAfter)
	check(hold(*lock))
	check(accepted(*refuse))

	svc, err := gracefleet.Start(gracefleet.Options{LameDuck: *lameDuck, DrainTimeout: *drainTimeout, Logf: log.Printf})
	check(err)
	ln, err := svc.Listen(*name, "tcp", *listen)
	check(err)
	a := &app{svc: svc, failHealth: *failHealth}
	a.failStatus.Store(int64(*failStatus))
	go func() { _ = svc.ServeHTTP(&http.Server{Handler: a.routes()}, ln) }() // its error ends Wait

	time.Sleep(*readyAfter)
	check(svc.Ready())
	after(*failAfter, func() { svc.Fail("asked to by -fail-after") })
	after(*crashAfter, func() { os.Exit(3) })
	check(svc.Wait())
}

// held keeps the lock's file from being closed by the garbage collector.
var held *os.File

// hold takes a lock that ends with the process.
func hold(path string) (err error) {
	if path == "" {
		return nil
	}
	if held, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	return syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// accepted is an error where the host's file names this version.
func accepted(path string) error {
	refused, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if slices.Contains(strings.Fields(string(refused)), version) {
		err = fmt.Errorf("%s is among what %s refuses", version, path)
	}
	return err
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func after(d time.Duration, f func()) {
	if d > 0 {
		time.AfterFunc(d, f)
	}
}

type app struct {
	svc        *gracefleet.Service
	failHealth bool
	failStatus atomic.Int64
}

func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", a.who)
	mux.HandleFunc("/healthz", a.health)
	mux.HandleFunc("/slow", a.slow)
	mux.HandleFunc("/stream", a.stream)
	mux.HandleFunc("/misbehave", a.misbehave)
	return mux
}

func (a *app) who(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Generation", strconv.Itoa(a.svc.Generation()))
	if s := a.failStatus.Load(); s != 0 {
		w.WriteHeader(int(s))
	}
	fmt.Fprintf(w, "gen=%d version=%s pid=%d\n", a.svc.Generation(), version, os.Getpid())
}

func (a *app) health(w http.ResponseWriter, r *http.Request) {
	if a.failHealth {
		http.Error(w, "asked to by -fail-health", http.StatusServiceUnavailable)
		return
	}
	a.who(w, r)
}

// slow answers after ?d=DURATION.
func (a *app) slow(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.FormValue("d"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	time.Sleep(d)
	a.who(w, r)
}

// stream sends a line every 100 ms until the client leaves or the drain ends.
func (a *app) stream(w http.ResponseWriter, r *http.Request) {
	out := http.NewResponseController(w)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		a.who(w, r)
		if err := out.Flush(); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-a.svc.Context().Done():
			return
		}
	}
}

// misbehave takes ?fail=REASON, ?status=CODE (from then on; none: 200 again) and
// ?exit=CODE.
func (a *app) misbehave(w http.ResponseWriter, r *http.Request) {
	if reason := r.FormValue("fail"); reason != "" {
		a.svc.Fail(reason)
	}
	status, serr := formInt(r, "status")
	exit, eerr := formInt(r, "exit")
	if err := errors.Join(serr, eerr); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.failStatus.Store(int64(status))
	if exit > 0 {
		os.Exit(exit)
	}
}

func formInt(r *http.Request, key string) (int, error) {
	if r.FormValue(key) == "" {
		return 0, nil
	}
	return strconv.Atoi(r.FormValue(key))
}
