// Command unixhttp is a service on the gracefleet library behind a unix socket.
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"

	gracefleet "github.com/gracefleet/gracefleet/runtime"
)

// version is set at link time: -ldflags "-X main.version=v2".
var version = "dev"

func main() {
	name := flag.String("socket", "http", "name of the socket to serve")
	listen := flag.String("listen", "unixhttp.sock", "path to serve when no parent holds the socket")
	lameDuck := flag.Duration("lame-duck", 0, "how long idle connections are left in a drain; 0: the library's default")
	flag.Parse()
	svc, err := gracefleet.Start(gracefleet.Options{LameDuck: *lameDuck, Logf: log.Printf})
	check(err)
	ln, err := svc.Listen(*name, "unix", *listen)
	check(err)
	who := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Generation", strconv.Itoa(svc.Generation()))
		fmt.Fprintf(w, "gen=%d version=%s pid=%d\n", svc.Generation(), version, os.Getpid())
	}
	go func() { _ = svc.ServeHTTP(&http.Server{Handler: http.HandlerFunc(who)}, ln) }() // its error ends Wait
	check(svc.Ready())
	check(svc.Wait())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
