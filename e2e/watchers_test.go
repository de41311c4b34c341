//go:build linux

package e2e

import (
	"context"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/api"
	pb "github.com/gracefleet/gracefleet/api/gracefleet/v1"
	"github.com/gracefleet/gracefleet/e2e/harness"
	"github.com/gracefleet/gracefleet/internal/certstest"
)

const (
	watchers      = 1000
	perConnection = 50
	// watchersMemory is what the agent may need for them, in bytes.
	watchersMemory = 64 << 20
)

// A thousand who watch a service that is upgraded again and again all see where it
// ends, and cost the agent little.
func TestAThousandWatchers(t *testing.T) {
	s := start(t, "runtime", signalDrain, "--log-level", "error")
	upgrade := s.alternate()
	rest := s.Memory()
	w := watchAll(t, s)
	idle, before := s.Memory(), s.CPU()
	begin := time.Now()
	rounds := 3
	if full {
		rounds = 20
	}
	most := idle
	for i := range rounds {
		upgrade(i)
		s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
		most = max(most, s.Memory())
	}
	w.awaitGeneration(t, int32(rounds+1))
	most = max(most, s.Memory())
	t.Logf("%d watchers: %.1f MiB at rest, %.1f more with them, %.1f more at most in %d upgrades (%v); %d messages, %.2f processors",
		watchers, mebibytes(rest), mebibytes(idle-rest), mebibytes(most-rest), rounds, time.Since(begin).Round(time.Millisecond),
		w.messages.Load(), (s.CPU()-before).Seconds()/time.Since(begin).Seconds())
	if most-rest > watchersMemory && !harness.RaceBuild {
		t.Errorf("%d watchers take %d bytes of the agent's memory", watchers, most-rest)
	}
}

// Watchers that have stopped reading cost no more, and are let go of after 40 s.
func TestStoppedWatchers(t *testing.T) {
	t.Parallel()
	s := start(t, "runtime", signalDrain, "--log-level", "error")
	upgrade := s.alternate()
	s.Status(t, "web") // a connection of our own
	rest, alone := s.Memory(), connections(t, s.Socket)
	f := startFlood(t, "watch", s.Socket, certstest.Files{}, watchers)
	defer f.end()
	if n := connections(t, s.Socket); n < alone+watchers/perConnection {
		t.Fatalf("%d connections, %d without watchers", n, alone)
	}
	if err := f.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	begin, most := time.Now(), rest
	news := time.NewTicker(time.Second)
	defer news.Stop()
	for i := 0; connections(t, s.Socket) > alone; i++ {
		if time.Since(begin) > 2*time.Minute {
			t.Fatal("they are not let go of")
		}
		upgrade(i)
		s.awaitUpgrade(pb.Upgrade_STATE_SUCCEEDED)
		most = max(most, s.Memory())
		<-news.C
	}
	t.Logf("%d stopped watchers: let go of after %v, %.1f MiB at most", watchers, time.Since(begin).Round(time.Second), mebibytes(most-rest))
	if err := f.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// connections is how many a listening unix socket has given.
func connections(t testing.TB, path string) int {
	t.Helper()
	table, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	const established = "03"
	n := 0
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) == 8 && f[7] == path && f[5] == established {
			n++
		}
	}
	return n
}

// crowd is many who watch one service.
type crowd struct {
	messages atomic.Int64

	mu     sync.Mutex
	active map[int32]int // how many see a generation as active
	news   chan struct{} // closed when that changes
}

// watchAll returns when everybody has seen the service once.
func watchAll(t *testing.T, s *service) *crowd {
	t.Helper()
	w := &crowd{active: map[int32]int{}, news: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		all.Wait()
	})
	for range watchers / perConnection {
		conn, err := api.Dial("unix:" + s.Socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		for range perConnection {
			stream, err := pb.NewSupervisorServiceClient(conn).WatchService(ctx, &pb.WatchServiceRequest{Name: "web"})
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() { w.watch(stream) })
		}
	}
	w.awaitGeneration(t, 1)
	return w
}

func (w *crowd) watch(stream pb.SupervisorService_WatchServiceClient) {
	last := int32(0)
	for {
		m, err := stream.Recv()
		if err != nil {
			return // the test is over
		}
		w.messages.Add(1)
		if now := harness.Active(m.GetStatus()).GetNumber(); now != last {
			w.saw(last, now)
			last = now
		}
	}
}

func (w *crowd) saw(last, now int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active[last]--
	w.active[now]++
	close(w.news)
	w.news = make(chan struct{})
}

// awaitGeneration returns when everybody sees it as active.
func (w *crowd) awaitGeneration(t *testing.T, number int32) {
	t.Helper()
	limit := time.NewTimer(awaitLimit)
	defer limit.Stop()
	for {
		w.mu.Lock()
		n, news := w.active[number], w.news
		w.mu.Unlock()
		if n == watchers {
			return
		}
		select {
		case <-news:
		case <-limit.C:
			t.Fatalf("%d of %d see generation %d", n, watchers, number)
		}
	}
}

func mebibytes(n int) float64 { return float64(n) / (1 << 20) }
