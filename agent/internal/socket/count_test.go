package socket

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/steer"
	"github.com/gracefleet/gracefleet/internal/needs"
)

// hierarchy is where cgroup v2 is mounted.
func hierarchy(t testing.TB) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[2] == "cgroup2" {
			return f[1]
		}
	}
	needs.That(t, false, "cgroup v2 is not mounted")
	return ""
}

// ownCgroup is the id of the cgroup that this process is in.
func ownCgroup(t testing.TB) uint64 {
	t.Helper()
	top := hierarchy(t)
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return idOf(t, filepath.Join(top, path))
		}
	}
	t.Fatal("this process is in no cgroup")
	return 0
}

func idOf(t testing.TB, dir string) uint64 {
	t.Helper()
	st, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Ino
}

// newCgroup creates a cgroup; the descriptor is for starting processes in it.
func newCgroup(t testing.TB) (id uint64, fd int) {
	t.Helper()
	dir, err := os.MkdirTemp(hierarchy(t), "socket-test-")
	needs.That(t, err == nil, "creating a cgroup needs root")
	t.Cleanup(func() {
		eventually(t, "remove "+dir, func() bool { return os.Remove(dir) == nil })
	})
	if fd, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return idOf(t, dir), fd
}

func count(t testing.TB, s Scope) Count {
	t.Helper()
	n, err := CountNow(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// scopes of one slot: by cgroup, and by the descriptors of its processes.
func scopes(t testing.TB, a service.Address, cgroup uint64, processes ...*player) map[string]Scope {
	pids := func() []int {
		var out []int
		for _, p := range processes {
			out = append(out, p.cmd.Process.Pid)
		}
		return out
	}
	return map[string]Scope{
		"cgroup":      {Cgroups: []uint64{cgroup}, Addresses: []service.Address{a}},
		"descriptors": {Cgroups: []uint64{cgroup}, Addresses: []service.Address{a}, PIDs: pids, lacks: features{cgroupFilter: true}},
	}
}

// TestWatchIsExact drains 5,000 connections that two forked processes accepted.
func TestWatchIsExact(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	needs.That(t, limit.Max >= 6000, "5,000 connections need a higher limit of open files")
	for _, ip := range []string{"127.0.0.1", "::"} {
		a := fresh(t, service.TCP, ip)
		f := open(t, a, "")
		acceptors := []*player{play(t, "acceptor", "", f, 0), play(t, "acceptor", "", f, 0)}
		clients := play(t, "client", local4(a), nil, 0)
		clients.do("open", 5000)
		ss := scopes(t, a, ownCgroup(t), acceptors...)
		eventually(t, "all to be accepted", func() bool { return count(t, ss["descriptors"]).Open == 5000 })
		if n := count(t, ss["cgroup"]); n.Open != 5000 || !n.Known || n.Active+n.Idle+n.Stalled != 5000 {
			t.Fatalf("counted %+v", n)
		}
		runtime.GC()
		before := processorTime()
		w := watch(t, ss["cgroup"])
		w.await(5000)
		for _, step := range []int{1, 9, 490, 500, 1000, 1000} {
			left := w.last.Open - step
			clients.do("close", step)
			w.await(left)
		}
		t.Logf("%s: %v of processor time for 3,000 closes", a, processorTime()-before)
		for name, s := range ss {
			if n := count(t, s); n.Open != 2000 {
				t.Errorf("%s by %s: a fresh count has %+v, want 2000 open", a, name, n)
			}
		}
		clients.do("open", 3) // stragglers
		w.await(2003)
		clients.do("close", 2003)
		w.await(0)
		w.end()
	}
}

type watched struct {
	t      testing.TB
	counts chan Count
	last   Count
	cancel context.CancelFunc
	done   chan error
}

func watch(t testing.TB, s Scope) *watched {
	ctx, cancel := context.WithCancel(t.Context())
	w := &watched{t: t, counts: make(chan Count, 1000), cancel: cancel, done: make(chan error, 1)}
	go func() { w.done <- Watch(ctx, s, func(n Count) { w.counts <- n }) }()
	return w
}

// await waits until the count is there; on the way down it must never be below.
func (w *watched) await(open int) {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	down := open <= w.last.Open
	for {
		select {
		case w.last = <-w.counts:
			if !w.last.Known || (down && w.last.Open < open) {
				w.t.Fatalf("counted %+v, want %d open", w.last, open)
			}
			if w.last.Open == open {
				return
			}
		case err := <-w.done:
			w.t.Fatal("watch ended:", err)
		case <-deadline:
			w.t.Fatalf("still %+v, want %d open", w.last, open)
		}
	}
}

func (w *watched) end() {
	w.t.Helper()
	w.cancel()
	if err := <-w.done; !errors.Is(err, context.Canceled) {
		w.t.Error("watch:", err)
	}
}

// TestCountsOfTwoSlotsAreApart: two slots of one port, created in two cgroups,
// with outbound connections of the same processes.
func TestCountsOfTwoSlotsAreApart(t *testing.T) {
	id1, fd1 := newCgroup(t)
	id2, fd2 := newCgroup(t)
	a := fresh(t, service.TCP, "0.0.0.0")
	one, two := openIn(t, a, fd1), openIn(t, a, fd2)
	p1, p2 := play(t, "acceptor", "", one, 0), play(t, "acceptor", "", two, 0)
	clients := play(t, "client", local4(a), nil, 0)
	attach(t, one, []steer.Slot{1, 2}, steer.All(1), a)
	clients.do("open", 70)
	attach(t, one, []steer.Slot{1, 2}, steer.All(2), a)
	clients.do("open", 30)
	for _, c := range []struct {
		scopes map[string]Scope
		want   int
	}{{scopes(t, a, id1, p1), 70}, {scopes(t, a, id2, p2), 30}} {
		for name, s := range c.scopes {
			eventually(t, name+" to count right", func() bool { return count(t, s).Open == c.want })
		}
	}
	clients.do("close", 70)
	eventually(t, "the first slot to be empty", func() bool { return count(t, Scope{Cgroups: []uint64{id1}, Addresses: []service.Address{a}}).Open == 0 })
	if n := count(t, Scope{Cgroups: []uint64{id2}, Addresses: []service.Address{a}}); n.Open != 30 {
		t.Errorf("the second slot has %+v", n)
	}
}

func TestWatchWithoutTheStream(t *testing.T) {
	a := fresh(t, service.TCP, "127.0.0.1")
	p := play(t, "acceptor", "", open(t, a, ""), 0)
	clients := play(t, "client", local4(a), nil, 0)
	clients.do("open", 50)
	for name, s := range scopes(t, a, ownCgroup(t), p) {
		s.lacks.destroyed = true
		eventually(t, "all to be accepted", func() bool { return count(t, s).Open >= 20 })
		w := watch(t, s)
		w.await(count(t, s).Open)
		left := w.last.Open - 10
		clients.do("close", 10)
		w.await(left)
		w.end()
		t.Log(name, "works from lists alone")
	}
}

func TestUnknownIsNotZero(t *testing.T) {
	a := fresh(t, service.TCP, "127.0.0.1")
	udp := fresh(t, service.UDP, "127.0.0.1")
	for name, s := range map[string]Scope{
		"no cgroup, no processes": {Addresses: []service.Address{a}},
		"udp":                     {Cgroups: []uint64{1}, Addresses: []service.Address{udp}},
	} {
		if n := count(t, s); n.Known {
			t.Errorf("%s: %+v is said to be known", name, n)
		}
	}
}

func TestCountTellsClosingAndPending(t *testing.T) {
	a := fresh(t, service.TCP, "127.0.0.1")
	f := open(t, a, "")
	s := Scope{Cgroups: []uint64{ownCgroup(t)}, Addresses: []service.Address{a}}
	queued := dial(t, "tcp", local4(a))
	if _, err := queued.Write([]byte("12345")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "5 bytes to wait", func() bool { return count(t, s).BytesPending == 5 })
	if n := count(t, s); n.Open != 1 || n.Active != 1 {
		t.Errorf("a queued connection counts as %+v", n)
	}
	base, err := Cookies(t.Context(), s)
	if err != nil || len(base) != 1 {
		t.Fatalf("cookies %v: %v", base, err)
	}
	peers, err := Peers(t.Context(), s)
	if want := []netip.AddrPort{netip.MustParseAddrPort(queued.LocalAddr().String())}; err != nil || !slices.Equal(peers, want) {
		t.Errorf("peers %v, want %v: %v", peers, want, err)
	}
	s.Except = func(c uint64) bool { return base[c] }
	if n := count(t, s); n.Open != 0 || !n.Known {
		t.Errorf("beyond the baseline: %+v", n)
	}
	s.Except = nil
	fd, _, err := unix.Accept4(int(f.Fd()), unix.SOCK_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Read(fd, make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s); n.Active != 1 {
		t.Errorf("with a request to answer: %+v", n)
	}
	if _, err := unix.Write(fd, []byte("answer")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection to become idle", func() bool { return count(t, s).Idle == 1 })
	// The client reads nothing: its window closes, and the kernel probes it.
	for err = nil; err == nil; _, err = unix.Write(fd, make([]byte, 1<<16)) {
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	if n := count(t, s); n.Active != 1 || n.BytesPending == 0 {
		t.Errorf("with bytes to send: %+v", n)
	}
	eventually(t, "the connection to stall", func() bool { return count(t, s).Stalled == 1 })
	unix.Close(fd) // what was written is still to be delivered
	if n := count(t, s); n.Open != 0 || n.Closing != 1 {
		t.Errorf("after the program's close: %+v", n)
	}
}

func TestUnixConnections(t *testing.T) {
	dir := shortDir(t)
	public := filepath.Join(dir, "public")
	a := service.Address{Network: service.Unix, Path: public}
	var slots [2]Scope
	var files [2]*os.File
	for i, name := range []string{"one", "two"} {
		private := filepath.Join(dir, name)
		files[i] = open(t, a, private)
		slots[i] = Scope{Addresses: []service.Address{a}, Paths: []string{private}}
		if err := Publish(private, public); err != nil {
			t.Fatal(err)
		}
		for range 10 * (i + 1) {
			dial(t, "unix", public)
		}
	}
	accepted, _, err := unix.Accept(int(files[0].Fd()))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{10, 20} {
		if n := count(t, slots[i]); n.Open != want || !n.Known {
			t.Errorf("slot %d: %+v, want %d open", i, n, want)
		}
	}
	w := watch(t, slots[0])
	w.await(10)
	unix.Close(accepted)
	w.await(9)
	w.end()
}

// BenchmarkDestroyed measures this process alone: server and clients are others.
func BenchmarkDestroyed(b *testing.B) {
	a := fresh(b, service.TCP, "127.0.0.1")
	p := play(b, "acceptor", "", open(b, a, ""), 0)
	clients := play(b, "client", local4(a), nil, 0)
	s := Scope{Cgroups: []uint64{ownCgroup(b)}, Addresses: []service.Address{a}, PIDs: func() []int { return []int{p.cmd.Process.Pid} }}
	var spent time.Duration
	for b.Loop() {
		clients.do("open", 1000)
		eventually(b, "1,000 connections", func() bool { return count(b, s).Open == 1000 })
		w := watch(b, s)
		w.await(1000)
		before := processorTime()
		clients.do("close", 1000)
		w.await(0)
		spent += processorTime() - before
		w.end()
	}
	b.ReportMetric(float64(spent.Microseconds())/1000/float64(b.N), "cpu-ms/1000-closes")
}

func TestWatchOfTheUnknownSaysSoOnce(t *testing.T) {
	w := watch(t, Scope{Addresses: []service.Address{fresh(t, service.UDP, "127.0.0.1")}})
	if n := <-w.counts; n != (Count{}) {
		t.Errorf("counted %+v", n)
	}
	w.end()
	if len(w.counts) > 0 {
		t.Error("told more than once")
	}
}

// TestLostEventsAreNoticed overruns the stream while nobody reads it.
func TestLostEventsAreNoticed(t *testing.T) {
	a := fresh(t, service.TCP, "127.0.0.1")
	f := open(t, a, "")
	d, err := openDestroyed([]uint16{a.Port})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.conn.SetReadBuffer(1); err != nil { // the kernel's least
		t.Fatal(err)
	}
	for range 10 {
		touch(t, local4(a), 50)
		accept(t, f)
	}
	awaitDrops(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { d.run(ctx); close(done) }()
	select {
	case <-d.lost:
	case <-time.After(10 * time.Second):
		t.Error("500 events went through a buffer for a handful")
	}
	cancel()
	<-done
}

// awaitDrops waits until the kernel has dropped a message to a sock_diag socket:
// it tells of destroyed sockets when it finds the time.
func awaitDrops(t *testing.T) {
	t.Helper()
	const protocol, drops = 1, 8 // columns; NETLINK_SOCK_DIAG is 4
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		table, err := os.ReadFile("/proc/net/netlink")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(table)) {
			f := strings.Fields(line)
			if len(f) > drops && f[protocol] == "4" && f[drops] != "0" {
				return
			}
		}
	}
	t.Fatal("500 events went into a buffer for a handful, and none was dropped")
}
