package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mode is a bad habit: what is done first, and what once ready.
type mode struct {
	first, then      func(*server)
	neverReady, deaf bool
}

var modes = map[string]mode{
	"exit-at-once":      {first: func(*server) { log.Fatal("giving up at once, as asked by -mode") }},
	"exit-zero":         {first: func(*server) { os.Exit(0) }},
	"never-ready":       {neverReady: true},
	"deaf":              {deaf: true},
	"check-500":         {first: func(s *server) { s.check500 = true }},
	"crash-after":       {then: func(*server) { panic("crashing, as asked by -mode") }},
	"ignore-term":       {first: func(*server) { signal.Ignore(syscall.SIGTERM) }},
	"fork-leftover":     {first: func(*server) { startChild("leftover") }},
	"stubborn":          {first: func(*server) { signal.Ignore(syscall.SIGTERM); startChild("leftover") }},
	"grandchild-ready":  {then: func(*server) { startChild("ready") }, neverReady: true},
	"kill-parent":       {then: func(*server) { check(syscall.Kill(os.Getppid(), syscall.SIGTERM)) }},
	"close-listener":    {then: closeListener},
	"shutdown-listener": {then: func(*server) { check(unix.Shutdown(listenerFD, unix.SHUT_RD)) }},
	"clear-nonblock":    {then: func(*server) { check(unix.SetNonblock(listenerFD, false)) }},
	"own-reuseport":     {first: ownReuseport},
	"unlink-unix":       {then: unlinkUnix},
	"spam-logs":         {then: spamLogs},
	"own-port":          {first: ownPort},
	"lock-file":         {first: lockFile},
}

func closeListener(s *server) {
	s.ln.Close()
	check(inherited.Close())
}

// ownReuseport joins the group of the inherited socket's address with a listener
// of its own.
func ownReuseport(s *server) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		if cerr != nil {
			return cerr
		}
		return err
	}}
	ln, err := config.Listen(context.Background(), "tcp", address())
	check(err)
	go s.serve(ln)
}

// unlinkUnix removes the path of -with, or what the socket says is its own.
func unlinkUnix(*server) {
	path := *with
	if path == "" {
		path = address()
	}
	check(os.Remove(path))
}

// address is where the inherited socket listens.
func address() string {
	ln, err := net.FileListener(inherited)
	check(err)
	defer ln.Close()
	return ln.Addr().String()
}

// spamLogs writes some 10 MB a second.
func spamLogs(*server) {
	line := strings.Repeat("x", 999) + "\n"
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		for range 10 {
			fmt.Fprint(os.Stderr, line)
		}
	}
}

// childEnv makes the program a child of itself.
const childEnv = "BAD_CHILD"

// leftoverLife ends a leftover that nobody killed.
const leftoverLife = 5 * time.Minute

// startChild leaves descriptor 3 to the child as well: it is not close-on-exec.
func startChild(role string) {
	self, err := os.Executable()
	check(err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+role)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	check(cmd.Start())
	log.Printf("child %d: %s", cmd.Process.Pid, role)
}

func runChild(role string) {
	switch role {
	case "ready":
		check(notify("READY=1"))
	case "leftover":
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP)
		time.Sleep(leftoverLife)
	}
}

// ownPort listens where nobody told it to.
func ownPort(*server) {
	ln, err := net.Listen("tcp", *with)
	check(err)
	go func() { log.Print(http.Serve(ln, nil)) }()
}

// lockFile allows one instance only.
func lockFile(*server) {
	f, err := os.OpenFile(*with, os.O_CREATE|os.O_EXCL, 0o600)
	check(err)
	f.Close()
}
