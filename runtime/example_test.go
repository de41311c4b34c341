package gracefleet_test

import (
	"fmt"
	"io"
	"net/http"

	gracefleet "github.com/gracefleet/gracefleet/runtime"
)

func Example() {
	svc, err := gracefleet.Start(gracefleet.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ln, err := svc.Listen("http", "tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello\n")
	})
	go svc.ServeHTTP(&http.Server{Handler: mux}, ln)
	if err := svc.Ready(); err != nil {
		fmt.Println(err)
		return
	}
	svc.Drain() // here instead of SIGTERM
	fmt.Println("drained:", svc.Wait())
	// Output: drained: <nil>
}
