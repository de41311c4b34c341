package socket

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/listen"
	"github.com/gracefleet/gracefleet/agent/internal/service"
)

const roleVariable = "GRACEFLEET_SOCKET_TEST_ROLE"

// roles are the other processes of a test. Descriptor 3 is what the role works
// on; it ends when its standard input does.
var roles = map[string]func(){
	"acceptor": acceptor,
	"client":   client,
	"listener": listener,
}

// acceptor serves the listener like a program that knows nothing of us: it
// closes what its peer has closed.
func acceptor() {
	l, err := net.FileListener(os.NewFile(3, "listener"))
	check(err)
	go func() {
		for {
			c, err := l.Accept()
			check(err)
			go func() {
				io.Copy(io.Discard, c)
				c.Close()
			}()
		}
	}()
	io.Copy(io.Discard, os.Stdin)
}

// client obeys "open N" and "close N" and answers each with a line.
func client() {
	var conns []net.Conn
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		verb, arg, _ := strings.Cut(in.Text(), " ")
		n, err := strconv.Atoi(arg)
		check(err)
		for range n {
			if verb == "open" {
				c, err := net.Dial("tcp", os.Getenv("TO"))
				check(err)
				conns = append(conns, c)
				continue
			}
			conns[0].Close()
			conns = conns[1:]
		}
		fmt.Println("ok")
	}
}

// listener creates a listener, in whatever cgroup it was started in, and hands
// it over.
func listener() {
	a, err := service.ParseAddress(os.Getenv("TO"))
	check(err)
	f, err := listen.Open(service.Socket{Name: "test", Address: a}, listen.Options{})
	check(err)
	check(unix.Sendmsg(3, []byte{0}, unix.UnixRights(int(f.Fd())), nil, 0))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// player is a running role.
type player struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func play(t testing.TB, role, to string, fd *os.File, cgroup int) *player {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"="+role, "TO="+to)
	cmd.Stderr = os.Stderr
	if fd != nil {
		cmd.ExtraFiles = []*os.File{fd}
	}
	if cgroup > 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: cgroup}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
	return &player{t: t, cmd: cmd, in: in, out: bufio.NewScanner(out)}
}

// do gives a client an order and waits until it is carried out.
func (p *player) do(verb string, n int) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, verb, n); err != nil {
		p.t.Fatal(err)
	}
	if !p.out.Scan() {
		p.t.Fatalf("the client died at %s %d", verb, n)
	}
}

// openIn creates a listener within a cgroup.
func openIn(t testing.TB, a service.Address, cgroup int) *os.File {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "pair")
	p := play(t, "listener", a.String(), theirs, cgroup)
	theirs.Close()
	defer unix.Close(pair[0])
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(pair[0], make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n == 0 {
		t.Fatalf("no listener came: %v", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	f, err := listen.File(fds[0], a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := p.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return f
}
