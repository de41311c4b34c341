package main

import (
	"encoding/gob"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

const firstFD = 3

// parent is read before anything else, as facebookgo/grace does.
var parent = os.Getppid()

var protocols = map[string]protocol{
	"go-systemd":     {find: goSystemd, drain: syscall.SIGTERM},
	"gracehttp":      {find: gracehttp, serving: signalParent, drain: syscall.SIGTERM, again: syscall.SIGUSR2, restart: gracehttpRestart},
	"gracenet":       {find: gracehttp, drain: syscall.SIGTERM},
	"beego":          {find: beegoOrder, serving: signalParent, drain: syscall.SIGTERM},
	"endless":        {find: endless, serving: signalParent, early: true, drain: syscall.SIGTERM},
	"overseer":       {find: overseer, drain: syscall.SIGUSR2, drained: func() { _ = syscall.Kill(parent, syscall.SIGUSR1) }, wait: overseerWait},
	"tableflip":      {find: tableflip, serving: tableflipReady, drain: syscall.SIGTERM, drained: tableflipStop, again: syscall.SIGHUP, restart: tableflipUpgrade},
	"server_starter": {find: serverStarter, drain: syscall.SIGTERM},
	// The library in Go, beside the one in Perl.
	"go_server_starter": {find: goServerStarter, drain: syscall.SIGTERM},
	"einhorn":           {find: einhorn, serving: einhornAck, drain: syscall.SIGUSR2},
	"graceful":          {find: graceful, drain: syscall.SIGTERM},
	"goagain":           {find: goagain, serving: goagainKill, drain: syscall.SIGQUIT, again: syscall.SIGUSR2, restart: goagainRestart},
}

func signalParent() error {
	if parent == 1 {
		return nil
	}
	return syscall.Kill(parent, syscall.SIGTERM)
}

// goSystemd takes what is meant for this very process, in order.
func goSystemd(address string) (uintptr, error) {
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if pid, perr := strconv.Atoi(os.Getenv("LISTEN_PID")); perr != nil || pid != os.Getpid() {
		n = 0
	}
	i := slices.Index(addrs, address)
	if i >= n {
		return 0, fmt.Errorf("%d listeners, for address %d", n, i+1)
	}
	return uintptr(firstFD + i), err
}

// gracehttp takes all descriptors, whoever they were meant for, and looks for its
// address among them.
func gracehttp(address string) (uintptr, error) {
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil {
		return 0, err
	}
	want, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return 0, err
	}
	for i := range n {
		ln, err := net.FileListener(os.NewFile(uintptr(firstFD+i), "listener"))
		if err != nil {
			return 0, err
		}
		if bare(ln.Addr()) == bare(want) {
			f, err := ln.(*net.TCPListener).File()
			return f.Fd(), err
		}
	}
	return 0, errNotInherited
}

// bare is an address without a host that stands for all.
func bare(a net.Addr) string {
	return strings.TrimPrefix(strings.TrimPrefix(a.String(), "[::]"), "0.0.0.0")
}

var beegoFlags struct {
	graceful    bool
	socketOrder string
}

func beego() {
	flag.BoolVar(&beegoFlags.graceful, "graceful", false, "listen on fd open 3 (internal use only)")
	flag.StringVar(&beegoFlags.socketOrder, "socketorder", "", "previous initialization order, when more than one listener was used")
}

func beegoOrder(address string) (uintptr, error) {
	if !beegoFlags.graceful {
		return 0, errNotInherited
	}
	return inOrder(beegoFlags.socketOrder, address), nil
}

// inOrder is the first descriptor for an address that is not known.
func inOrder(order, address string) uintptr {
	return uintptr(firstFD + max(0, slices.Index(strings.Split(order, ","), address)))
}

func endless(address string) (uintptr, error) {
	if os.Getenv("ENDLESS_CONTINUE") == "" {
		return 0, errNotInherited
	}
	return inOrder(os.Getenv("ENDLESS_SOCKET_ORDER"), address), nil
}

// overseer takes descriptors by their position.
func overseer(address string) (uintptr, error) {
	if os.Getenv("OVERSEER_IS_SLAVE") != "1" || os.Getenv("OVERSEER_BIN_PATH") == "" {
		return 0, errors.New("this is no slave")
	}
	n, err := strconv.Atoi(os.Getenv("OVERSEER_NUM_FDS"))
	if err != nil {
		return 0, err
	}
	i := slices.Index(addrs, address)
	if i == 0 {
		go overseerWatch()
	}
	if i >= n {
		panic(fmt.Sprintf("index out of range [%d] with length %d", i, n))
	}
	return uintptr(firstFD + i), nil
}

// tableflipNames come from descriptor 4, to its end.
var tableflipNames = sync.OnceValues(func() (names [][]string, err error) {
	err = gob.NewDecoder(os.NewFile(4, "read")).Decode(&names)
	return names, err
})

// tableflip has its sockets from descriptor 5 on.
func tableflip(address string) (uintptr, error) {
	if os.Getenv("TABLEFLIP_HAS_PARENT_7DIU3") != "yes" {
		return 0, errNotInherited
	}
	names, err := tableflipNames()
	if err != nil {
		return 0, fmt.Errorf("names: %w", err)
	}
	want := []string{"listener", network(address), address}
	i := slices.IndexFunc(names, func(n []string) bool { return slices.Equal(n, want) })
	if i < 0 {
		return 0, errNotInherited
	}
	return uintptr(5 + i), nil
}

func tableflipReady() error {
	w := os.NewFile(3, "write")
	defer w.Close()
	_, err := w.Write([]byte{42})
	return err
}

func serverStarter(address string) (uintptr, error) {
	for entry := range strings.SplitSeq(os.Getenv("SERVER_STARTER_PORT"), ";") {
		if name, fd, ok := strings.Cut(entry, "="); ok && name == address {
			n, err := strconv.Atoi(fd)
			return uintptr(n), err
		}
	}
	return 0, fmt.Errorf("%s is not in %q", address, os.Getenv("SERVER_STARTER_PORT"))
}

// goServerStarter takes a host with dots for the path of a unix socket, and then
// uses the descriptor alone.
func goServerStarter(address string) (uintptr, error) {
	targets := strings.Split(os.Getenv("SERVER_STARTER_PORT"), ";")
	i := slices.Index(addrs, address)
	if i >= len(targets) {
		return 0, fmt.Errorf("%d targets, for address %d", len(targets), i+1)
	}
	name, fd, _ := strings.Cut(targets[i], "=")
	if host, _, _ := strings.Cut(name, ":"); strings.Contains(host, ".") {
		log.Printf("taken for a unix path: %s", name)
	}
	n, err := strconv.Atoi(fd)
	return uintptr(n), err
}

func einhorn(string) (uintptr, error) {
	if os.Getenv("EINHORN_MASTER_PID") != strconv.Itoa(parent) {
		return 0, fmt.Errorf("the master is %q and the parent %d", os.Getenv("EINHORN_MASTER_PID"), parent)
	}
	if os.Getenv("EINHORN_FD_COUNT") != "1" {
		return 0, errors.New("one descriptor is wanted")
	}
	n, err := strconv.Atoi(os.Getenv("EINHORN_FD_0"))
	return uintptr(n), err
}

func einhornAck() error {
	c, err := net.Dial("unix", os.Getenv("EINHORN_SOCK_PATH"))
	if err != nil {
		return err
	}
	defer c.Close()
	return json.NewEncoder(c).Encode(map[string]any{"command": "worker:ack", "pid": os.Getpid()})
}

func graceful(address string) (uintptr, error) {
	if os.Getenv("GRACEFUL_WORKER") != "1" {
		return 0, errors.New("this is no worker")
	}
	if n := os.Getenv("GRACEFUL_NUMFD"); n != strconv.Itoa(len(addrs)) {
		return 0, fmt.Errorf("handler number does not match numFDs, %d!=%s", len(addrs), n)
	}
	master, err := strconv.Atoi(os.Getenv("GRACEFUL_PARENT_PID"))
	if err != nil || syscall.Kill(master, 0) != nil {
		return 0, fmt.Errorf("the master %q is gone", os.Getenv("GRACEFUL_PARENT_PID"))
	}
	return uintptr(firstFD + slices.Index(addrs, address)), nil
}

func goagain(string) (uintptr, error) {
	n, err := strconv.Atoi(os.Getenv("GOAGAIN_FD"))
	if err == nil && !strings.HasPrefix(os.Getenv("GOAGAIN_NAME"), "tcp:") {
		err = fmt.Errorf("name %q", os.Getenv("GOAGAIN_NAME"))
	}
	return uintptr(n), err
}

// goagainKill tells the parent, by a signal that it is told of: QUIT unless
// somebody says otherwise.
func goagainKill() error {
	sig := syscall.SIGQUIT
	if n, err := strconv.Atoi(os.Getenv("GOAGAIN_SIGNAL")); err == nil {
		sig = syscall.Signal(n)
	}
	pid, err := strconv.Atoi(os.Getenv("GOAGAIN_PPID"))
	if err != nil {
		return err
	}
	return syscall.Kill(pid, sig)
}
