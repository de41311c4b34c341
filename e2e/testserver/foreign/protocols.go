package main

import (
	"encoding/gob"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const firstFD = 3

// parent is read before anything else, as facebookgo/grace does.
var parent = os.Getppid()

var protocols = map[string]protocol{
	"gracehttp":      {find: gracehttp, serving: signalParent, drain: syscall.SIGTERM},
	"beego":          {find: beegoOrder, serving: signalParent, drain: syscall.SIGTERM},
	"endless":        {find: endless, serving: signalParent, drain: syscall.SIGTERM},
	"overseer":       {find: overseer, drain: syscall.SIGUSR2, drained: func() { _ = syscall.Kill(parent, syscall.SIGUSR1) }},
	"tableflip":      {find: tableflip, serving: tableflipReady, drain: syscall.SIGTERM},
	"server_starter": {find: serverStarter, drain: syscall.SIGTERM},
	"einhorn":        {find: einhorn, serving: einhornAck, drain: syscall.SIGUSR2},
	"graceful":       {find: graceful, drain: syscall.SIGTERM},
	"goagain":        {find: goagain, serving: goagainKill, drain: syscall.SIGQUIT},
}

func signalParent() error {
	if parent == 1 {
		return nil
	}
	return syscall.Kill(parent, syscall.SIGTERM)
}

// gracehttp takes all descriptors, whoever they were meant for, and looks for its
// address among them.
func gracehttp(address string) (uintptr, error) {
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil {
		return 0, err
	}
	for i := range n {
		ln, err := net.FileListener(os.NewFile(uintptr(firstFD+i), "listener"))
		if err != nil {
			return 0, err
		}
		if ln.Addr().String() == address {
			f, err := ln.(*net.TCPListener).File()
			return f.Fd(), err
		}
	}
	return 0, fmt.Errorf("none of %d inherited sockets listens on %s: bind: address already in use", n, address)
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
		return 0, errors.New("not started gracefully")
	}
	return inOrder(beegoFlags.socketOrder, address)
}

func inOrder(order, address string) (uintptr, error) {
	i := slices.Index(strings.Split(order, ","), address)
	if i < 0 {
		return 0, fmt.Errorf("%s is not in the order %q", address, order)
	}
	return uintptr(firstFD + i), nil
}

// endless takes the first descriptor for an address that it does not know.
func endless(address string) (uintptr, error) {
	if os.Getenv("ENDLESS_CONTINUE") == "" {
		return 0, errors.New("ENDLESS_CONTINUE is not set")
	}
	fd, err := inOrder(os.Getenv("ENDLESS_SOCKET_ORDER"), address)
	if err != nil {
		return firstFD, nil
	}
	return fd, nil
}

func overseer(string) (uintptr, error) {
	if os.Getenv("OVERSEER_IS_SLAVE") != "1" || os.Getenv("OVERSEER_BIN_PATH") == "" {
		return 0, errors.New("this is no slave")
	}
	if n := os.Getenv("OVERSEER_NUM_FDS"); n != "1" {
		return 0, fmt.Errorf("%s descriptors for 1 address", n)
	}
	return firstFD, nil
}

// tableflip reads names from descriptor 4 to its end; sockets follow from 5.
func tableflip(address string) (uintptr, error) {
	if os.Getenv("TABLEFLIP_HAS_PARENT_7DIU3") != "yes" {
		return 0, errors.New("there is no parent")
	}
	var names [][]string
	if err := gob.NewDecoder(os.NewFile(4, "read")).Decode(&names); err != nil {
		return 0, fmt.Errorf("names: %w", err)
	}
	i := slices.IndexFunc(names, func(n []string) bool { return slices.Equal(n, []string{"listener", "tcp", address}) })
	if i < 0 {
		return 0, fmt.Errorf("%s is not among %q", address, names)
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

func graceful(string) (uintptr, error) {
	if os.Getenv("GRACEFUL_WORKER") != "1" || os.Getenv("GRACEFUL_NUMFD") != "1" {
		return 0, errors.New("this is no worker with one descriptor")
	}
	master, err := strconv.Atoi(os.Getenv("GRACEFUL_PARENT_PID"))
	if err != nil || syscall.Kill(master, 0) != nil {
		return 0, fmt.Errorf("the master %q is gone", os.Getenv("GRACEFUL_PARENT_PID"))
	}
	return firstFD, nil
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
