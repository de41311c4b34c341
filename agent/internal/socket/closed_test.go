package socket

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/internal/needs"
)

// What a child between fork and exec has copies of is closed when Close returns.
func TestCloseWaitsForChildren(t *testing.T) {
	a := fresh(t, service.TCP, "127.0.0.1")
	f := open(t, a, "")
	own := cookie(t, f)

	// The kernel asks who holds a lease on a program before anybody executes it.
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	lease, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Close()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGIO)
	defer signal.Stop(asked)
	_, err = unix.FcntlInt(lease.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
	needs.That(t, err == nil, "no leases on the file system of temporary files")
	ran := make(chan error, 1)
	go func() { ran <- exec.Command(program).Run() }()
	<-asked // its child waits in execve(2)

	left := make(chan bool, 1)
	go func() {
		err := Close(timeout(t, 20*time.Second), []Target{{File: f, Address: a}})
		if err != nil {
			t.Error(err)
		}
		all, err := Listeners(t.Context(), a)
		if err != nil {
			t.Error(err)
		}
		left <- slices.ContainsFunc(all, func(l Listener) bool { return l.Cookie == own })
	}()
	early := time.NewTimer(100 * time.Millisecond) // for who does not wait
	defer early.Stop()
	select {
	case open := <-left:
		left <- open
	case <-early.C:
	}
	if _, err := unix.FcntlInt(lease.Fd(), unix.F_SETLEASE, unix.F_UNLCK); err != nil {
		t.Fatal(err)
	}
	if <-left {
		t.Error("closed, it is open still, and in its group")
	}
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

func TestCloseSaysWhoIsLeft(t *testing.T) {
	a := fresh(t, service.TCP, "127.0.0.1")
	f := open(t, a, "")
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if err := Close(timeout(t, 10*time.Millisecond), []Target{{File: f, Address: a}}); err == nil {
		t.Error("a copy is open")
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
}
