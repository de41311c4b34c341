package testserver

import (
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Each habit is as bad as promised; else what relies on it proves nothing.
func TestBad(t *testing.T) {
	gone := func(want int) func(*parent, *program) {
		return func(p *parent, g *program) {
			if got := p.exit(g, 5*time.Second); got != want {
				p.t.Errorf("exit %d, want %d: %s", got, want, &g.log)
			}
		}
	}
	answers := func(p *parent) {
		p.t.Helper()
		if status, body, err := p.get("/"); status != 200 || !strings.HasPrefix(body, "gen=1 ") {
			p.t.Errorf("%d %q %v", status, body, err)
		}
	}
	for mode, check := range map[string]func(*parent, *program){
		"exit-at-once": gone(1),
		"exit-zero":    gone(0),
		"never-ready": func(p *parent, g *program) {
			answers(p)
			if m := p.hear(100 * time.Millisecond); m != "" {
				p.t.Errorf("said %q", m)
			}
		},
		"deaf": func(p *parent, g *program) {
			p.awaitReady(g)
			c, err := net.Dial("tcp", p.addr)
			p.must(err)
			defer c.Close()
			c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
			c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if n, err := c.Read(make([]byte, 1)); !os.IsTimeout(err) {
				p.t.Errorf("answered %d bytes, %v", n, err)
			}
		},
		"check-500": func(p *parent, g *program) {
			p.awaitReady(g)
			answers(p)
			if status, _, err := p.get("/healthz"); status != 500 {
				p.t.Errorf("/healthz: %d %v", status, err)
			}
		},
		"crash-after=50ms": func(p *parent, g *program) { p.awaitReady(g); gone(2)(p, g) },
		"ignore-term": func(p *parent, g *program) {
			p.awaitReady(g)
			p.must(g.Process.Signal(syscall.SIGTERM))
			answers(p)
		},
		"fork-leftover": func(p *parent, g *program) {
			p.awaitReady(g)
			child := childOf(p, g)
			p.must(g.Process.Kill())
			p.exit(g, 5*time.Second)
			if err := syscall.Kill(child, 0); err != nil {
				p.t.Errorf("the leftover is gone: %v", err)
			}
			syscall.Kill(child, syscall.SIGKILL)
		},
		"grandchild-ready": func(p *parent, g *program) { p.awaitReady(g); answers(p) },
		"close-listener": func(p *parent, g *program) {
			p.awaitReady(g)
			eventually(p.t, "its descriptor is closed", func() bool {
				links, _ := filepath.Glob("/proc/" + strconv.Itoa(g.Process.Pid) + "/fd/*")
				for _, l := range links {
					if to, _ := os.Readlink(l); to == socketLink(p.socket) {
						return false
					}
				}
				return len(links) > 0
			})
		},
		"shutdown-listener": func(p *parent, g *program) {
			p.awaitReady(g)
			eventually(p.t, "nobody listens", func() bool {
				v, err := unix.GetsockoptInt(int(p.socket.Fd()), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
				return err == nil && v == 0
			})
		},
		"clear-nonblock=200ms": func(p *parent, g *program) {
			p.awaitReady(g)
			blocking := func() bool {
				flags, err := unix.FcntlInt(p.socket.Fd(), unix.F_GETFL, 0)
				return err == nil && flags&unix.O_NONBLOCK == 0
			}
			if blocking() {
				p.t.Error("blocking from the start")
			}
			eventually(p.t, "O_NONBLOCK is clear", blocking)
		},
		"spam-logs": func(p *parent, g *program) {
			p.awaitReady(g)
			time.Sleep(50 * time.Millisecond)
			p.must(g.Process.Kill())
			p.exit(g, 5*time.Second)
			if g.log.Len() < 100_000 {
				p.t.Errorf("only %d bytes of logs", g.log.Len())
			}
		},
	} {
		t.Run(mode, func(t *testing.T) {
			p := newParent(t, "tcp", "127.0.0.1:0")
			check(p, p.start(1, "bad", "-mode="+mode))
		})
	}
}

func TestBadJoinsThePort(t *testing.T) {
	p := newParent(t, "tcp", "127.0.0.1:0")
	p.awaitReady(p.start(1, "bad", "-mode=own-reuseport"))
	// With the inherited socket out of the way only its own is left.
	p.must(unix.Shutdown(int(p.socket.Fd()), unix.SHUT_RD))
	if status, body, err := p.get("/"); status != 200 {
		t.Errorf("%d %q %v", status, body, err)
	}
}

func TestBadKillsItsParent(t *testing.T) {
	killed := make(chan os.Signal, 1)
	signal.Notify(killed, syscall.SIGTERM)
	defer signal.Stop(killed)
	p := newParent(t, "tcp", "127.0.0.1:0")
	p.awaitReady(p.start(1, "bad", "-mode=kill-parent"))
	select {
	case <-killed:
	case <-time.After(5 * time.Second):
		t.Error("no SIGTERM within 5 s")
	}
}

func TestBadUnlinksUnixPath(t *testing.T) {
	p := newParent(t, "unix", filepath.Join(t.TempDir(), "s"))
	p.awaitReady(p.start(1, "bad", "-mode=unlink-unix"))
	eventually(t, "the path is gone", func() bool {
		_, err := os.Stat(p.addr)
		return os.IsNotExist(err)
	})
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 5 s", what)
		}
	}
}

// childOf finds the only child of a program.
func childOf(p *parent, g *program) int {
	p.t.Helper()
	pid := strconv.Itoa(g.Process.Pid)
	tasks, _ := filepath.Glob("/proc/" + pid + "/task/*/children")
	for _, file := range tasks {
		b, err := os.ReadFile(file)
		p.must(err)
		if f := strings.Fields(string(b)); len(f) == 1 {
			child, err := strconv.Atoi(f[0])
			p.must(err)
			return child
		}
	}
	p.t.Fatalf("no child: %s", &g.log)
	return 0
}

func socketLink(f *os.File) string {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return ""
	}
	return "socket:[" + strconv.FormatUint(st.Ino, 10) + "]"
}
