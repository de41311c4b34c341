// Package gracefleet lets a program be upgraded and rolled back without losing
// a request. It takes the listening sockets from whoever holds them, says when
// the program is ready, and drains it politely when its successor has taken
// over.
//
//	import gracefleet "github.com/gracefleet/gracefleet/runtime"
//
//	svc, err := gracefleet.Start(gracefleet.Options{})
//	ln, err := svc.Listen("http", "tcp", ":8080")
//	go svc.ServeHTTP(&http.Server{Handler: mux}, ln)
//	err = svc.Ready()
//	err = svc.Wait()
//
// The same binary runs under graced, under systemd (socket activation,
// Type=notify) and from a shell, where it binds its sockets itself.
//
// A connection that net/http does not follow (hijacked, or of an accept loop of
// your own) counts only when the program says so: call [Service.Track] before
// the next Accept.
//
// The package needs the standard library and golang.org/x/sys alone, and never
// logs by itself. Its files, in the order of a program's life:
//
//   - start.go: Start, the Options, the Service
//   - inherit.go: the descriptors a parent left, and taking them over
//   - generation.go: who started this program, and which generation it is
//   - listen.go: Listen, ListenPacket, and how a socket is matched
//   - accept.go: a listener that serves its queue and then pauses
//   - notify.go: Ready, Fail, and what is told to the parent
//   - drain.go: from the signal to the end of Wait
//   - track.go: counts of the work in flight
//   - http.go: serving HTTP, and the order in which it drains
//   - idle.go, quiet_linux.go, quiet_other.go: ending an idle connection
package gracefleet
