package demo

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	gracefleet "github.com/gracefleet/gracefleet/runtime"
)

// SampleArgument makes this program the sample service instead of gracectl.
const SampleArgument = "demo-service"

const (
	trailerMark = "\ngracefleet demo "
	trailerSize = 40
)

// trailer is of one size, so that it can be read from the end.
func trailer(version string) []byte {
	t := bytes.Repeat([]byte(" "), trailerSize)
	copy(t, trailerMark+version)
	return t
}

// ownVersion is what the trailer of this executable says.
func ownVersion() (string, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	t := make([]byte, trailerSize)
	if _, err := f.ReadAt(t, info.Size()-trailerSize); err != nil {
		return "", err
	}
	version, ok := strings.CutPrefix(string(t), trailerMark)
	if !ok {
		return "", errors.New("this is no version of the sample service: see gracectl demo")
	}
	return strings.TrimSpace(version), nil
}

// Serve is the sample service: fifteen lines on the library. It returns when it
// has drained.
func Serve() error {
	version, err := ownVersion()
	if err != nil {
		return err
	}
	svc, err := gracefleet.Start(gracefleet.Options{})
	if err != nil {
		return err
	}
	l, err := svc.Listen("http", "tcp", "127.0.0.1:8080")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Generation", fmt.Sprint(svc.Generation()))
		fmt.Fprintf(w, "gen=%d version=%s\n", svc.Generation(), version)
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if strings.HasSuffix(version, "bad") {
			fmt.Fprintln(os.Stderr, "health: the new feature does not work")
			http.Error(w, "not well", http.StatusInternalServerError)
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = svc.ServeHTTP(server, l) }() // its error ends Wait
	fmt.Fprintf(os.Stderr, "sample %s serves\n", version)
	if err := svc.Ready(); err != nil {
		return err
	}
	return svc.Wait()
}
