// Command plain is an ordinary Go web service as many are written: LISTEN_FDS
// read by hand, http.Server.Shutdown at once on SIGTERM. It knows nothing of
// gracefleet.
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
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// version is set at link time: -ldflags "-X main.version=v2".
var version = "dev"

func main() {
	address := flag.String("listen", "127.0.0.1:8080", "address when no LISTEN_FDS is given")
	notify := flag.Bool("notify", false, "send READY=1 to NOTIFY_SOCKET")
	timeout := flag.Duration("shutdown-timeout", 30*time.Second, "limit of Shutdown")
	flag.Parse()

	ln, err := listen(*address)
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Handler: routes()}
	stopped := make(chan error, 1)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		limit, cancel := context.WithTimeout(context.Background(), *timeout)
		defer cancel()
		stopped <- srv.Shutdown(limit)
	}()
	if *notify {
		if err := ready(); err != nil {
			log.Fatal(err)
		}
	}
	if err := srv.Serve(ln); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	if err := <-stopped; err != nil {
		log.Fatal(err)
	}
}

func listen(address string) (net.Listener, error) {
	n, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if n == 0 || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return net.Listen("tcp", address)
	}
	return net.FileListener(os.NewFile(3, "listener"))
}

func ready() error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	c, err := net.Dial("unixgram", path)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte("READY=1"))
	return err
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
	mux.HandleFunc("/credential", func(w http.ResponseWriter, r *http.Request) {
		secret, err := os.ReadFile(filepath.Join(os.Getenv("CREDENTIALS_DIRECTORY"), filepath.Base(r.FormValue("name"))))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(secret)
	})
	return mux
}
