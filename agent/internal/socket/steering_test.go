package socket

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/steer"
)

func TestCanaryShares(t *testing.T) {
	for _, c := range []struct {
		ip      string
		clients []func(service.Address) string
	}{
		{"127.0.0.1", []func(service.Address) string{local4}},
		{"::", []func(service.Address) string{local4, local6}},
	} {
		a := fresh(t, service.TCP, c.ip)
		active, candidate := open(t, a, ""), open(t, a, "")
		for _, share := range []int{0, 100, 500, 2500, 5000, 10000} {
			attach(t, active, []steer.Slot{1, 2}, steer.Split(1, 2, share), a)
			want := float64(share) / 100
			got := measure(t, a, c.clients, active, candidate)
			if off(got, want) && share > 0 && share < steer.Whole {
				// One fair coin in 200 misses by a point in 20,000 throws.
				t.Logf("%s: got %.2f %%, once more", a, got)
				got = measure(t, a, c.clients, active, candidate)
			}
			t.Logf("%s: want %.0f %%, got %.2f %%", a, want, got)
			exact := share == 0 || share == steer.Whole
			if off(got, want) || (exact && got != want) {
				t.Errorf("%s: %.2f %% reached the candidate, want %.0f", a, got, want)
			}
		}
	}
}

func off(got, want float64) bool { return got < want-1 || got > want+1 }

// measure returns the candidate's share of 20,000 connections in percent.
func measure(t *testing.T, a service.Address, clients []func(service.Address) string, active, candidate *os.File) float64 {
	t.Helper()
	const total, burst = 20000, 500
	got, all := 0, 0
	for i := range total / burst {
		touch(t, clients[i%len(clients)](a), burst)
		n := accept(t, candidate)
		got, all = got+n, all+n+accept(t, active)
	}
	if all != total {
		t.Fatalf("%s: %d of %d connections arrived", a, all, total)
	}
	return float64(got) * 100 / total
}

func TestProbesReachTheCandidateAlone(t *testing.T) {
	for _, ip := range []string{"0.0.0.0", "127.0.0.1", "::", "::1"} {
		a := fresh(t, service.TCP, ip)
		active, candidate := open(t, a, ""), open(t, a, "")
		d, err := NewProbeDialer(a, "")
		if err != nil {
			t.Fatal(err)
		}
		const total, burst = 500, 50
		users, probes := 0, 0
		for range total / burst {
			w := steer.All(1)
			w.Probe = 2
			if w.ProbePorts, err = d.Prepare(burst); err != nil {
				t.Fatal(err)
			}
			attach(t, active, []steer.Slot{1, 2}, w, a)
			for range burst {
				c, err := d.Dial(timeout(t, 5*time.Second))
				if err != nil {
					t.Fatal(err)
				}
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
				if a.IP.Is4() {
					touch(t, local4(a), 1)
				} else {
					touch(t, local6(a), 1)
				}
			}
			users += accept(t, active)
			probes += accept(t, candidate)
		}
		if users != total || probes != total {
			t.Errorf("%s: %d users reached the active slot, %d probes the candidate: want %d each", a, users, probes, total)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestProbeDialerRefuses(t *testing.T) {
	a := fresh(t, service.TCP, "0.0.0.0")
	onDevice := a
	onDevice.Device = "eth0"
	for _, bad := range []service.Address{fresh(t, service.UDP, "0.0.0.0"), onDevice, {Network: service.Unix, Path: "/x"}} {
		if _, err := NewProbeDialer(bad, ""); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
	six, err := NewProbeDialer(fresh(t, service.TCP, "::1"), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := six.Dial(t.Context()); err == nil {
		t.Error("dialed without a held port")
	}
}

// kernelGroup is a group in the kernel, with the order that steer believes in.
type kernelGroup struct {
	t       *testing.T
	address service.Address
	files   map[steer.Slot]*os.File
	order   steer.Order
	weights steer.Weights
	next    steer.Slot
}

func (r *kernelGroup) attach() {
	attach(r.t, r.files[r.order.Slots()[0]], r.order.Of(r.address), r.weights, r.address)
}

func (r *kernelGroup) join() {
	if r.next > 0 {
		r.attach()
	}
	r.next++
	o, err := r.order.Join(r.next, []service.Address{r.address})
	if err != nil {
		r.t.Fatal(err)
	}
	r.files[r.next] = open(r.t, r.address, "")
	r.order = o.Done()
}

func (r *kernelGroup) close(s steer.Slot) {
	o, err := r.order.Close(s)
	if err != nil {
		r.t.Fatal(err)
	}
	r.files[s].Close()
	delete(r.files, s)
	r.order = o.Done()
}

// stray connects and counts what reached slots without weight.
func (r *kernelGroup) stray(n int) int {
	touch(r.t, local4(r.address), n)
	out := 0
	for s, f := range r.files {
		if got := accept(r.t, f); r.weights.Share[s] == 0 {
			out += got
		}
	}
	return out
}

// change does random steps; ruled says whether closes obey Closable. As if the
// agent died after each, nothing is attached after a close.
func (r *kernelGroup) change(rng *rand.Rand, steps int, ruled bool) (connections, strayed, closes int) {
	for range steps {
		slots := r.order.Slots()
		s := slots[rng.IntN(len(slots))]
		switch k := rng.IntN(10); {
		case k < 3 && len(slots) < 6:
			r.join()
		case k < 5:
			r.weights = steer.All(s)
			r.attach()
		case r.weights.Share[s] > 0 || (ruled && !r.order.Closable(s, r.weights)):
		default:
			r.close(s)
			closes++
		}
		connections += 20
		strayed += r.stray(20)
	}
	return connections, strayed, closes
}

func TestJoinsSwitchesAndCloses(t *testing.T) {
	for _, ruled := range []bool{true, false} {
		r := &kernelGroup{t: t, address: fresh(t, service.TCP, "127.0.0.1"), files: map[steer.Slot]*os.File{}, weights: steer.All(1)}
		r.join()
		connections, strayed, closes := r.change(rand.New(rand.NewPCG(7, 7)), 400, ruled)
		t.Logf("ruled %v: %d closes, %d of %d connections misdirected", ruled, closes, strayed, connections)
		if closes < 50 {
			t.Errorf("only %d closes", closes)
		}
		if ruled && strayed > 0 {
			t.Errorf("%d connections were misdirected", strayed)
		}
		if !ruled && strayed == 0 {
			t.Error("without the closing rule nothing was misdirected: the test proves nothing")
		}
	}
}

func TestUDPFlowsStayWhole(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::"} {
		a := fresh(t, service.UDP, ip)
		active, candidate := open(t, a, ""), open(t, a, "")
		clients := udpClients(t, a, 300)
		moved := map[netip.AddrPort]bool{} // now on the candidate
		for _, share := range []int{500, 2500, 5000} {
			attach(t, active, []steer.Slot{1, 2}, steer.Split(1, 2, share), a)
			seen := [2]map[netip.AddrPort]bool{{}, {}}
			for range 3 {
				for i, c := range clients {
					if i%100 == 0 { // fewer than a receive buffer holds
						read(t, active, seen[0])
						read(t, candidate, seen[1])
					}
					if _, err := c.Write([]byte("x")); err != nil {
						t.Fatal(err)
					}
				}
				read(t, active, seen[0])
				read(t, candidate, seen[1])
			}
			if len(seen[0])+len(seen[1]) != len(clients) {
				t.Errorf("%s: %d flows on one slot, %d on the other, %d in all: some were split or lost", a, len(seen[0]), len(seen[1]), len(clients))
			}
			for flow := range moved {
				if seen[0][flow] {
					t.Errorf("%s: the flow of %s went back at %d", a, flow, share)
				}
			}
			moved = seen[1]
			if got := len(moved) * 10000 / len(clients); got < share-1200 || got > share+1200 {
				t.Errorf("%s: share %d moved %d of %d flows", a, share, len(moved), len(clients))
			}
		}
	}
}

func udpClients(t *testing.T, a service.Address, n int) []net.Conn {
	var out []net.Conn
	for i := range n {
		to := local4(a)
		if a.IP.Is6() && i%2 == 0 {
			to = local6(a)
		}
		c, err := net.Dial("udp", to)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		out = append(out, c)
	}
	return out
}

func read(t *testing.T, f *os.File, from map[netip.AddrPort]bool) {
	buf := make([]byte, 8)
	for {
		_, sa, err := unix.Recvfrom(int(f.Fd()), buf, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		switch sa := sa.(type) {
		case *unix.SockaddrInet4:
			from[netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))] = true
		case *unix.SockaddrInet6:
			from[netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))] = true
		}
	}
}

func TestAttachRefuses(t *testing.T) {
	f := open(t, fresh(t, service.TCP, "127.0.0.1"), "")
	if err := Attach(f, nil); err == nil {
		t.Error("an empty program was attached")
	}
	p, err := steer.Program([]steer.Slot{1}, steer.All(1), fresh(t, service.TCP, "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := Attach(null, p); err == nil {
		t.Error("a program was attached to /dev/null")
	}
}

func BenchmarkAttach(b *testing.B) {
	a := fresh(b, service.TCP, "127.0.0.1")
	f := open(b, a, "")
	open(b, a, "")
	p, err := steer.Program([]steer.Slot{1, 2}, steer.Split(1, 2, 500), a)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := Attach(f, p); err != nil {
			b.Fatal(err)
		}
	}
}
