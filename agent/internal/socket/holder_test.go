package socket

import (
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A process that has ended, or is just ending, has closed nothing: what it holds is
// not known.
func TestHeldByTheEnding(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	inode, err := Inode(f)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60")
	cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	held, err := HeldBy(cmd.Process.Pid)
	if _, ok := held[inode]; !ok || err != nil {
		t.Fatalf("alive: %v, %v", held, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		held, err := HeldBy(cmd.Process.Pid)
		if _, ok := held[inode]; err == nil && !ok {
			t.Fatalf("on its way out it is said to hold %v", held)
		}
		var info unix.Siginfo
		if unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, syscall.WEXITED|syscall.WNOHANG|syscall.WNOWAIT, nil) == nil && info.Signo != 0 {
			break
		}
	}
	if held, err := HeldBy(cmd.Process.Pid); err == nil {
		t.Errorf("ended: %v", held)
	}
}
