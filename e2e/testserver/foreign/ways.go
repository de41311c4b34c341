package main

import (
	"encoding/gob"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// overseerWatch ends a slave whose master is gone.
func overseerWatch() {
	for syscall.Kill(parent, 0) == nil {
		time.Sleep(2 * time.Second)
	}
	os.Exit(1)
}

// overseerWait closes the listeners and leaves all connections to their clients,
// kept ones as well; those that are left at the timeout end with the process.
func overseerWait(s *service) error {
	for _, ln := range s.listeners {
		ln.Close()
	}
	ended := make(chan struct{})
	go func() {
		s.open.Wait()
		close(ended)
	}()
	death := time.NewTimer(*timeout)
	defer death.Stop()
	select {
	case <-ended:
		return nil
	case <-death.C:
		return errors.New("timeout. forceful shutdown")
	}
}

// tableflipStop removes the paths of unix sockets: it is taken for the end of the
// service.
func tableflipStop() {
	for _, address := range addrs {
		if network(address) == "unix" {
			_ = os.Remove(address)
		}
	}
}

// gracehttpRestart starts the program anew, which tells its parent when it serves.
func gracehttpRestart(listeners []net.Listener) (bool, error) {
	_, err := startAgain("LISTEN_FDS=1", nil, listeners)
	return false, err
}

// tableflipUpgrade returns when the new process is ready.
func tableflipUpgrade(listeners []net.Listener) (bool, error) {
	ready, write, err := os.Pipe()
	if err != nil {
		return false, err
	}
	read, names, err := os.Pipe()
	if err != nil {
		return false, err
	}
	var all [][]string
	for _, address := range addrs {
		all = append(all, []string{"listener", network(address), address})
	}
	if err := gob.NewEncoder(names).Encode(all); err != nil {
		return false, err
	}
	if _, err := startAgain("TABLEFLIP_HAS_PARENT_7DIU3=yes", []*os.File{write, read}, listeners); err != nil {
		return false, err
	}
	write.Close()
	if n, err := ready.Read(make([]byte, 1)); n != 1 {
		return false, errors.Join(errors.New("the child exited"), err)
	}
	return true, nil
}

// goagainRestart is what a recent Go makes of the library's look into a listener.
func goagainRestart([]net.Listener) (bool, error) {
	panic("reflect: call of reflect.Value.FieldByName on ptr Value")
}

// startAgain runs the program with one more variable, and descriptors from 3 on.
func startAgain(env string, before []*os.File, listeners []net.Listener) (*os.Process, error) {
	name, _, _ := strings.Cut(env, "=")
	var inherited []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, name+"=") {
			inherited = append(inherited, kv)
		}
	}
	files := append([]*os.File{os.Stdin, os.Stdout, os.Stderr}, before...)
	for _, ln := range listeners {
		f, err := ln.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return os.StartProcess(self, os.Args, &os.ProcAttr{Env: append(inherited, env), Files: files})
}
